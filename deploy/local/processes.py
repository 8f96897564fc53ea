"""Who runs and who listens, read from /proc: recognises a mesh's own processes even without their supervisor.

A recorded pid goes stale with the first restart and may name a stranger after the next boot. So every process of a mesh
carries a mark in its environment, and that is what is looked for.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.local.program import MARKER

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """A process that was there a moment ago."""

    pid: int
    command: str


_TITLE_WRITERS = frozenset({"postgres", "redis-server"})


def marked(state: Path, data: Path) -> list[Process]:
    """Processes of the mesh whose state directory this is, their descendants included, supervisor or no supervisor.

    PostgreSQL's backends and Redis write their titles over their environment, so they are recognised by where
    they stand: `data`, which may be elsewhere, or the state directory.
    """
    mark = f"{MARKER}={state}".encode()
    parents: dict[int, int] = {}
    ours: set[int] = set()
    for pid in _pids():
        with contextlib.suppress(OSError, IndexError, ValueError):
            parents[pid] = int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
            if mark in (PROC / str(pid) / "environ").read_bytes().split(b"\0") or (
                _stands_in(pid, data, state / "redis")
            ):
                ours.add(pid)
    ours.discard(os.getpid())
    grew = True
    while grew:
        children = {pid for pid, parent in parents.items() if parent in ours} - ours - {os.getpid()}
        grew = bool(children)
        ours |= children
    return [Process(pid, _command(pid)) for pid in sorted(ours) if _alive(pid)]


def stop(processes: list[Process], seconds: float) -> list[Process]:
    """SIGTERM, then SIGKILL for those still there after `seconds`; returns those that had to be killed."""
    for process in processes:
        _signal(process.pid, signal.SIGTERM)
    left = _wait(processes, seconds)
    for process in left:
        _signal(process.pid, signal.SIGKILL)
    _wait(left, 5)
    return left


def listener(port: int) -> Process | None:
    """Who listens on this TCP port on any address that a loopback client or listener would meet."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (PROC / "net" / table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{columns[9]}]")
    if not inodes:
        return None
    for pid in _pids():
        with contextlib.suppress(OSError):
            for descriptor in (PROC / str(pid) / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) in inodes:
                        return Process(pid, _command(pid))
    return Process(0, "a process of another user or namespace")


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir(PROC) if name.isdecimal())  # noqa: PTH208  names are all that is wanted


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        words = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        return words or (PROC / str(pid) / "comm").read_text().strip()
    return "?"


def _stands_in(pid: int, *folders: Path) -> bool:
    """Whether it is a server at work there; a person's shell that happens to be there is not."""
    # Not the executable: Debian's redis-server is a link to redis-check-rdb.
    program = (PROC / str(pid) / "comm").read_text().strip()
    return program in _TITLE_WRITERS and (PROC / str(pid) / "cwd").readlink() in folders


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError, IndexError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _signal(pid: int, signum: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


def _wait(processes: list[Process], seconds: float) -> list[Process]:
    deadline = time.monotonic() + seconds
    left = processes
    while (left := [process for process in left if _alive(process.pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
