"""What executors take from the machine beside processes: a folder, user ids, control groups; per mesh its own."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.local.mesh import Mesh

_CGROUPS = Path("/sys/fs/cgroup")
_IDS_PER_MESH = 1_000_000


def folder(mesh: Mesh) -> Path:
    """Jail roots and locks, shared by the mesh's executors; jails run from it as users of their own."""
    return mesh.shared_folder("executors")


def cgroup(mesh: Mesh) -> str:
    """Name of the mesh's control group: two meshes with one name would sweep each other's programs away."""
    return f"sentinel-{mesh.name}"


def first_user_id(mesh: Mesh) -> int:
    """A million ids that no other mesh is likely to use: programs of one id could signal each other."""
    return (1 + int(mesh.name, 16) % 3000) * _IDS_PER_MESH


def prepare(mesh: Mesh) -> None:
    """Makes the folder."""
    folder(mesh).mkdir(parents=True, exist_ok=True)


def sweep(mesh: Mesh) -> None:
    """Ends programs that outlived their executor, and removes the mesh's control groups. Only for a stopped mesh."""
    deadline = time.monotonic() + 5
    while left := list(groups(mesh)):
        for group in left:
            _empty(group)
            with contextlib.suppress(OSError):
                group.rmdir()
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


def groups(mesh: Mesh) -> Iterator[Path]:
    """Its control groups, innermost first, as they have to be removed."""
    name = cgroup(mesh)
    for here, _, _ in os.walk(_CGROUPS, topdown=False):
        path = Path(here)
        if name in path.parts:
            yield path


def _empty(group: Path) -> None:
    with contextlib.suppress(OSError):
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
