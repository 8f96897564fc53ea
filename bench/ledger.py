"""Whose CPU it was: the mesh's processes one by one, the sandbox, the load generator, the rest of the machine."""

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench import proc

SANDBOX_PARENT = "executor"
"""What this program's children use is the sandbox's; every other program's children count as the program."""

SUPERVISOR = "supervisord"
"""Parent of all the others: only its own CPU is its own. It carries every log line to its file."""

Pids = Callable[[], Mapping[str, int]]


class Restarted(Exception):
    """A process of the mesh ended while it was measured; the figures would be wrong."""


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds, and context switches."""

    user: float
    system: float
    switches: int = 0

    @property
    def cpu(self) -> float:
        """Both."""
        return self.user + self.system

    def plus(self, other: "Usage") -> "Usage":
        """Both together."""
        return Usage(self.user + other.user, self.system + other.system, self.switches + other.switches)

    def minus(self, other: "Usage") -> "Usage":
        """What came on top of `other`."""
        return Usage(self.user - other.user, self.system - other.system, self.switches - other.switches)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Everything used since each process began; only differences mean something."""

    pids: Mapping[str, int]
    mesh: Mapping[str, Usage]
    threads: Mapping[tuple[str, str], float]
    """Program and thread → seconds; children's threads are not told apart."""
    sandbox: Usage
    generator: Usage
    machine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """CPU seconds between two readings."""

    mesh: Mapping[str, Usage]
    threads: Mapping[tuple[str, str], float]
    sandbox: Usage
    """nsjail, init and programs; context switches are not counted."""
    generator: Usage
    """This process, without its children."""
    machine: float

    @property
    def whole_mesh(self) -> Usage:
        """All processes of the mesh."""
        return functools.reduce(Usage.plus, self.mesh.values(), Usage(0, 0))

    @property
    def mesh_cpu(self) -> float:
        """Of all processes of the mesh."""
        return self.whole_mesh.cpu

    @property
    def rest(self) -> float:
        """Kernel threads, and whoever else is on the machine."""
        return max(0.0, self.machine - self.mesh_cpu - self.sandbox.cpu - self.generator.cpu)


class Ledger:
    """Reads the CPU of one mesh. `pids` tells its programs by name."""

    def __init__(self, pids: Pids) -> None:
        self._pids = pids

    def read(self) -> Reading:
        """Takes about 20 ms, which count as the generator's."""
        pids = dict(self._pids())
        stats = proc.read_all()
        mesh: dict[str, Usage] = {}
        sandbox = Usage(0, 0)
        for name, pid in pids.items():
            if pid not in stats:
                raise Restarted(f"{name} has gone")
            mesh[name] = _own(stats[pid])
            if name.startswith(SANDBOX_PARENT):
                sandbox = sandbox.plus(_beneath(stats, pid, count_switches=False))
            elif name != SUPERVISOR:
                mesh[name] = mesh[name].plus(_beneath(stats, pid, count_switches=True))
        times = os.times()
        return Reading(
            pids=pids,
            mesh=mesh,
            threads={(name, thread): used for name, pid in pids.items() for thread, used in proc.threads(pid).items()},
            sandbox=sandbox,
            generator=Usage(times.user, times.system, proc.switches(os.getpid())),
            machine=proc.machine_cpu_seconds(),
        )


def _own(stat: proc.Stat) -> Usage:
    return Usage(stat.user, stat.system, proc.switches(stat.pid))


def _beneath(stats: Mapping[int, proc.Stat], pid: int, *, count_switches: bool) -> Usage:
    """What children used, those that have ended and those that live, and theirs."""
    total = Usage(stats[pid].reaped_user, stats[pid].reaped_system)
    for child in proc.descendants(stats, pid):
        total = total.plus(
            Usage(
                child.user + child.reaped_user,
                child.system + child.reaped_system,
                proc.switches(child.pid) if count_switches else 0,
            )
        )
    return total


def between(before: Reading, after: Reading) -> Spent:
    """Raises Restarted where a process is not the same any more."""
    if before.pids != after.pids:
        changed = sorted(dict(set(before.pids.items()) ^ set(after.pids.items())))
        raise Restarted(f"ended or restarted while measured: {', '.join(changed)}")
    return Spent(
        mesh={name: usage.minus(before.mesh[name]) for name, usage in after.mesh.items()},
        threads={thread: used - before.threads.get(thread, 0.0) for thread, used in after.threads.items()},
        sandbox=after.sandbox.minus(before.sandbox),
        generator=after.generator.minus(before.generator),
        machine=after.machine - before.machine,
    )
