"""Waiting on descriptors, and the three pipes of a program."""

import asyncio
import contextlib
import os
from collections.abc import Callable

from services.executor.sandbox.protocol import OutputSink, Stdin, Stream, StreamCount

READ_MOST = 65536


async def wait_readable(fd: int) -> None:
    """Returns when `fd` is readable. One waiter per descriptor. Safe to cancel."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


async def wait_writable(fd: int) -> None:
    """Returns when `fd` is writable. One waiter per descriptor. Safe to cancel."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(fd, _set, ready)
    try:
        await ready
    finally:
        loop.remove_writer(fd)


def _set(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


class OutputPipe:
    """Reads one stream of a program, at most one byte past its limit. Owns the read end."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stream: Stream,
        limit: int,
        output: OutputSink,
        on_limit: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._stream = stream
        self._limit = limit
        self._output = output
        self._on_limit = on_limit
        self._produced = 0
        self._fd, self.theirs = os.pipe2(os.O_CLOEXEC)
        """`theirs` is the write end, for the program; the caller closes it."""
        os.set_blocking(self._fd, False)
        self._open = True
        loop.add_reader(self._fd, self._read)

    @property
    def count(self) -> StreamCount:
        """What has come so far."""
        return StreamCount(self._produced, min(self._produced, self._limit))

    @property
    def over(self) -> bool:
        """The limit was passed."""
        return self._produced > self._limit

    def _read(self) -> bool:
        """Reads once; says whether there may be more."""
        try:
            data = os.read(self._fd, min(READ_MOST, self._limit + 1 - self._produced))
        except BlockingIOError:
            return False
        if not data:
            self.close()
            return False
        kept = data[: self._limit - self._produced]
        self._produced += len(data)
        if kept:
            self._output(self._stream, kept)
        if self.over:
            self._on_limit()  # kill first: a program that lives on must not see its pipe broken
            self.close()
            return False
        return True

    def finish(self) -> None:
        """Reads what the dead program left in the pipe, then closes. The pipe bounds how much that is."""
        while self._open and self._read():
            pass
        self.close()

    def close(self) -> None:
        """Idempotent."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._fd)
            os.close(self._fd)


class InputPipe:
    """Writes to a program whatever its `Stdin` holds, as fast as the program reads. Owns the write end.

    A program that never reads, or closes its end, costs nothing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, stdin: Stdin) -> None:
        self._loop = loop
        self._stdin = stdin
        self._waiting = False
        self.theirs, self._fd = os.pipe2(os.O_CLOEXEC)
        """`theirs` is the read end, for the program; the caller closes it."""
        os.set_blocking(self._fd, False)
        self._open = True
        stdin.on_change(self._write)
        self._write()

    def _write(self) -> None:
        while self._open and self._stdin.pending:
            try:
                self._stdin.consumed(os.write(self._fd, self._stdin.peek(READ_MOST)))
            except BlockingIOError:
                self._wait(wanted=True)
                return
            except BrokenPipeError:
                self.close()
                return
        self._wait(wanted=False)
        if self._stdin.ended:
            self.close()

    def _wait(self, *, wanted: bool) -> None:
        if self._open and wanted != self._waiting:
            self._waiting = wanted
            if wanted:
                self._loop.add_writer(self._fd, self._write)
            else:
                self._loop.remove_writer(self._fd)

    def close(self) -> None:
        """Idempotent."""
        if self._open:
            self._wait(wanted=False)
            self._open = False
            self._stdin.on_change(None)
            with contextlib.suppress(OSError):
                os.close(self._fd)
