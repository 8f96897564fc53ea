"""A complete private mesh for tests, beside whatever else runs on the machine."""

import contextlib
import io
import os
import random
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from rich.console import Console

from deploy.local import jails, postgres, processes
from deploy.local.down import delete_data, take_down
from deploy.local.mesh import Mesh
from deploy.local.ports import SPAN, Port
from deploy.local.progress import Progress
from deploy.local.supervisor import Supervisor
from deploy.local.up import Bringup

FIRST_BASE, LAST_BASE = 18000, 26400
"""Away from the mesh of `make up`, and below the ports of outgoing connections."""


class RunningMesh:
    """A mesh that is up. Nothing here knows what is inside the services; it knows processes, ports and addresses."""

    def __init__(self, mesh: Mesh, bringup: Bringup) -> None:
        self.mesh = mesh
        self.ports = mesh.ports
        self.url = f"http://{mesh.ports.edge.address}"
        self.target = mesh.ports.edge.address
        """For gRPC clients."""
        self.dsn = mesh.database_url
        self.amqp_url = mesh.rabbitmq_url
        self.redis_url = mesh.redis_url
        self.management_url = f"http://{mesh.ports.rabbitmq_management.address}"
        self._supervisor = Supervisor(mesh)
        self._bringup = bringup

    def channel(self) -> grpc.aio.Channel:
        """A connection of its own to the edge; the caller closes it."""
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.insecure_channel(self.target, options=options)

    def pids(self) -> dict[str, int]:
        """Name → pid of what runs: scheduler-0, gateway-0, executor-1, envoy, postgres, rabbitmq, redis, epmd."""
        return self._supervisor.pids()

    def names(self, role: str) -> list[str]:
        """The processes of a role, running or not, in order."""
        return sorted(name for name in self._supervisor.states() if name.rpartition("-")[0] == role)

    def kill(self, name: str, signum: signal.Signals = signal.SIGKILL) -> int:
        """Sends a signal to a process and returns its pid. What dies is started again within a second or two."""
        pid = self.pids()[name]
        os.kill(pid, signum)
        return pid

    def stop(self, name: str) -> None:
        """Stops a process gracefully and keeps it stopped."""
        self._supervisor.stop(name)

    def crash(self, name: str) -> None:
        """Ends a process without grace and keeps it down. PostgreSQL as `pg_ctl stop -m immediate` would."""
        # The supervisor must learn that it is meant before it sees it: a process it is stopping is not started again.
        self._supervisor.stop(name, wait=False)
        with contextlib.suppress(KeyError, ProcessLookupError):
            self.kill(name, signal.SIGQUIT if name == "postgres" else signal.SIGKILL)
        self.await_state(name, running=False)

    def start(self, name: str) -> None:
        """Starts what was stopped. Does not wait until it answers: see await_ready."""
        self._supervisor.start(name)

    def await_state(self, name: str, *, running: bool, seconds: float = 30) -> None:
        """Waits until there is, or is no, such process."""
        deadline = time.monotonic() + seconds
        while (name in self.pids()) is not running:
            assert time.monotonic() < deadline, f"{name} is {self._supervisor.states().get(name)}"
            time.sleep(0.02)

    def await_ready(self) -> None:
        """Starts what is stopped, and returns when everything of the mesh answers, through Envoy too."""
        for name, state in self._supervisor.states().items():
            if state in {"STOPPED", "EXITED", "FATAL"}:
                self.start(name)
        self._bringup.await_infrastructure()
        self._bringup.await_services()

    def up(self) -> None:
        """What `make up` does, all of it but the first program."""
        self._bringup.infrastructure()
        self._bringup.services()

    def log(self, name: str) -> str:
        """What a process has written so far."""
        return (self.mesh.logs / f"{name}.log").read_text(errors="replace")


@contextmanager
def running_mesh(**environment: str) -> Iterator[RunningMesh]:
    """Brings a mesh up, and takes it down to the last process, port and control group, however the block ends.

    Takes the variables of `make up`, RATE_LIMIT=0 unless given; nothing comes from the shell or from .env.
    """
    # Not /tmp: where that is memory, fsync would cost nothing and the broker would find no disk.
    state = Path(tempfile.mkdtemp(prefix="sentinel-test-", dir="/var/tmp"))
    state.chmod(0o755)
    mesh = Mesh.from_environment({"RATE_LIMIT": "0", **environment, **free_stretch(state, **environment)})
    output = io.StringIO()
    progress = Progress(Console(file=output, width=120))
    bringup = Bringup(mesh, progress)
    try:
        try:
            bringup.infrastructure()
            bringup.services()
        except Exception as error:
            error.add_note(output.getvalue())
            raise
        yield RunningMesh(mesh, bringup)
    finally:
        take_down(mesh, progress)
        left = processes.marked(mesh.state, postgres.data(mesh))
        bound = [port for port in _ports(mesh) if not _is_free(port)]
        groups = list(jails.groups(mesh))
        if (state / "mesh").exists():
            delete_data(mesh)
        shutil.rmtree(state, ignore_errors=True)
        assert not left, f"processes left: {left}"
        assert not bound, f"ports still bound: {bound}"
        assert not groups, f"control groups left: {groups}"


def free_stretch(state: Path, **environment: str) -> dict[str, str]:
    """Environment of a mesh that keeps its data there, on ports that nobody has."""
    bases = list(range(FIRST_BASE, LAST_BASE, SPAN))
    random.shuffle(bases)
    for base in bases:
        found = {"SENTINEL_STATE_DIR": str(state), "SENTINEL_PORT_BASE": str(base)}
        if all(_is_free(port) for port in _ports(Mesh.from_environment({**environment, **found}))):
            return found
    raise RuntimeError("no free stretch of ports for a mesh")


def _ports(mesh: Mesh) -> list[Port]:
    return [*mesh.ports.infrastructure(), *mesh.ports.services(mesh.schedulers, mesh.gateways, mesh.executors)]


def _is_free(port: Port) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port.number))
        except OSError:
            return False
        return True
