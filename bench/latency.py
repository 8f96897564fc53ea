"""How long one program takes from submit to its end, with and without idle gaps, against a bare run."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import bare
from bench.client import EXPECTED, SOURCE, Client, clients, python
from bench.figures import Figure, Goal, Section
from bench.plan import Plan
from bench.private_mesh import BenchMesh
from bench.stats import median, percentile

_WARM_RUNS = 5
"""Not counted: the first runs after a pause find caches that others have used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Latencies of one repetition, in seconds."""

    bare: Sequence[float]
    back_to_back: Sequence[float]
    spaced: Sequence[float]


def measure(mesh: BenchMesh, runner: asyncio.Runner, plan: Plan) -> Section:
    """P4 and P7. Raises WrongAnswer."""
    rounds: list[Round] = []
    for _ in range(plan.rounds):
        alone = bare.times(plan.runs + _WARM_RUNS)[_WARM_RUNS:]
        back_to_back, spaced = runner.run(_through_the_mesh(mesh, plan))
        rounds.append(Round(bare=alone, back_to_back=back_to_back, spaced=spaced))
    return report(rounds, plan)


async def _through_the_mesh(mesh: BenchMesh, plan: Plan) -> tuple[list[float], list[float]]:
    async with clients(mesh.edge, 1) as [client]:
        await _runs(client, _WARM_RUNS, 0.0)
        back_to_back = await _runs(client, plan.runs, 0.0)
        return back_to_back, await _runs(client, plan.spaced_runs, plan.gap_seconds)


async def _runs(client: Client, count: int, gap_seconds: float) -> list[float]:
    program = python(SOURCE)
    latencies: list[float] = []
    for _ in range(count):
        await asyncio.sleep(gap_seconds)
        begun = time.perf_counter()
        await client.run(program, EXPECTED)
        latencies.append(time.perf_counter() - begun)
    return latencies


def report(rounds: Sequence[Round], plan: Plan) -> Section:
    """Figures of all rounds."""
    bare_p50 = [percentile(each.bare, 50) for each in rounds]
    hot_p50 = [percentile(each.back_to_back, 50) for each in rounds]
    spaced_p50 = [percentile(each.spaced, 50) for each in rounds]
    hot_p99 = [percentile(each.back_to_back, 99) for each in rounds]
    return Section(
        title="Latency of one program",
        method=(
            f"{plan.rounds} rounds in turns: {plan.runs} bare runs (D0) back to back in 1 slot; {plan.runs} through "
            f"the mesh by one caller back to back; {plan.spaced_runs} through the mesh with {plan.gap_seconds * 1e3:g} "
            "ms of idleness before each. From the call of `RunToCompletion` to its answer, through Envoy; every answer "
            "is checked. "
            "The executor builds jails ahead, so a program waits for a fresh jail only when it comes faster than they "
            "are built."
        ),
        figures=[
            Figure(
                key="P4",
                title="p50 submit → terminal ÷ p50 bare run",
                value=median(hot_p50) / median(bare_p50),
                goal=Goal("≤", 1.5),
                samples=[each / alone for each, alone in zip(hot_p50, bare_p50, strict=True)],
            ),
            Figure(
                key="P7",
                title="p50 with idle gaps ÷ p50 back to back",
                value=median(spaced_p50) / median(hot_p50),
                goal=Goal("≤", 1.5),
                samples=[each / hot for each, hot in zip(spaced_p50, hot_p50, strict=True)],
            ),
            _milliseconds("bare run, p50", bare_p50),
            _milliseconds("mesh back to back, p50", hot_p50),
            _milliseconds("mesh back to back, p99", hot_p99),
            _milliseconds("mesh with gaps, p50", spaced_p50),
        ],
    )


def _milliseconds(title: str, seconds: Sequence[float]) -> Figure:
    return Figure(key="", title=title, value=1e3 * median(seconds), unit="ms", samples=[1e3 * each for each in seconds])
