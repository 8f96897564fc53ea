"""What must be true of the host whenever no program runs: invariants (a) to (g) of the threat model.

(a) groups of finished jobs are gone; (b) no process has a user id of a jail but the inits that wait; (c) mounts,
descriptors and threads of the executors are as before, and their memory has not grown past its cap; (d) the canary is
unchanged and was never called, our own files are unchanged, the machine's settings too; (e) the next trivial job on
every slot returns its nonce; (f) every submission has one row, terminal, at its first attempt; (g) the control proved
that sandboxes start.

This module looks and compares. What it cannot see it reports as broken: silence proves nothing.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from audit.canary import Canary, digest_of
from audit.target import Target

MEMORY_GROWTH_MOST = 96 << 10
"""KiB that an executor may grow over a whole run; the largest output it holds for one program is 16 MiB."""

_CGROUPS = Path("/sys/fs/cgroup")
_SETTINGS = ("kernel/core_pattern", "kernel/hostname", "kernel/modprobe", "vm/overcommit_memory")


@dataclass(frozen=True, slots=True)
class Broken:
    """One invariant that does not hold."""

    letter: str
    text: str


@dataclass(frozen=True, slots=True)
class ExecutorSight:
    """One executor, as the kernel shows it."""

    pid: int
    descriptors: int
    threads: int
    memory_kib: int
    mounts: str


@dataclass(frozen=True, slots=True)
class Process:
    """A process with a user id of a jail."""

    pid: int
    init: bool
    """It is PID 1 of its namespace, with one thread."""
    name: str


@dataclass(frozen=True, slots=True)
class Sight:
    """The host at one moment."""

    groups: frozenset[str]
    """`owner/jail`, over all hierarchies."""
    processes: tuple[Process, ...]
    executors: Mapping[str, ExecutorSight]
    canary: str
    calls: int
    files: str
    settings: str
    keys: int
    """Kernel keys that users of jails own."""
    complaints: int
    """Of the kernel, about itself."""


class Host(Protocol):
    """Something that can be looked at."""

    def look(self) -> Sight:
        """The host now."""


def broken(before: Sight, now: Sight, slots: int) -> list[Broken]:  # noqa: C901 - a list, not a branching
    """What does not hold now, against a moment when nothing had run yet. `slots` jails wait in each executor."""
    found: list[Broken] = []
    if not before.executors:
        found.append(Broken("c", "no executor was seen at the start"))
    waiting = slots * len(before.executors)
    if len(now.groups) != waiting:
        found.append(Broken("a", f"{len(now.groups)} groups of jails, where {waiting} jails wait"))
    strangers = [f"{process.name}[{process.pid}]" for process in now.processes if not process.init]
    if strangers:
        found.append(Broken("b", f"processes left: {', '.join(strangers[:8])}"))
    if len(now.processes) - len(strangers) != waiting:
        found.append(Broken("b", f"{len(now.processes) - len(strangers)} inits, where {waiting} jails wait"))
    for name, was in before.executors.items():
        found += _executor(name, was, now.executors.get(name))
    if now.canary != before.canary:
        found.append(Broken("d", "the canary's files changed"))
    if now.calls != before.calls:
        found.append(Broken("d", f"the canary was called {now.calls - before.calls} times"))
    if now.files != before.files:
        found.append(Broken("d", "files of ours changed"))
    if now.settings != before.settings:
        found.append(Broken("d", f"settings of the machine changed: {before.settings!r} to {now.settings!r}"))
    if now.keys:
        found.append(Broken("d", f"{now.keys} kernel keys belong to users of jails"))
    if now.complaints > before.complaints:
        found.append(Broken("d", "the kernel complained about itself"))
    return found


def _executor(name: str, was: ExecutorSight, now: ExecutorSight | None) -> Iterator[Broken]:
    if now is None or now.pid != was.pid:
        yield Broken("c", f"{name} died: process {was.pid} is {now.pid if now else 'gone'}")
        return
    if now.mounts != was.mounts:
        yield Broken("c", f"{name}'s mounts changed")
    if now.descriptors != was.descriptors:
        yield Broken("c", f"{name} has {now.descriptors} descriptors, had {was.descriptors}")
    if now.threads != was.threads:
        yield Broken("c", f"{name} has {now.threads} threads, had {was.threads}")
    if now.memory_kib - was.memory_kib > MEMORY_GROWTH_MOST:
        yield Broken("c", f"{name} grew by {(now.memory_kib - was.memory_kib) >> 10} MiB")


class LocalHost:
    """This machine, seen by root."""

    def __init__(self, target: Target, canary: Canary) -> None:
        self._target = target
        self._canary = canary

    def look(self) -> Sight:
        """See Host."""
        pids = self._target.pids()
        return Sight(
            groups=frozenset(self._groups()),
            processes=tuple(self._processes()),
            executors={
                name: _sight(pid) for name, pid in sorted(pids.items()) if name.startswith("executor-") and _exists(pid)
            },
            canary=self._canary.digest(),
            calls=self._canary.calls,
            files=digest_of(self._target.guarded),
            settings=_settings(),
            keys=sum(self._is_ours(int(line.split()[5])) for line in _lines(Path("/proc/keys"))),
            complaints=_complaints(),
        )

    def programs(self) -> dict[int, str]:
        """Pid → name of what runs in jails beside their inits."""
        return {process.pid: process.name for process in self._processes() if not process.init}

    def executor_of(self, pid: int) -> str:
        """Name of the executor that runs it, or nothing."""
        above = {pid}
        while pid > 1:
            pid = _parent(pid)
            above.add(pid)
        return next((name for name, own in self._target.pids().items() if own in above), "")

    def kill(self, name: str, number: signal.Signals) -> None:
        """Ends a process of the mesh under attack, by its pid."""
        os.kill(self._target.pids()[name], number)

    def executors_up(self) -> bool:
        """Whether all of them run, with their jails waiting."""
        return len(set(self._groups())) == self._target.slots * self._target.executors

    def _groups(self) -> Iterator[str]:
        for hierarchy in [_CGROUPS, *_CGROUPS.iterdir()]:
            for owner in _directories(hierarchy / self._target.cgroup):
                for jail in _directories(owner):
                    yield f"{owner.name}/{jail.name}"

    def _processes(self) -> Iterator[Process]:
        for entry in os.scandir("/proc"):
            if entry.name.isdecimal():
                try:
                    status = dict(
                        line.split(":\t", 1)
                        for line in Path(entry.path, "status").read_text().splitlines()
                        if ":\t" in line
                    )
                except OSError:
                    continue  # it ended meanwhile
                if any(self._is_ours(int(uid)) for uid in status["Uid"].split()):
                    init = status.get("NSpid", "").split()[-1:] == ["1"] and status["Threads"] == "1"
                    yield Process(int(entry.name), init, status["Name"])

    def _is_ours(self, uid: int) -> bool:
        return self._target.first_user_id <= uid < self._target.first_user_id + self._target.user_ids


def _directories(path: Path) -> list[Path]:
    try:
        return [child for child in path.iterdir() if child.is_dir()]
    except OSError:
        return []


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _sight(pid: int) -> ExecutorSight:
    proc = Path(f"/proc/{pid}")
    status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
    return ExecutorSight(
        pid=pid,
        descriptors=len(list((proc / "fd").iterdir())),
        threads=int(status["Threads"]),
        memory_kib=int(status["VmRSS"].split()[0]),
        mounts=(proc / "mountinfo").read_text(),
    )


def _lines(path: Path) -> list[str]:
    """Nothing where the kernel has no such file, and so no such thing."""
    return path.read_text().splitlines() if path.exists() else []


def _settings() -> str:
    paths = [Path("/proc/sys", name) for name in _SETTINGS]
    return " ".join(path.read_text().strip() for path in paths if path.exists())


def _complaints() -> int:
    """Lines of the kernel's log that speak of the kernel itself; 0 where the log cannot be read."""
    done = subprocess.run(["dmesg"], capture_output=True, text=True, errors="replace", check=False)  # noqa: S607
    return sum(
        any(word in line for word in ("BUG:", "Oops", "general protection fault: 0000", "WARNING: CPU"))
        for line in done.stdout.splitlines()
    )
