"""Accepting in an open model: submissions come when the schedule says, however the answers come."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from bench.backlog import backlog
from bench.client import SOURCE, clients, python
from bench.figures import Figure, Goal, Section, Table
from bench.ledger import Spent, between
from bench.plan import Plan
from bench.private_mesh import BenchMesh
from bench.schedule import Outcome, constant_rate, follow

_GOAL_PER_SECOND = 500
_CONNECTIONS = 4
_LATE_MS = 5.0
"""A generator later than this at p99 has itself become part of what is measured."""
_PUBLISHED_WITHIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rate, held for a while."""

    rate: float
    sent: int
    outcome: Outcome
    spent: Spent
    recorded: int
    """Rows that PostgreSQL has more than before."""
    ended: int
    """Programs that ended meanwhile."""
    published_after: float
    """Seconds from the last answer until everything was confirmed by the broker."""


def measure(mesh: BenchMesh, runner: asyncio.Runner, plan: Plan) -> Section:
    """The burst, then further rates."""
    steps = [runner.run(_step(mesh, plan.burst_rate, plan.burst_count))]
    steps += [runner.run(_step(mesh, rate, int(rate * plan.further_seconds))) for rate in plan.further_rates]
    return report(steps)


async def _step(mesh: BenchMesh, rate: float, count: int) -> Step:
    ledger = mesh.ledger()
    program = python(SOURCE)
    async with backlog(mesh.mesh) as waits, clients(mesh.edge, _CONNECTIONS) as callers:
        for caller in callers:
            await caller.submit(program)
        accepted, ended, before = await waits.accepted(), await waits.ended(), ledger.read()
        turn = 0

        async def send() -> None:
            nonlocal turn
            turn += 1
            await callers[turn % _CONNECTIONS].submit(program)

        outcome = await follow(constant_rate(rate, count), send, refused=_refused)
        after, answered = ledger.read(), time.monotonic()
        recorded, ended_after = await waits.accepted(), await waits.ended()
        await waits.settle(_PUBLISHED_WITHIN_SECONDS)
        return Step(
            rate=rate,
            sent=count,
            outcome=outcome,
            spent=between(before, after),
            recorded=recorded - accepted,
            ended=ended_after - ended,
            published_after=time.monotonic() - answered,
        )


def _refused(error: Exception) -> str | None:
    return error.code().name if isinstance(error, grpc.aio.AioRpcError) else None


def report(steps: Sequence[Step]) -> Section:
    """Figures of the first step, a table of all."""
    burst = steps[0]
    seconds = burst.outcome.latencies.by_second_ms(99)
    answered = burst.outcome.latencies.count
    return Section(
        title="A burst of submissions",
        method=(
            f"{burst.sent:,} calls of `Submit` through Envoy, meant to be sent evenly at {burst.rate:g} per second on "
            f"{_CONNECTIONS} connections whatever the answers do; the executors run programs on the same cores all the "
            "while. A latency counts from the intended moment of sending (HdrHistogram), so a stall shows in every "
            "call it delays. Accepted means committed in PostgreSQL."
        ),
        figures=[
            Figure(
                key="burst p99",
                title=f"accept latency at {burst.rate:g}/s, p99",
                value=burst.outcome.latencies.percentile_ms(99),
                unit="ms",
                goal=Goal("<", 250),
                samples=seconds,
            ),
            Figure(
                key="burst rate",
                title="accepted per second, sustained",
                value=answered / burst.outcome.seconds,
                unit="/s",
                goal=Goal("≥", _GOAL_PER_SECOND),
            ),
            Figure(
                key="burst loss",
                title="sent, but refused or not on record",
                value=burst.sent - min(answered, burst.recorded),
                goal=Goal("≤", 0),
            ),
            Figure(key="", title="accept latency, p50", value=burst.outcome.latencies.percentile_ms(50), unit="ms"),
            Figure(key="", title="accept latency, p99.9", value=burst.outcome.latencies.percentile_ms(99.9), unit="ms"),
            Figure(key="", title="accept latency, longest", value=burst.outcome.latencies.max_ms(), unit="ms"),
            Figure(key="", title="generator's own lag, p99", value=burst.outcome.lags.percentile_ms(99), unit="ms"),
        ],
        tables=[_steps_table(steps), _cpu_table(burst)],
        notes=_notes(steps),
    )


def _steps_table(steps: Sequence[Step]) -> Table:
    return Table(
        title="Rates",
        columns=[
            *("intended /s", "accepted /s", "sent", "refused", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "longest ms"),
            *("worst second's p99 ms", "generator lag p99 / longest ms", "programs ended", "all published after s"),
        ],
        rows=[
            [
                f"{step.rate:g}",
                f"{step.outcome.latencies.count / step.outcome.seconds:.0f}",
                f"{step.sent:,}",
                ", ".join(f"{count} {reason}" for reason, count in step.outcome.refusals.items()) or "0",
                *(f"{step.outcome.latencies.percentile_ms(percent):.1f}" for percent in (50, 90, 99, 99.9)),
                f"{step.outcome.latencies.max_ms():.1f}",
                f"{max(step.outcome.latencies.by_second_ms(99), default=0):.1f}",
                f"{step.outcome.lags.percentile_ms(99):.1f} / {step.outcome.lags.max_ms():.1f}",
                f"{step.ended:,}",
                f"{step.published_after:.1f}",
            ]
            for step in steps
        ],
    )


def _cpu_table(step: Step) -> Table:
    cpu = sorted(((usage.cpu, name) for name, usage in step.spent.mesh.items()), reverse=True)
    return Table(
        title=f"CPU during the {step.rate:g}/s burst, of one core",
        columns=["process", "CPU"],
        rows=[
            *([name, f"{used / step.outcome.seconds:.1%}"] for used, name in cpu),
            ["sandbox (nsjail, init, program)", f"{step.spent.sandbox.cpu / step.outcome.seconds:.1%}"],
            ["load generator", f"{step.spent.generator.cpu / step.outcome.seconds:.1%}"],
            ["rest of the machine", f"{step.spent.rest / step.outcome.seconds:.1%}"],
        ],
    )


def _notes(steps: Sequence[Step]) -> list[str]:
    late = [step for step in steps if step.outcome.lags.percentile_ms(99) > _LATE_MS]
    if not late:
        return [f"The generator was never later than {_LATE_MS:g} ms at p99."]
    rates = ", ".join(f"{step.rate:g}/s" for step in late)
    return [
        (
            f"At {rates} the generator, which shares the cores, was itself more than {_LATE_MS:g} ms late at p99. That "
            "lateness is part of the latencies: they are an upper bound of what the mesh adds."
        )
    ]
