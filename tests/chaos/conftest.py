"""A whole mesh that may be broken: two schedulers, two gateways, two executors with many slots, everything real."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local.down import delete_data, take_down
from deploy.local.mesh import Mesh
from deploy.local.progress import Progress
from deploy.local.up import Bringup


@pytest.fixture(scope="session")
def breakable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Nobody else's; every test leaves it whole and empty."""
    state: Path = tmp_path_factory.mktemp("chaos")
    mesh = Mesh.from_environment(
        {
            "SENTINEL_STATE_DIR": str(state / "mesh"),
            "SENTINEL_PORT_BASE": "29000",
            "SCHEDULERS": "2",
            "GATEWAYS": "2",
            "EXECUTORS": "2",
            "POOL_SIZE": "8",
            "RATE_LIMIT": "0",
        }
    )
    progress = Progress(Console(quiet=True))
    try:
        bringup = Bringup(mesh, progress)
        bringup.infrastructure()
        bringup.services()
        yield mesh
    finally:
        take_down(mesh, progress)
        delete_data(mesh)
