"""From the first signal to the last log line: how a process begins to stop, and how one dead part stops it all."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import uvloop


class Drained(Exception):
    """Ends a TaskGroup whose server has stopped. The documented idiom before Python has TaskGroup.cancel."""


def heed_cancel() -> None:
    """Raises CancelledError where this task was asked to end and a library swallowed it. For endless loops.

    On Python 3.11 `asyncio.wait_for`, through which the Redis client writes, loses a cancel that arrives together
    with the end of the write; a loop around it would then never end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def stop_on_signals(loop: asyncio.AbstractEventLoop) -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets. A second signal ends the process at once."""
    stop = asyncio.Event()

    def on_signal(signum: signal.Signals) -> None:
        if stop.is_set():
            raise SystemExit(128 + signum)
        stop.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, on_signal, signum)
    return stop


def run_until_signal(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Runs `serve(stop)` on uvloop. `serve` returns when it has drained."""

    async def main() -> None:
        await serve(stop_on_signals(asyncio.get_running_loop()))

    uvloop.run(main())
