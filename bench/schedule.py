"""When an open model means to send: decided beforehand, never by how the answers come."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.stats import Latencies


def constant_rate(per_second: float, count: int) -> Iterator[float]:
    """Intended times in seconds from the beginning, evenly spaced."""
    if per_second <= 0:
        raise ValueError(f"{per_second} per second: expected more than none")
    return (number / per_second for number in range(count))


@dataclass(slots=True)
class Outcome:
    """What became of a schedule."""

    latencies: Latencies = field(default_factory=Latencies)
    """Done − intended, of those that succeeded."""
    lags: Latencies = field(default_factory=Latencies)
    """Sent − intended: how late the generator itself was. Part of the latency as well."""
    refusals: dict[str, int] = field(default_factory=dict)
    """Reason → how many."""
    seconds: float = 0.0
    """From the first intended time to the last answer."""


Send = Callable[[], Coroutine[Any, Any, None]]


async def follow(times: Iterator[float], send: Send, *, refused: Callable[[Exception], str | None]) -> Outcome:
    """Sends at each intended time, however many answers are outstanding; returns after the last answer.

    `refused` names an exception that is an answer like another; where it gives None the exception is raised.
    """
    outcome = Outcome()
    begun = time.perf_counter()

    async def one(intended: float) -> None:
        outcome.lags.record(intended, time.perf_counter() - begun - intended)
        try:
            await send()
        except Exception as error:
            reason = refused(error)
            if reason is None:
                raise
            outcome.refusals[reason] = outcome.refusals.get(reason, 0) + 1
        else:
            outcome.latencies.record(intended, time.perf_counter() - begun - intended)

    async with asyncio.TaskGroup() as group:
        for intended in times:
            # Always yields, so that a late generator still reads answers.
            await asyncio.sleep(max(0.0, begun + intended - time.perf_counter()))
            group.create_task(one(intended))
    outcome.seconds = time.perf_counter() - begun
    return outcome
