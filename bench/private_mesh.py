"""A mesh of its own for one run: up, measured, taken down, its data deleted."""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console

from bench.ledger import SUPERVISOR, Ledger
from deploy.local.down import delete_data, take_down
from deploy.local.mesh import Mesh
from deploy.local.ports import SPAN
from deploy.local.progress import Progress
from deploy.local.supervisor import Supervisor
from deploy.local.up import Bringup, Refused, alone

_BASES = range(18_000, 32_000, SPAN)
"""Below the ports that the kernel hands out to clients."""

_KEPT_FROM_OPERATOR = ("PATH", "HOME", "LANG", "NSJAIL_PATH", "LOG_LEVEL", "DRAIN_GRACE")


class BenchMesh:
    """A running mesh, and what a benchmark asks of it."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.supervisor = Supervisor(mesh)

    @property
    def edge(self) -> str:
        """Envoy, as gRPC takes it."""
        return self.mesh.ports.edge.address

    @property
    def slots(self) -> int:
        """Of all executors together."""
        return self.mesh.executors * self.mesh.pool_size

    def pids(self) -> Mapping[str, int]:
        """Name → pid of every program, and of the supervisor that keeps them."""
        keeper = int((self.mesh.state / "supervisord.pid").read_text())
        return {**self.supervisor.pids(), SUPERVISOR: keeper}

    def ledger(self) -> Ledger:
        """Whose CPU it is."""
        return Ledger(self.pids)

    def stop_executors(self) -> None:
        """Work stays in the queue from now on."""
        for name in self.supervisor.pids():
            if name.startswith("executor-"):
                self.supervisor.stop(name)

    def describe(self) -> str:
        """One line for the report."""
        mesh = self.mesh
        return (
            f"schedulers: {mesh.schedulers}, gateways: {mesh.gateways}, executors: {mesh.executors} with "
            f"{mesh.pool_size} slots each, PostgreSQL, RabbitMQ, Redis, Envoy; validation, JSON logs, metrics and "
            "trace context on; rate limit off; loopback, no TLS"
        )


@contextlib.contextmanager
def private_mesh(console: Console, *, schedulers: int = 1, executors: int = 1) -> Iterator[BenchMesh]:
    """Brings one up beside any other mesh of the machine. However it ends, nothing of it stays.

    Raises Refused or NotReady where it cannot start.
    """
    state = Path(tempfile.mkdtemp(prefix="sentinel-bench-"))
    # PostgreSQL and jails run as other users and must get through.
    state.chmod(0o755)
    mesh = Mesh.from_environment(
        {
            **{name: os.environ[name] for name in _KEPT_FROM_OPERATOR if name in os.environ},
            "SENTINEL_STATE_DIR": str(state),
            "SENTINEL_PORT_BASE": str(_free_base()),
            "RATE_LIMIT": "0",
            "SCHEDULERS": str(schedulers),
            "GATEWAYS": "1",
            "EXECUTORS": str(executors),
        }
    )
    progress = Progress(console)
    try:
        with alone(mesh):
            bringup = Bringup(mesh, progress)
            bringup.infrastructure()
            bringup.services()
        yield BenchMesh(mesh)
    finally:
        take_down(mesh, progress)
        if (state / "mesh").exists():
            delete_data(mesh)
        else:
            with contextlib.suppress(OSError):
                (state / "lock").unlink(missing_ok=True)
                state.rmdir()


def _free_base() -> int:
    for base in _BASES:
        if all(_free(base + offset) for offset in range(SPAN)):
            return base
    raise Refused("no stretch of free ports for a mesh to measure; take another mesh down first")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a connection that lingers after its end is not in the way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
