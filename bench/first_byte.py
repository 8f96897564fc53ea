"""From a program's write to its watcher: both read the same machine's clock."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence

from sentinel.v1 import scheduler_pb2

from bench.client import EXPECTED, SOURCE, Client, WrongAnswer, clients, python
from bench.figures import Figure, Goal, Section
from bench.plan import Plan
from bench.private_mesh import BenchMesh
from bench.stats import percentile

# The pause lets a watcher arrive who comes after Submit has answered: it is to see the output live, not told again.
TELLS_THE_TIME = """\
import os, time
time.sleep(0.05)
os.write(1, b"%d" % time.time_ns())
"""

Watch = Callable[[Client, scheduler_pb2.SubmitRequest], AsyncIterator[bytes]]


def measure(mesh: BenchMesh, runner: asyncio.Runner, plan: Plan) -> Section:
    """Raises WrongAnswer where a program's output is not a time."""
    watched = runner.run(_quiet(mesh, plan, Client.watched_output))
    run = runner.run(_quiet(mesh, plan, Client.output_while_running))
    busy = runner.run(_busy(mesh, plan))
    return report(watched=watched, run=run, busy=busy, slots=mesh.slots)


async def _quiet(mesh: BenchMesh, plan: Plan, watch: Watch) -> list[float]:
    async with clients(mesh.edge, 1) as [client]:
        return await _first_bytes(client, plan.first_bytes, watch)


async def _busy(mesh: BenchMesh, plan: Plan) -> list[float]:
    """With as many other callers as there are slots, less one, each in a closed loop."""

    async def others(client: Client) -> None:
        while True:
            await client.run(python(SOURCE), EXPECTED)

    async with clients(mesh.edge, mesh.slots) as [client, *rest]:
        noise = [asyncio.create_task(others(each)) for each in rest]
        try:
            return await _first_bytes(client, plan.first_bytes, Client.watched_output)
        finally:
            for task in noise:
                task.cancel()
            for task in noise:
                with contextlib.suppress(asyncio.CancelledError):
                    await task


async def _first_bytes(client: Client, count: int, watch: Watch) -> list[float]:
    program = python(TELLS_THE_TIME)
    return [await _first_byte(watch(client, program)) for _ in range(count)]


async def _first_byte(output: AsyncIterator[bytes]) -> float:
    waited: float | None = None
    async for data in output:
        if waited is None:
            waited = seconds_since(data, time.time_ns())
    if waited is None:
        raise WrongAnswer("a program that writes the time has written nothing")
    return waited


def seconds_since(written: bytes, now_ns: int) -> float:
    """Between what the program read from the clock and now. Raises WrongAnswer where that is not a time."""
    if not written.strip().isdigit():
        raise WrongAnswer(f"a program wrote {written[:80]!r} instead of the time")
    return (now_ns - int(written)) / 1e9


def report(*, watched: Sequence[float], run: Sequence[float], busy: Sequence[float], slots: int) -> Section:
    """Figures from latencies in seconds."""
    return Section(
        title="First output byte",
        method=(
            "A program sleeps 50 ms, reads the clock and writes it with one system call; the watcher reads the same "
            f"machine's clock when the bytes arrive through Envoy. {len(watched)} programs one after the other per "
            "way: `Submit` and then `WatchSubmission` (executor → scheduler → Redis → gateway → Envoy), `Run` "
            f"(without the gateway), and `WatchSubmission` again while {slots - 1} more callers keep the other slots "
            "busy."
        ),
        figures=[
            Figure(
                key="first byte",
                title="program's write → watcher, p99",
                value=1e3 * percentile(watched, 99),
                unit="ms",
                goal=Goal("≤", 30),
            ),
            _milliseconds("program's write → watcher, p50", watched, 50),
            _milliseconds("program's write → caller of Run, p50", run, 50),
            _milliseconds("program's write → caller of Run, p99", run, 99),
            _milliseconds("busy machine: program's write → watcher, p50", busy, 50),
            _milliseconds("busy machine: program's write → watcher, p99", busy, 99),
        ],
    )


def _milliseconds(title: str, seconds: Sequence[float], percent: float) -> Figure:
    return Figure(key="", title=title, value=1e3 * percentile(seconds, percent), unit="ms")
