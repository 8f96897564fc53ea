"""Jobs per second and CPU per job: the mesh against the bare loop, in turns."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import bare
from bench.client import EXPECTED, SOURCE, Client, clients, python
from bench.figures import Figure, Goal, Section, Table
from bench.ledger import Spent, Usage, between
from bench.plan import Plan
from bench.private_mesh import BenchMesh
from bench.stats import median, percentile

_WORTH_TELLING_MS = 0.05

_SETTLE_SECONDS = 0.7
"""Between phases: jails are built ahead, and the kernel clears away after those that went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshPhase:
    """What the mesh did in one phase."""

    jobs: int
    seconds: float
    latencies: Sequence[float]
    spent: Spent

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds

    @property
    def mesh_cpu_per_job(self) -> float:
        """Seconds."""
        return self.spent.mesh_cpu / self.jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A bare phase, what the idle mesh used meanwhile, and the mesh phase after it."""

    bare: bare.BareRun
    idle: Spent
    """Of everything during the bare phase; the mesh in it had nothing to do."""
    mesh: MeshPhase

    @property
    def bare_cpu_per_job(self) -> float:
        """Seconds, with what the kernel does for a job outside its processes, such as clearing namespaces away."""
        return (self.idle.machine - self.idle.mesh_cpu - self.idle.generator.cpu) / self.bare.begun


def measure(mesh: BenchMesh, runner: asyncio.Runner, plan: Plan) -> Section:
    """P2 and P6. Raises WrongAnswer or Restarted rather than counting what went wrong."""
    pairs: list[Pair] = []
    ledger = mesh.ledger()
    for _ in range(plan.pairs):
        time.sleep(_SETTLE_SECONDS)
        before = ledger.read()
        alone = bare.loop(slots=mesh.slots, seconds=plan.phase_seconds)
        idle = between(before, ledger.read())
        time.sleep(_SETTLE_SECONDS)
        pairs.append(Pair(bare=alone, idle=idle, mesh=runner.run(saturate(mesh, plan))))
    return report(pairs, plan, mesh.slots)


async def saturate(mesh: BenchMesh, plan: Plan) -> MeshPhase:
    """A closed loop of callers; what ends after the warm-up and before the end counts."""
    done: list[tuple[float, float]] = []
    stop = asyncio.Event()
    program = python(SOURCE)

    async def call(client: Client) -> None:
        while not stop.is_set():
            begun = time.perf_counter()
            await client.run(program, EXPECTED)
            ended = time.perf_counter()
            done.append((ended, ended - begun))

    ledger = mesh.ledger()
    async with clients(mesh.edge, plan.callers) as callers, asyncio.TaskGroup() as group:
        for client in callers:
            group.create_task(call(client))
        await asyncio.sleep(plan.warm_seconds)
        before, begun = ledger.read(), time.perf_counter()
        await asyncio.sleep(plan.phase_seconds)
        after, ended = ledger.read(), time.perf_counter()
        stop.set()
    inside = [latency for moment, latency in done if begun <= moment < ended]
    return MeshPhase(jobs=len(inside), seconds=ended - begun, latencies=inside, spent=between(before, after))


def report(pairs: Sequence[Pair], plan: Plan, slots: int) -> Section:
    """Figures and tables of all pairs."""
    bare_rates = [pair.bare.rate for pair in pairs]
    mesh_rates = [pair.mesh.rate for pair in pairs]
    bare_cpu = [pair.bare_cpu_per_job for pair in pairs]
    waited_cpu = [pair.bare.cpu_per_job for pair in pairs]
    mesh_cpu = [pair.mesh.mesh_cpu_per_job for pair in pairs]
    return Section(
        title="Throughput and CPU",
        method=(
            f"{plan.pairs} pairs in turns: {plan.phase_seconds:g} s of the bare loop (D0, {slots} slots, the mesh up "
            f"and idle), then {plan.phase_seconds:g} s of the mesh after {plan.warm_seconds:g} s of warm-up, "
            f"{plan.callers} callers in a closed loop, one `RunToCompletion` at a time each, through Envoy on a "
            "connection of its own. Every verdict and every output is checked. The load generator runs on the same "
            "cores."
        ),
        figures=[
            Figure(
                key="P2",
                title="mesh jobs/s ÷ bare jobs/s",
                value=median(mesh_rates) / median(bare_rates),
                goal=Goal("≥", 0.75),
                samples=[pair.mesh.rate / pair.bare.rate for pair in pairs],
            ),
            Figure(
                key="P6",
                title="mesh CPU per job ÷ bare CPU per job",
                value=median(mesh_cpu) / median(waited_cpu),
                goal=Goal("≤", 0.25),
                samples=[pair.mesh.mesh_cpu_per_job / pair.bare.cpu_per_job for pair in pairs],
            ),
            Figure(
                key="",
                title="the same, bare CPU as the whole machine's",
                value=median(mesh_cpu) / median(bare_cpu),
                samples=[pair.mesh.mesh_cpu_per_job / pair.bare_cpu_per_job for pair in pairs],
            ),
            Figure(key="", title="mesh", value=median(mesh_rates), unit="jobs/s", samples=mesh_rates),
            Figure(key="", title="bare loop", value=median(bare_rates), unit="jobs/s", samples=bare_rates),
            _milliseconds("mesh CPU per job", mesh_cpu),
            _milliseconds("bare CPU per job", waited_cpu),
            _milliseconds("bare CPU per job, the whole machine's", bare_cpu),
            _milliseconds("mesh, p50 at saturation", [percentile(pair.mesh.latencies, 50) for pair in pairs]),
            _milliseconds("mesh, p99 at saturation", [percentile(pair.mesh.latencies, 99) for pair in pairs]),
            Figure(
                key="",
                title="mesh CPU while idle, of one core",
                value=100 * median([pair.idle.mesh_cpu / pair.bare.seconds for pair in pairs]),
                unit="%",
                samples=[100 * pair.idle.mesh_cpu / pair.bare.seconds for pair in pairs],
            ),
        ],
        tables=[_cpu_table(pairs), _threads_table(pairs)],
        notes=_notes(pairs),
    )


def _milliseconds(title: str, seconds: Sequence[float]) -> Figure:
    return Figure(key="", title=title, value=1e3 * median(seconds), unit="ms", samples=[1e3 * each for each in seconds])


def _cpu_table(pairs: Sequence[Pair]) -> Table:
    phases = [pair.mesh for pair in pairs]
    whole = median([phase.mesh_cpu_per_job for phase in phases])
    programs = {name: [(phase.spent.mesh[name], phase.jobs) for phase in phases] for name in phases[0].spent.mesh}
    rows = [_usage_row(name, usages, whole) for name, usages in programs.items()]
    rows.sort(key=lambda row: -float(row[1]))
    return Table(
        title="CPU per job at saturation, milliseconds (median of the pairs)",
        columns=["process", "CPU", "spread", "user", "system", "of the mesh", "context switches"],
        rows=[
            *rows,
            _usage_row("**mesh**", [(phase.spent.whole_mesh, phase.jobs) for phase in phases], whole),
            _usage_row("load generator", [(phase.spent.generator, phase.jobs) for phase in phases]),
            _usage_row("sandbox (nsjail, init, program)", [(phase.spent.sandbox, phase.jobs) for phase in phases]),
            _plain_row("rest of the machine", [phase.spent.rest / phase.jobs for phase in phases]),
            _plain_row("everything", [phase.spent.machine / phase.jobs for phase in phases]),
            _plain_row("bare loop, for comparison", [pair.bare.cpu_per_job for pair in pairs]),
            _plain_row("bare loop, the whole machine's", [pair.bare_cpu_per_job for pair in pairs]),
        ],
    )


def _usage_row(name: str, usages: Sequence[tuple[Usage, int]], whole: float | None = None) -> list[str]:
    row = _plain_row(name, [usage.cpu / jobs for usage, jobs in usages])
    switches = median([usage.switches / jobs for usage, jobs in usages])
    row[3] = f"{1e3 * median([usage.user / jobs for usage, jobs in usages]):.3f}"
    row[4] = f"{1e3 * median([usage.system / jobs for usage, jobs in usages]):.3f}"
    row[5] = f"{median([usage.cpu / jobs for usage, jobs in usages]) / whole:.0%}" if whole else ""
    row[6] = f"{switches:.1f}" if switches else ""
    return row


def _plain_row(name: str, seconds: Sequence[float]) -> list[str]:
    values = [1e3 * each for each in seconds]
    return [name, f"{median(values):.3f}", f"{min(values):.3f}–{max(values):.3f}", "", "", "", ""]


def _threads_table(pairs: Sequence[Pair]) -> Table:
    phases = [pair.mesh for pair in pairs]
    names = {thread for phase in phases for thread in phase.spent.threads}
    costs = {
        thread: 1e3 * median([phase.spent.threads.get(thread, 0.0) / phase.jobs for phase in phases])
        for thread in names
    }
    return Table(
        title=f"The threads behind it, those of at least {_WORTH_TELLING_MS:g} ms per job",
        columns=["process", "thread", "CPU"],
        rows=[
            [program, thread, f"{cost:.3f}"]
            for (program, thread), cost in sorted(costs.items(), key=lambda item: -item[1])
            if cost >= _WORTH_TELLING_MS
        ],
    )


def _notes(pairs: Sequence[Pair]) -> list[str]:
    jobs = sum(pair.mesh.jobs for pair in pairs)
    others = median([pair.mesh.spent.rest / pair.mesh.seconds for pair in pairs])
    return [
        f"{jobs} jobs through the mesh and {sum(pair.bare.jobs for pair in pairs)} through the bare loop; none wrong.",
        (
            "PostgreSQL and RabbitMQ count with all their children. An executor counts by itself: what it starts is "
            "the sandbox. The bare loop's CPU is what wait4 tells of nsjail and everything in it. What the kernel does "
            "after a job is not in that and would make P6 smaller; it is in the whole machine's (less the idle mesh "
            "and the loop itself), but so is whatever strangers did."
        ),
        (
            f"The rest of the machine used {others:.0%} of one core during the mesh phases: kernel threads, and "
            "whatever else ran."
        ),
    ]
