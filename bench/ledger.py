"""Whose CPU it was: the mesh's processes one by one, the sandbox, the load generator, the rest of the machine."""

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

    def minus(self, other: "Usage") -> "Usage":
        """What came on top of `other`."""
        return Usage(self.user - other.user, self.system - other.system, self.switches - other.switches)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Everything used since each process began; only differences mean something."""

    pids: Mapping[str, int]
    mesh: Mapping[str, Usage]
    sandbox: float
    generator: float
    machine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """CPU seconds between two readings."""

    mesh: Mapping[str, Usage]
    sandbox: float
    """nsjail, init and programs."""
    generator: float
    """This process, without its children."""
    machine: float

    @property
    def mesh_cpu(self) -> float:
        """All processes of the mesh."""
        return sum(usage.cpu for usage in self.mesh.values())

    @property
    def rest(self) -> float:
        """Kernel threads, and whoever else is on the machine."""
        return max(0.0, self.machine - self.mesh_cpu - self.sandbox - self.generator)


class Ledger:
    """Reads the CPU of one mesh. `pids` tells its programs by name."""

    def __init__(self, pids: Pids) -> None:
        self._pids = pids

    def read(self) -> Reading:
        """Takes about 20 ms, which count as the generator's."""
        pids = dict(self._pids())
        stats = proc.read_all()
        mesh: dict[str, Usage] = {}
        sandbox = 0.0
        for name, pid in pids.items():
            if pid not in stats:
                raise Restarted(f"{name} has gone")
            own = stats[pid]
            beneath = 0.0
            if name != SUPERVISOR:
                beneath = own.reaped + sum(child.own + child.reaped for child in proc.descendants(stats, pid))
            if name.startswith(SANDBOX_PARENT):
                sandbox += beneath
                beneath = 0.0
            mesh[name] = Usage(own.user, own.system + beneath, proc.switches(pid))
        times = os.times()
        return Reading(
            pids=pids,
            mesh=mesh,
            sandbox=sandbox,
            generator=times.user + times.system,
            machine=proc.machine_cpu_seconds(),
        )


def between(before: Reading, after: Reading) -> Spent:
    """Raises Restarted where a process is not the same any more."""
    if before.pids != after.pids:
        changed = sorted(dict(set(before.pids.items()) ^ set(after.pids.items())))
        raise Restarted(f"ended or restarted while measured: {', '.join(changed)}")
    return Spent(
        mesh={name: usage.minus(before.mesh[name]) for name, usage in after.mesh.items()},
        sandbox=after.sandbox - before.sandbox,
        generator=after.generator - before.generator,
        machine=after.machine - before.machine,
    )
