"""A mesh of this machine as a target."""

from collections.abc import Callable, Mapping
from pathlib import Path

from audit.target import Target
from deploy.local import jails
from deploy.local.mesh import PASSWORD, Mesh
from services.executor import sandbox
from services.executor.sandbox.nsjail import find_nsjail

_IDS = 1_000_000


def local_target(mesh: Mesh, pids: Callable[[], Mapping[str, int]]) -> Target:
    """What the audit has to know of it."""
    ports = [*mesh.ports.infrastructure(), *mesh.ports.services(mesh.schedulers, mesh.gateways, mesh.executors)]
    here = Path(sandbox.__file__).parent
    return Target(
        edge=mesh.ports.edge.address,
        database_url=mesh.database_url,
        amqp_url=mesh.rabbitmq_url,
        cgroup=jails.cgroup(mesh),
        first_user_id=jails.first_user_id(mesh),
        user_ids=_IDS,
        slots=mesh.pool_size,
        executors=mesh.executors,
        pids=pids,
        ports=tuple(sorted({port.number for port in ports})),
        secret_words=(PASSWORD,),
        guarded=(here / "policy.kafel", here / "init.c", Path(find_nsjail("")), jails.folder(mesh)),
    )
