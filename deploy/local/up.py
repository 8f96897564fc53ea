"""Brings the mesh up. Safe to repeat, and safe after anything was killed."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.local import edge, infrastructure, jails, postgres, processes, ready, services
from deploy.local.mesh import ROOT, Mesh
from deploy.local.ports import Port
from deploy.local.program import Program
from deploy.local.progress import Progress
from deploy.local.supervisor import UP, Supervisor

INFRASTRUCTURE_SECONDS = 60
SERVICE_SECONDS = 45


class Refused(Exception):
    """The mesh cannot start here; the text says why and what to change."""


@contextmanager
def alone(mesh: Mesh) -> Iterator[None]:
    """Keeps a second `up` or `down` of the same mesh waiting. The kernel lets go of the lock with the process."""
    mesh.state.mkdir(parents=True, exist_ok=True)
    with (mesh.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Bringup:
    """One run of `up` or `up-infra`."""

    def __init__(self, mesh: Mesh, progress: Progress) -> None:
        self._mesh = mesh
        self._progress = progress
        self._supervisor = Supervisor(mesh)

    def infrastructure(self) -> None:
        """PostgreSQL, RabbitMQ and Redis, answering.

        Raises Refused where something stands in the way, NotReady where a part does not come up.
        """
        if os.geteuid() != 0:
            raise Refused("run this as root: PostgreSQL needs a user of its own, and jails need root")
        mesh = self._mesh
        self._clear_leftovers()
        self._refuse_taken_ports()
        with self._progress.step(f"Data under {_shown(mesh)}"):
            for folder in (mesh.logs, mesh.sockets):
                folder.mkdir(parents=True, exist_ok=True)
            mesh.sockets.chmod(0o711)
            (mesh.state / "mesh").write_text("A private Sentinel mesh; `make down-clean` deletes this folder.\n")
            infrastructure.prepare(mesh)
            jails.prepare(mesh)
            edge.prepare(mesh)
        programs = self.programs()
        with self._progress.step("Supervisor"):
            self._supervisor.keep(programs)
        for program in programs:
            if program.role == "infrastructure":
                self._supervisor.start(program.name)
        self.await_infrastructure()

    def await_infrastructure(self) -> None:
        """Returns when all of it answers. Raises NotReady."""
        for name, title, check in infrastructure.checks(self._mesh):
            with self._progress.step(title):
                self._await(name, check, INFRASTRUCTURE_SECONDS)

    def programs(self) -> list[Program]:
        """Everything this mesh consists of, started or not."""
        mesh = self._mesh
        return [
            *infrastructure.programs(mesh),
            *services.schedulers(mesh),
            *services.gateways(mesh),
            *services.executors(mesh),
            edge.program(mesh),
        ]

    def services(self) -> None:
        """Migrates, then starts schedulers, gateways, executors and the edge, each answering before the next.

        Raises Refused or NotReady.
        """
        if absent := services.missing():
            raise Refused(f"no code yet for: {', '.join(absent)}; `make up-infra` starts what they need")
        mesh = self._mesh
        with self._progress.step("Database schema"):
            migrate(mesh, "up")
        # All at once: a Python start costs half a second of a core, and none of them needs another to begin.
        for program in self.programs():
            self._supervisor.start(program.name)
        self.await_services()

    def await_services(self) -> None:
        """Returns when all of them answer, through Envoy too. Raises NotReady."""
        for title, parts in self._service_checks():
            with self._progress.step(title):
                for name, check in parts:
                    self._await(name, check, SERVICE_SECONDS)

    def _service_checks(self) -> Iterator[tuple[str, list[tuple[str, ready.Check]]]]:
        mesh, ports = self._mesh, self._mesh.ports

        def serves(port: Port) -> ready.Check:
            return lambda: ready.grpc_serves(port.number)

        def answers(port: Port, path: str) -> ready.Check:
            return lambda: ready.http_answers(port.number, path)

        yield (
            f"{mesh.schedulers} × scheduler: gRPC health",
            [(f"scheduler-{n}", serves(ports.scheduler_grpc(n))) for n in range(mesh.schedulers)],
        )
        yield (
            f"{mesh.gateways} × gateway: gRPC health",
            [(f"gateway-{n}", serves(ports.gateway_grpc(n))) for n in range(mesh.gateways)],
        )
        yield (
            f"{mesh.executors} × executor with {mesh.pool_size} slots: ready",
            [(f"executor-{n}", answers(ports.executor_admin(n), "/readyz")) for n in range(mesh.executors)],
        )
        yield "Envoy: reaches all of them", [("envoy", lambda: edge.reaches_everybody(mesh))]
        yield "The whole mesh through Envoy: healthy", [("envoy", answers(ports.edge, "/api/v1/health"))]

    def _clear_leftovers(self) -> None:
        """Ends what a killed supervisor left behind: nobody would restart it, and its ports would be taken."""
        if self._supervisor.answers():
            return
        if left := processes.marked(self._mesh.state, postgres.data(self._mesh)):
            with self._progress.step(f"Ending {len(left)} processes that a killed supervisor left"):
                processes.stop(left, seconds=15)
                jails.sweep(self._mesh)

    def _refuse_taken_ports(self) -> None:
        mesh = self._mesh
        ours = {process.pid for process in processes.marked(mesh.state, postgres.data(mesh))}
        wanted = [*mesh.ports.infrastructure(), *mesh.ports.services(mesh.schedulers, mesh.gateways, mesh.executors)]
        taken = [(port, who) for port in wanted if (who := processes.listener(port.number)) and who.pid not in ours]
        if taken:
            lines = [
                f"port {port.number} ({port.purpose}) is taken by {who.command[:80]} (pid {who.pid}); "
                f"choose another with {port.variable}="
                for port, who in taken
            ]
            raise Refused("\n".join(lines))

    def _await(self, name: str, check: ready.Check, seconds: float) -> None:
        seen_dead = 0.0

        def alive() -> str | None:
            nonlocal seen_dead
            state = self._supervisor.states().get(name, "UNKNOWN")
            if state in UP - {"BACKOFF"}:
                return None
            # One death may be bad luck, such as a dependency a moment late; it is started again.
            seen_dead = seen_dead or time.monotonic()
            return f"{name} keeps ending ({state})" if time.monotonic() - seen_dead > 8 else None

        try:
            ready.wait_for(check, seconds, alive)
        except ready.NotReady as reason:
            log = self._mesh.logs / f"{name}.log"
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:]) if log.exists() else ""
            raise ready.NotReady(f"{reason}\nThe end of {log}:\n{tail}") from None


def migrate(mesh: Mesh, direction: str) -> None:
    """Brings the schema up, or takes the last migration down. Raises Refused with what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "services.scheduler.migrate", direction],
        cwd=ROOT,
        env={**os.environ, **services.credentials(mesh)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Refused(f"migrate {direction} failed:\n{done.stdout}{done.stderr}")


def _shown(mesh: Mesh) -> str:
    return str(mesh.state.relative_to(ROOT)) if mesh.state.is_relative_to(ROOT) else str(mesh.state)
