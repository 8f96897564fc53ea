"""One edge for the tests that leave it as they found it; the others start their own."""

from collections.abc import AsyncIterator

import pytest

from tests.edge.envoys import TestEdge, running_edge
from tests.edge.upstream import Scheduler, Status


@pytest.fixture(scope="session")
async def _shared_edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestEdge]:
    async with running_edge(tmp_path_factory.mktemp("edge")) as edge:
        yield edge


@pytest.fixture
def edge(_shared_edge: TestEdge) -> TestEdge:
    """With well-behaved upstreams, whatever the test before made of them."""
    scheduler, status = Scheduler(), Status()
    _shared_edge.scheduler.__dict__.update(scheduler.__dict__, submit=_shared_edge.scheduler.accept)
    _shared_edge.status.__dict__.update(
        status.__dict__,
        get=_shared_edge.status.found,
        health=_shared_edge.status.well,
        watch=_shared_edge.status.two_events,
    )
    return _shared_edge
