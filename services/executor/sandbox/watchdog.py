"""When to look at a CPU counter again, so that a limit is noticed soon and an idle program costs nothing."""

import asyncio
from collections.abc import Callable

SHORTEST_WAIT = 0.005
"""Seconds. Polling more often would cost more than the accuracy is worth."""


def next_look(used_ns: int, limit_ns: int, cpus: int) -> float:
    """Seconds until the limit could be reached at the earliest, all CPUs burning; never below SHORTEST_WAIT."""
    return max(SHORTEST_WAIT, (limit_ns - used_ns) / max(1, cpus) / 1e9)


class CpuWatchdog:
    """Calls `on_limit` once when `used_ns()` has reached the limit. Between `start` and `stop` only."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, used_ns: Callable[[], int], cpus: int, on_limit: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._used_ns = used_ns
        self._cpus = cpus
        self._on_limit = on_limit
        self._timer: asyncio.TimerHandle | None = None

    def start(self, limit_ns: int) -> None:
        """Begins watching; the counter reads 0 now."""
        self._timer = self._loop.call_later(next_look(0, limit_ns, self._cpus), self._look, limit_ns)

    def stop(self) -> None:
        """Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, limit_ns: int) -> None:
        used = self._used_ns()
        if used >= limit_ns:
            self._timer = None
            self._on_limit()
        else:
            self._timer = self._loop.call_later(next_look(used, limit_ns, self._cpus), self._look, limit_ns)
