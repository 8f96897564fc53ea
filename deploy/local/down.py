"""Takes the mesh down: work ends before what it leans on, and nothing stays behind."""

import shutil
import time
from collections.abc import Sequence

from deploy.local import edge, jails, postgres, processes
from deploy.local.mesh import Mesh
from deploy.local.progress import Progress
from deploy.local.supervisor import Supervisor

ORDER: Sequence[tuple[str, frozenset[str]]] = (
    ("Envoy", frozenset({"envoy"})),
    ("gateways", frozenset({"gateway"})),
    ("executors", frozenset({"executor"})),
    ("schedulers", frozenset({"scheduler"})),
    ("RabbitMQ, Redis, PostgreSQL", frozenset({"rabbitmq", "redis", "postgres"})),
    # RabbitMQ's node says goodbye to it.
    ("epmd", frozenset({"epmd"})),
)
"""Executors before schedulers: what they finish while draining is settled through a scheduler."""

_LONGEST_STOP = 60


def take_down(mesh: Mesh, progress: Progress) -> None:
    """Stops everything in order, then whatever of this mesh is still found. Safe to repeat."""
    supervisor = Supervisor(mesh)
    if supervisor.answers():
        for title, roles in ORDER:
            if names := [name for name in supervisor.pids() if name.partition("-")[0] in roles]:
                with progress.step(f"Stopping {title}"):
                    if "envoy" in roles:
                        edge.drain(mesh)
                    _stop(supervisor, names)
        supervisor.shut_down()
    if left := processes.marked(mesh.state, postgres.data(mesh)):
        with progress.step(f"Ending {len(left)} processes that nobody kept"):
            processes.stop(left, seconds=15)
    jails.sweep(mesh)


def _stop(supervisor: Supervisor, names: list[str]) -> None:
    for name in names:
        supervisor.stop(name, wait=False)
    deadline = time.monotonic() + _LONGEST_STOP
    while set(names) & set(supervisor.pids()) and time.monotonic() < deadline:
        time.sleep(0.05)


def delete_data(mesh: Mesh) -> None:
    """Deletes what a stopped mesh kept. Refuses a folder that no mesh made."""
    if mesh.state.exists():
        if not (mesh.state / "mesh").exists():
            raise ValueError(f"{mesh.state} was not made by `make up`; delete it yourself if you mean it")
        shutil.rmtree(mesh.elsewhere, ignore_errors=True)
        shutil.rmtree(mesh.sockets, ignore_errors=True)
        shutil.rmtree(mesh.state)
