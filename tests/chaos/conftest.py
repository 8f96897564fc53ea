"""A whole mesh that may be broken: two schedulers, two gateways, two executors with many slots, everything real."""

from collections.abc import Iterator

import pytest

from deploy.local.mesh import Mesh
from tests.mesh import running_mesh


@pytest.fixture(scope="session")
def breakable() -> Iterator[Mesh]:
    """Nobody else's; every test leaves it whole."""
    with running_mesh(SCHEDULERS="2", GATEWAYS="2", EXECUTORS="2", POOL_SIZE="8") as running:
        yield running.mesh
