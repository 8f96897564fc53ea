"""What every test may ask for."""

from collections.abc import Iterator

import pytest

from tests.mesh import RunningMesh, running_mesh


@pytest.fixture(scope="session")
def mesh() -> Iterator[RunningMesh]:
    """The mesh of this session: two schedulers, one gateway, two executors, no rate limit.

    Shared: a test that stops something starts it again. Who needs other settings takes `running_mesh(...)`.
    """
    with running_mesh() as running:
        yield running
