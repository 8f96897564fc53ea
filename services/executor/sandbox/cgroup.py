"""Control groups: one of ours per jail carries its limits and its counters. Version 1 and version 2 behind one face.

nsjail stays outside, so a program that eats all memory cannot take the supervisor with it. Attaching a process
takes a grace period of the kernel (about 10 ms on an idle machine), so everything named blocking here belongs in a
thread, before a program waits for it.
"""

import contextlib
import errno
import fcntl
import os
import select
import signal
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.executor.sandbox.protocol import SandboxError

OURS = 1
"""Our init is a process of the group and not of the program."""


class OutOfRoom(Exception):
    """The group already holds more memory than the new limit allows, and cannot let go of it."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What a group used since `begin`."""

    cpu_ns: int
    memory_peak_bytes: int
    """Since `begin` where the kernel can reset it; otherwise 0 unless it rose since."""
    oom_events: int
    peak_processes: int
    """0 where the kernel does not tell."""


class Cgroup(Protocol):
    """One group. Not shared; whoever made it removes it."""

    @property
    def oom_fd(self) -> int:
        """Becomes readable when the kernel had to kill for memory. Read it by `counters`."""

    def attach(self, pid: int) -> None:
        """Moves a process in; its children follow. Blocking. Raises SandboxError."""

    def begin(self, memory_bytes: int, processes: int) -> None:
        """Sets limits and starts counting anew. Raises OutOfRoom."""

    def cpu_ns(self) -> int:
        """CPU time since `begin`."""

    def counters(self) -> Counters:
        """Everything since `begin`."""

    def kill(self) -> None:
        """Kills every process in it, as far as this version can in one step."""

    def remove(self) -> None:
        """Proves it empty and removes it, killing what is left. Blocking, up to a second. Raises SandboxError."""


class CgroupDriver(Protocol):
    """Makes groups beneath a directory of ours, one for each executor, which is its owner while it lives."""

    version: int

    def open(self) -> None:
        """Makes what all owners share. Blocking. Raises SandboxError where the machine lacks something."""

    def take(self, owner: str) -> bool:
        """Takes an owner's directory, removing what a dead one left there; False where a living one has it.

        The kernel gives it back however we die. Blocking. Raises SandboxError.
        """

    def create(self, name: str) -> Cgroup:
        """A new group of the owner. Blocking. Raises SandboxError."""

    def sweep(self) -> int:
        """Kills and removes everything of owners that are dead; says how many groups. Blocking. Raises SandboxError."""

    def close(self) -> None:
        """Removes what is ours and gives the directory back. Blocking. Raises SandboxError."""


def detect_driver(parent: str, mountinfo: str = "/proc/self/mountinfo") -> CgroupDriver:
    """The driver for this machine: version 1 where its controllers are mounted, else version 2.

    Raises SandboxError naming what is missing.
    """
    mounts_v1: dict[str, Path] = {}
    mount_v2: Path | None = None
    for line in Path(mountinfo).read_text().splitlines():
        left, _, right = line.partition(" - ")
        point = Path(left.split()[4])
        kind, _, options = right.split()[:3]
        if kind == "cgroup":
            for option in options.split(","):
                mounts_v1.setdefault(option, point)
        elif kind == "cgroup2" and mount_v2 is None:
            mount_v2 = point
    if all(controller in mounts_v1 for controller in CgroupsV1.CONTROLLERS):
        wanted = [*CgroupsV1.CONTROLLERS, CgroupsV1.SHARES]
        # Often mounted with cpuacct, as one: then groups have their share already.
        if mounts_v1.get(CgroupsV1.SHARES) in {None, mounts_v1["cpuacct"]}:
            wanted.remove(CgroupsV1.SHARES)
        return CgroupsV1({controller: mounts_v1[controller] for controller in wanted}, parent)
    if mount_v2 is not None:
        return CgroupsV2(mount_v2, parent)
    raise SandboxError("CGROUP", "neither version 1 (memory, pids, cpuacct) nor version 2 control groups are mounted")


def _read_int(fd: int) -> int:
    return int(os.pread(fd, 32, 0))


def _write(path: Path, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _pids(procs: Path) -> list[int]:
    try:
        return [int(pid) for pid in procs.read_text().split()]
    except FileNotFoundError:
        return []


def _remove_directory(path: Path, deadline: float) -> None:
    """Kills and waits until the directory can go. Raises SandboxError when it cannot be emptied in time."""
    wait = 0.001
    while True:
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise SandboxError(
                    "LEFTOVER", f"{path} cannot be removed: {error}, holds {_pids(path / 'cgroup.procs')}"
                ) from error
            for pid in _pids(path / "cgroup.procs"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(wait)
            wait = min(0.02, wait * 2)
        else:
            return


class _Owners:
    """Directories beneath one parent, in one or more hierarchies, each locked by the executor that owns it.

    The lock lies on the directory in the first hierarchy. It is the kernel's, so it ends with its holder; and it lies
    on the very thing it guards, so executors that share a parent see each other whatever else they do not share.
    """

    def __init__(self, bases: list[Path]) -> None:
        self._bases = bases
        self._owner = ""
        self._lock: int | None = None

    def paths(self, name: str) -> list[Path]:
        """Where a group of ours lies, per hierarchy."""
        return [base / self._owner / name for base in self._bases]

    def take(self, owner: str) -> bool:
        """See CgroupDriver."""
        for base in self._bases:
            (base / owner).mkdir(parents=True, exist_ok=True)
        lock = _lock(self._bases[0] / owner)
        if lock is None:
            return False
        self._owner, self._lock = owner, lock
        for base in self._bases:
            (base / owner).mkdir(parents=True, exist_ok=True)
        self._empty(owner)
        return True

    def sweep(self) -> int:
        """See CgroupDriver."""
        swept = 0
        for owner in sorted(
            {path.name for base in self._bases if base.is_dir() for path in base.iterdir() if path.is_dir()}
        ):
            if owner == self._owner:
                continue
            first = self._bases[0] / owner
            first.mkdir(exist_ok=True)
            lock = _lock(first)
            if lock is not None:
                try:
                    swept += self._empty(owner)
                    self._remove(owner)
                finally:
                    os.close(lock)
        return swept

    def close(self) -> None:
        """See CgroupDriver."""
        if self._lock is not None:
            lock, self._lock = self._lock, None
            try:
                self._empty(self._owner)
                self._remove(self._owner)
            finally:
                os.close(lock)

    def _empty(self, owner: str) -> int:
        deadline = time.monotonic() + 5
        swept: set[str] = set()
        for base in self._bases:
            if (base / owner).is_dir():
                for group in [child for child in (base / owner).iterdir() if child.is_dir()]:
                    _remove_directory(group, deadline)
                    swept.add(group.name)
        return len(swept)

    def _remove(self, owner: str) -> None:
        # The locked one last: whoever finds it unlocked finds nothing beneath.
        for base in reversed(self._bases):
            _remove_directory(base / owner, time.monotonic() + 1)


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock on a directory; None where somebody has it, or it was just removed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino == path.stat().st_ino:
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None


class CgroupsV1:
    """Separate hierarchies. Out-of-memory comes from an eventfd; the group is killed process by process."""

    CONTROLLERS = ("memory", "pids", "cpuacct")
    SHARES = "cpu"
    """Used where it is: without it, a bomb of 64 processes takes 64 times the CPU of its neighbour."""
    version = 1

    def __init__(self, mounts: dict[str, Path], parent: str) -> None:
        self._controllers = tuple(mounts)
        self._owners = _Owners([mount / parent for mount in mounts.values()])
        self._shares = mounts[self.SHARES] / parent / "cpu.shares" if self.SHARES in mounts else None

    def open(self) -> None:
        """See CgroupDriver. Nothing is shared but the parents, which come with the first owner."""

    def take(self, owner: str) -> bool:
        """See CgroupDriver."""
        try:
            taken = self._owners.take(owner)
            if self._shares is not None:
                # All jails together weigh as one of our own processes on each CPU, whatever runs in them.
                _write(self._shares, str(1024 * (os.cpu_count() or 1)))
        except OSError as error:
            raise SandboxError("CGROUP", f"cannot make control groups: {error}") from error
        return taken

    def create(self, name: str) -> Cgroup:
        """See CgroupDriver."""
        paths = dict(zip(self._controllers, self._owners.paths(name), strict=True))
        try:
            for path in paths.values():
                path.mkdir()
            return _GroupV1(paths)
        except OSError as error:
            for path in paths.values():
                with contextlib.suppress(OSError):
                    path.rmdir()
            raise SandboxError("CGROUP", f"cannot make a control group: {error}") from error

    def sweep(self) -> int:
        """See CgroupDriver."""
        return self._owners.sweep()

    def close(self) -> None:
        """See CgroupDriver."""
        self._owners.close()


class _GroupV1:
    def __init__(self, paths: dict[str, Path]) -> None:
        self._paths = paths
        memory = paths["memory"]
        self._fds: list[int] = []
        try:
            self._limit = self._open(memory / "memory.limit_in_bytes")
            swap = memory / "memory.memsw.limit_in_bytes"
            self._swap = self._open(swap) if swap.exists() else None
            self._peak = self._open(memory / "memory.max_usage_in_bytes")
            self._oom_control = self._open(memory / "memory.oom_control", os.O_RDONLY)
            self._cpu = self._open(paths["cpuacct"] / "cpuacct.usage", os.O_RDONLY)
            self._pids_max = self._open(paths["pids"] / "pids.max")
            pids_peak = paths["pids"] / "pids.peak"
            self._pids_peak = self._open(pids_peak, os.O_RDONLY) if pids_peak.exists() else None
            self.oom_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._fds.append(self.oom_fd)
            _write(memory / "cgroup.event_control", f"{self.oom_fd} {self._oom_control}")
        except BaseException:
            self._close()
            raise
        self._limits: tuple[int, int] = (0, 0)
        self._cpu_before = 0
        self._pids_before = 0
        self._ooms_before = 0
        self._told = 0

    def _open(self, path: Path, how: int = os.O_RDWR) -> int:
        fd = os.open(path, how | os.O_CLOEXEC)
        self._fds.append(fd)
        return fd

    def attach(self, pid: int) -> None:
        """See Cgroup."""
        try:
            for path in self._paths.values():
                _write(path / "cgroup.procs", str(pid))
        except OSError as error:
            raise SandboxError("CGROUP", f"cannot attach process {pid}: {error}") from error

    def begin(self, memory_bytes: int, processes: int) -> None:
        """See Cgroup."""
        if self._limits != (memory_bytes, processes):
            try:
                self._set_memory(memory_bytes)
            except OSError as error:
                if error.errno == errno.EBUSY:
                    raise OutOfRoom from error
                raise SandboxError("CGROUP", f"cannot set the memory limit: {error}") from error
            os.pwrite(self._pids_max, str(processes + OURS).encode(), 0)
            self._limits = (memory_bytes, processes)
        os.pwrite(self._peak, b"0", 0)
        self._cpu_before = _read_int(self._cpu)
        self._pids_before = _read_int(self._pids_peak) if self._pids_peak is not None else 0
        self._ooms_before = self._oom_kills()
        self._told = 0

    def _set_memory(self, memory_bytes: int) -> None:
        value = str(memory_bytes).encode()
        # Memory with swap must never be below memory alone, so the order depends on the direction.
        order = [self._limit, self._swap] if memory_bytes < self._limits[0] else [self._swap, self._limit]
        if self._limits[0] == 0:
            order = [self._limit, self._swap]
        for fd in order:
            if fd is not None:
                os.pwrite(fd, value, 0)

    def cpu_ns(self) -> int:
        """See Cgroup."""
        return _read_int(self._cpu) - self._cpu_before

    def counters(self) -> Counters:
        """See Cgroup."""
        peak = _read_int(self._pids_peak) if self._pids_peak is not None else 0
        with contextlib.suppress(BlockingIOError):
            self._told += struct.unpack("Q", os.read(self.oom_fd, 8))[0]
        return Counters(
            cpu_ns=self.cpu_ns(),
            memory_peak_bytes=_read_int(self._peak),
            # The event comes with the first shortage, the count only once a victim is dead.
            oom_events=max(self._told, self._oom_kills() - self._ooms_before),
            peak_processes=peak - OURS if peak > self._pids_before else 0,
        )

    def _oom_kills(self) -> int:
        for line in os.pread(self._oom_control, 256, 0).splitlines():
            name, _, value = line.partition(b" ")
            if name == b"oom_kill":
                return int(value)
        return 0

    def kill(self) -> None:
        """See Cgroup. Version 1 cannot; the end of its init takes all processes of a jail, and `remove` looks again."""

    def remove(self) -> None:
        """See Cgroup."""
        self._close()
        deadline = time.monotonic() + 1
        for path in self._paths.values():
            _remove_directory(path, deadline)

    def _close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


class CgroupsV2:
    """One hierarchy. Groups of jails are leaves; no process of ours sits in an inner group."""

    CONTROLLERS = ("memory", "pids", "cpu")
    version = 2

    def __init__(self, mount: Path, parent: str) -> None:
        self._mount = mount
        self._base = mount / parent
        self._owners = _Owners([self._base])

    def open(self) -> None:
        """See CgroupDriver. In a container, its own processes move to a leaf first: inner groups hold none."""
        missing = set(self.CONTROLLERS) - set((self._mount / "cgroup.controllers").read_text().split())
        if missing:
            raise SandboxError("CGROUP", f"control group version 2 lacks {', '.join(sorted(missing))} at {self._mount}")
        try:
            self._base.mkdir(exist_ok=True)
            try:
                self._delegate(self._mount)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                self._vacate(self._mount)
                self._delegate(self._mount)
            self._delegate(self._base)
        except OSError as error:
            raise SandboxError("CGROUP", f"cannot make control groups: {error}") from error

    def take(self, owner: str) -> bool:
        """See CgroupDriver."""
        try:
            taken = self._owners.take(owner)
            if taken:
                self._delegate(self._base / owner)
        except OSError as error:
            raise SandboxError("CGROUP", f"cannot make control groups: {error}") from error
        return taken

    def _delegate(self, group: Path) -> None:
        control = group / "cgroup.subtree_control"
        missing = set(self.CONTROLLERS) - set(control.read_text().split())
        if missing:
            _write(control, " ".join(f"+{controller}" for controller in sorted(missing)))

    @staticmethod
    def _vacate(group: Path) -> None:
        leaf = group / "init"
        leaf.mkdir(exist_ok=True)
        for pid in _pids(group / "cgroup.procs"):
            with contextlib.suppress(ProcessLookupError):
                _write(leaf / "cgroup.procs", str(pid))

    def create(self, name: str) -> Cgroup:
        """See CgroupDriver."""
        (path,) = self._owners.paths(name)
        try:
            path.mkdir()
            return _GroupV2(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                path.rmdir()
            raise SandboxError("CGROUP", f"cannot make a control group: {error}") from error

    def sweep(self) -> int:
        """See CgroupDriver."""
        return self._owners.sweep()

    def close(self) -> None:
        """See CgroupDriver."""
        self._owners.close()


class _GroupV2:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._fds: list[int] = []
        try:
            self._max = self._open(path / "memory.max")
            self._pids_max = self._open(path / "pids.max")
            self._cpu = self._open(path / "cpu.stat", os.O_RDONLY)
            self._events = self._open(path / "memory.events", os.O_RDONLY)
            self._peak, self._peak_resets = self._open_peak(path / "memory.peak")
            pids_peak = path / "pids.peak"
            self._pids_peak = self._open(pids_peak, os.O_RDONLY) if pids_peak.exists() else None
            swap = path / "memory.swap.max"
            if swap.exists():  # absent on kernels without swap accounting
                _write(swap, "0")
            # The file is always "readable"; only its priority event means that it changed.
            poll = select.epoll()
            self.oom_fd = os.dup(poll.fileno())
            self._fds.append(self.oom_fd)
            poll.register(self._events, select.EPOLLPRI)
            poll.close()
        except BaseException:
            self._close()
            raise
        self._limits: tuple[int, int] = (0, 0)
        self._cpu_before = 0
        self._pids_before = 0
        self._peak_before = 0
        self._ooms_before = 0

    def _open(self, path: Path, how: int = os.O_RDWR) -> int:
        fd = os.open(path, how | os.O_CLOEXEC)
        self._fds.append(fd)
        return fd

    def _open_peak(self, path: Path) -> tuple[int | None, bool]:
        """Resettable from Linux 6.12 on, readable from 5.19 on, else absent."""
        try:
            return self._open(path), True
        except PermissionError:
            return self._open(path, os.O_RDONLY), False
        except FileNotFoundError:
            return None, False

    def attach(self, pid: int) -> None:
        """See Cgroup."""
        try:
            _write(self._path / "cgroup.procs", str(pid))
        except OSError as error:
            raise SandboxError("CGROUP", f"cannot attach process {pid}: {error}") from error

    def begin(self, memory_bytes: int, processes: int) -> None:
        """See Cgroup."""
        if self._limits != (memory_bytes, processes):
            if memory_bytes < self._limits[0] and self._current() > memory_bytes:
                self._reclaim(memory_bytes)
            os.pwrite(self._max, str(memory_bytes).encode(), 0)
            os.pwrite(self._pids_max, str(processes + OURS).encode(), 0)
            self._limits = (memory_bytes, processes)
        if self._peak_resets and self._peak is not None:
            try:
                os.pwrite(self._peak, b"reset\n", 0)
            except OSError:
                self._peak_resets = False
        self._peak_before = 0 if self._peak_resets or self._peak is None else _read_int(self._peak)
        self._cpu_before = self._cpu_total()
        self._pids_before = _read_int(self._pids_peak) if self._pids_peak is not None else 0
        self._ooms_before = self._oom_kills()

    def _current(self) -> int:
        return int((self._path / "memory.current").read_text())

    def _reclaim(self, memory_bytes: int) -> None:
        """Makes room by dropping page cache; lowering the limit below what remains would kill our init."""
        high = self._path / "memory.high"
        _write(high, str(memory_bytes))
        _write(high, "max")
        if self._current() > memory_bytes:
            raise OutOfRoom

    def cpu_ns(self) -> int:
        """See Cgroup."""
        return self._cpu_total() - self._cpu_before

    def _cpu_total(self) -> int:
        return _field(os.pread(self._cpu, 512, 0), b"usage_usec") * 1000

    def counters(self) -> Counters:
        """See Cgroup."""
        peak = _read_int(self._peak) if self._peak is not None else 0
        processes = _read_int(self._pids_peak) if self._pids_peak is not None else 0
        return Counters(
            cpu_ns=self.cpu_ns(),
            memory_peak_bytes=peak if peak > self._peak_before else 0,
            oom_events=self._oom_kills() - self._ooms_before,
            peak_processes=processes - OURS if processes > self._pids_before else 0,
        )

    def _oom_kills(self) -> int:
        return _field(os.pread(self._events, 256, 0), b"oom_kill")

    def kill(self) -> None:
        """See Cgroup. In one step from Linux 5.14 on."""
        with contextlib.suppress(OSError):
            _write(self._path / "cgroup.kill", "1")

    def remove(self) -> None:
        """See Cgroup."""
        self._close()
        _remove_directory(self._path, time.monotonic() + 1)

    def _close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


def _field(text: bytes, name: bytes) -> int:
    for line in text.splitlines():
        key, _, value = line.partition(b" ")
        if key == name:
            return int(value)
    return 0
