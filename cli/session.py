"""Doing one thing with the service: connect, ask, tell what went wrong, exit with the right code."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc
import typer

from cli import exits
from cli.connection import Client, Endpoint
from cli.faults import Fault, reason
from cli.follow import explain
from cli.jsonout import document

T = TypeVar("T")

DEADLINE_SECONDS = 30.0
"""Longest wait for an answer that needs no program to end."""
_TRIES = 3
_PAUSE_SECONDS = 0.2


def perform(endpoint: str, work: Callable[[Client], Awaitable[int]], *, as_json: bool) -> None:
    """Runs `work` with a client and exits with its code; shows a Fault and exits with that one's."""
    try:
        code = asyncio.run(_with_client(endpoint, work))
    except Fault as fault:
        if as_json:
            print(document(fault.body), flush=True)
        print(f"sentinel: {fault.text}", file=sys.stderr)
        code = fault.exit_code
    except KeyboardInterrupt:
        code = exits.CANCELLED
    except BrokenPipeError:
        # Nothing may be flushed to that pipe while the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = exits.BROKEN_PIPE
    raise typer.Exit(code)


async def _with_client(endpoint: str, work: Callable[[Client], Awaitable[int]]) -> int:
    async with Client(Endpoint.parse(endpoint)) as client:
        return await work(client)


async def call(client: Client, rpc: Callable[[], Awaitable[T]]) -> T:
    """One answer. Asks again when the line broke: everything this command calls may be repeated. Raises Fault."""
    for left in reversed(range(_TRIES)):
        try:
            return await rpc()
        except grpc.aio.AioRpcError as error:
            broken = error.code() is grpc.StatusCode.UNAVAILABLE and not reason(error)
            if not broken or not left or not client.endpoint.listens():
                raise await explain(error, client) from error
        await asyncio.sleep(_PAUSE_SECONDS)
    raise AssertionError("the last try returns or raises")


@contextmanager
def interruptible(notice: Callable[[], None]) -> Iterator[asyncio.Event]:
    """An event that the first Ctrl-C (or SIGTERM, or SIGHUP) sets; the second leaves at once."""
    asked = asyncio.Event()

    def on_signal() -> None:
        if asked.is_set():
            # The stuck thing may be a write to a reader who never reads: nothing can be waited for.
            os._exit(exits.CANCELLED)
        asked.set()
        notice()

    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, on_signal)
    try:
        yield asked
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
