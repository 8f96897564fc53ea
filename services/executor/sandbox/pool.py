"""Jails ready before anybody asks, one use each."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Protocol

from services.executor.sandbox.jail import Jail
from services.executor.sandbox.protocol import SandboxError
from services.kit.backoff import full_jitter


class JailBuilder(Protocol):
    """Builds and takes down jails."""

    async def build(self, index: int) -> Jail:
        """Raises SandboxError, leaving nothing behind."""

    async def destroy(self, jail: Jail) -> None:
        """Raises SandboxError where it cannot prove that everything is gone."""


class JailPool:
    """Keeps up to `depth` jails ready and lends each one once. Indices, and with them user ids, never overlap.

    `on_failure` hears the reason of every SandboxError that no caller sees.
    """

    def __init__(
        self, builder: JailBuilder, *, depth: int, indices: int, on_failure: Callable[[SandboxError], None]
    ) -> None:
        self._builder = builder
        self._depth = depth
        self._on_failure = on_failure
        self._free = deque(range(indices))
        self._ready: deque[Jail] = deque()
        self._waiting: deque[asyncio.Future[Jail]] = deque()
        self._building = 0
        self._lent = 0
        self._chores: set[asyncio.Task[None]] = set()
        self._closing = False

    @property
    def ready(self) -> int:
        """Jails that wait for work."""
        return len(self._ready)

    @property
    def lent(self) -> int:
        """Jails at work."""
        return self._lent

    async def open(self) -> None:
        """Builds the first jails. Raises SandboxError where even one cannot be built."""
        first = await self._builder.build(self._free.popleft())
        self._hand_out(first)
        self._refill()

    async def close(self) -> None:
        """Destroys everything that is not lent and waits for what is being destroyed. The lent are their users'."""
        self._closing = True
        while self._ready:
            self._chore(self._destroy(self._ready.popleft()))
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(SandboxError("CLOSING", "the pool is closing"))
        while self._chores:
            await asyncio.wait(self._chores)

    @asynccontextmanager
    async def checkout(self) -> AsyncIterator[Jail]:
        """See SandboxPool."""
        jail = await self._take()
        self._lent += 1
        try:
            yield jail
        finally:
            self._lent -= 1
            self._chore(self._destroy(jail))
            self._refill()

    async def _take(self) -> Jail:
        while self._ready:
            jail = self._ready.popleft()
            if jail.alive:
                # With others ready, the replacement can wait until this program has ended and left the CPU.
                if not self._ready:
                    self._refill()
                return jail
            self._on_failure(SandboxError("JAIL_DIED", f"a waiting jail ended: {jail.nsjail.log_text()}"))
            self._chore(self._destroy(jail))
        waiting: asyncio.Future[Jail] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._refill()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self._hand_out(waiting.result())
            raise

    def _refill(self) -> None:
        wanted = self._depth + sum(not w.done() for w in self._waiting)
        while not self._closing and self._free and len(self._ready) + self._building < wanted:
            self._building += 1
            self._chore(self._build(self._free.popleft()))

    async def _build(self, index: int) -> None:
        delays = full_jitter(0.05, 2.0)
        try:
            while not self._closing:
                try:
                    jail = await self._builder.build(index)
                except SandboxError as error:
                    self._on_failure(error)
                    if self._fail_waiter(error):
                        continue
                    await asyncio.sleep(next(delays))
                else:
                    self._hand_out(jail)
                    return
            self._free.append(index)
        finally:
            self._building -= 1

    def _fail_waiter(self, error: SandboxError) -> bool:
        """Whoever waits hears of the failure rather than waiting on; the attempt is repeated elsewhere."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(error)
                return True
        return False

    def _hand_out(self, jail: Jail) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(jail)
                return
        if self._closing:
            self._chore(self._destroy(jail))
        else:
            self._ready.append(jail)

    async def _destroy(self, jail: Jail) -> None:
        try:
            await self._builder.destroy(jail)
        except SandboxError as error:
            # Its user id stays out of use: nobody may meet what is left under it.
            self._on_failure(error)
        else:
            self._free.append(jail.index)
            if self._waiting:
                self._refill()

    def _chore(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="jail chore")
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
