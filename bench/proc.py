"""What the kernel tells of processes, from /proc: CPU and memory of a program with everything beneath it."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stat:
    """The part of /proc/<pid>/stat that matters here. Times in seconds."""

    pid: int
    parent: int
    user: float
    system: float
    """Of the process itself, ended threads included."""
    reaped_user: float
    reaped_system: float
    """Of children that have ended and were waited for, and of theirs."""


def parse_stat(line: str) -> Stat:
    """Reads one line. The name in it may hold spaces and parentheses."""
    head, _, tail = line.rpartition(")")
    fields = tail.split()
    return Stat(int(head.split()[0]), int(fields[1]), *(int(ticks) * _TICK_SECONDS for ticks in fields[11:15]))


def read_all() -> dict[int, Stat]:
    """Every process there is."""
    found: dict[int, Stat] = {}
    for entry in os.scandir(PROC):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, IndexError, ValueError):
                stat = parse_stat((PROC / entry.name / "stat").read_text())
                found[stat.pid] = stat
    return found


def descendants(stats: Mapping[int, Stat], root: int) -> Iterator[Stat]:
    """Everything alive beneath a process, itself not included."""
    children: dict[int, list[Stat]] = {}
    for stat in stats.values():
        children.setdefault(stat.parent, []).append(stat)
    waiting = list(children.get(root, ()))
    while waiting:
        stat = waiting.pop()
        yield stat
        waiting += children.get(stat.pid, ())


def switches(pid: int) -> int:
    """Context switches of a process's living threads, voluntary or not."""
    total = 0
    with contextlib.suppress(OSError):
        for thread in os.scandir(PROC / str(pid) / "task"):
            with contextlib.suppress(OSError):
                for line in Path(thread.path, "status").read_text().splitlines():
                    if "ctxt_switches" in line:
                        total += int(line.rpartition(":")[2])
    return total


def threads(pid: int) -> dict[str, float]:
    """CPU seconds of a process's living threads by their name; threads of one name together."""
    found: dict[str, float] = {}
    with contextlib.suppress(OSError):
        for thread in os.scandir(PROC / str(pid) / "task"):
            with contextlib.suppress(OSError, IndexError, ValueError):
                line = Path(thread.path, "stat").read_text()
                name = line[line.index("(") + 1 : line.rindex(")")]
                stat = parse_stat(line)
                # The first thread is named after the program.
                name = "main" if stat.pid == pid else name
                found[name] = found.get(name, 0.0) + stat.user + stat.system
    return found


def machine_cpu_seconds() -> float:
    """CPU that everything on the machine has used, the kernel's own threads included."""
    exact = Path("/sys/fs/cgroup/cpuacct/cpuacct.usage")
    with contextlib.suppress(OSError):
        return int(exact.read_text()) / 1e9
    with contextlib.suppress(OSError, KeyError, ValueError):
        words = dict(line.split() for line in Path("/sys/fs/cgroup/cpu.stat").read_text().splitlines())
        return int(words["usage_usec"]) / 1e6
    user, nice, system, _idle, _iowait, irq, softirq, steal = (
        int(ticks) for ticks in (PROC / "stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) * _TICK_SECONDS


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory in KiB. What several processes map is shared out among them, but for `rss`."""

    rss: int
    anonymous: int
    shared: int
    """Shared memory, such as PostgreSQL's buffers."""
    files: int
    """Mapped files, mostly programs: it changes when a stranger maps the same file or lets go of it."""

    @property
    def own(self) -> int:
        """All but mapped files."""
        return self.anonymous + self.shared

    @property
    def pss(self) -> int:
        """All of it."""
        return self.own + self.files

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(
            self.rss + other.rss,
            self.anonymous + other.anonymous,
            self.shared + other.shared,
            self.files + other.files,
        )


def memory(pid: int) -> Memory:
    """Of one process; nothing where it has ended."""
    with contextlib.suppress(OSError):
        return parse_rollup((PROC / str(pid) / "smaps_rollup").read_text())
    return Memory(0, 0, 0, 0)


def parse_rollup(text: str) -> Memory:
    """Reads /proc/<pid>/smaps_rollup."""
    sizes = {
        name: int(rest.split()[0])
        for name, separator, rest in (line.partition(":") for line in text.splitlines())
        if separator and rest.endswith("kB")
    }
    return Memory(*(sizes.get(name, 0) for name in ("Rss", "Pss_Anon", "Pss_Shmem", "Pss_File")))
