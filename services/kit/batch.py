"""Group commit: many callers, one statement. Callers wait for their own row; the database sees a few large writes."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import asyncpg

from services.kit.backoff import full_jitter
from services.kit.errors import Unavailable
from services.kit.log import get_logger

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

CONNECTION_LOST = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # A connection cut in the middle of an exchange can leave asyncpg's protocol between two states.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)
"""What asyncpg raises when the server went away; whether the statement was committed is then unknown."""


@dataclass(slots=True)
class _Waiting(Generic[Item, Outcome]):
    item: Item
    since: float
    done: "asyncio.Future[Outcome]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher(Generic[Item, Outcome]):
    """Runs `execute` over whatever has gathered, one statement in flight, on a connection of its own.

    `execute` must be safe to repeat with the same items: after a lost connection nobody knows whether the
    statement was committed, so the batch is run again. Items that waited longer than `patience` seconds
    get `Unavailable`; with `patience=None` they wait until the database is back.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        execute: Callable[[asyncpg.Connection, Sequence[Item]], Awaitable[Sequence[Outcome]]],
        *,
        most: int = 200,
        patience: float | None = 10.0,
    ) -> None:
        self._name = name
        self._connect = connect
        self._execute = execute
        self._most = most
        self._patience = patience
        self._waiting: deque[_Waiting[Item, Outcome]] = deque()
        self._wake = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._ended = False

    def __len__(self) -> int:
        """Items not yet taken into a statement."""
        return len(self._waiting)

    async def submit(self, item: Item) -> Outcome:
        """The outcome of `item`, after its statement was committed. Cancelling the wait does not undo it."""
        if self._ended:
            raise self._shutting_down()
        waiting: _Waiting[Item, Outcome] = _Waiting(item, time.monotonic())
        self._waiting.append(waiting)
        self._wake.set()
        return await waiting.done

    async def run(self) -> None:
        """Serves until cancelled; then fails what still waits and closes the connection."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    taken = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
                    await self._commit(taken)
        finally:
            self._ended = True
            while self._waiting:
                _fail(self._waiting.popleft(), self._shutting_down())
            if self._connection is not None:
                self._connection.terminate()

    async def _commit(self, batch: list[_Waiting[Item, Outcome]]) -> None:
        delays = full_jitter(0.02, 0.5)
        try:
            while batch:
                try:
                    outcomes = await self._attempt([w.item for w in batch])
                except CONNECTION_LOST as error:
                    get_logger().warning("database_lost", batcher=self._name, error=repr(error))
                    self._drop_connection()
                    batch = self._refuse_impatient(batch)
                    await asyncio.sleep(next(delays))
                    continue
                except Exception as error:
                    # One poisonous row must not fail its neighbours.
                    await self._one_by_one(batch, error)
                    return
                for waiting, outcome in zip(batch, outcomes, strict=True):
                    if not waiting.done.done():
                        waiting.done.set_result(outcome)
                return
        except asyncio.CancelledError:
            for waiting in batch:
                _fail(waiting, self._shutting_down())
            raise

    def _shutting_down(self) -> Unavailable:
        return Unavailable(f"{self._name}: shutting down", reason="DRAINING")

    async def _attempt(self, items: Sequence[Item]) -> Sequence[Outcome]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        outcomes = await self._execute(self._connection, items)
        if len(outcomes) != len(items):
            raise RuntimeError(f"{self._name}: {len(items)} items gave {len(outcomes)} outcomes")
        return outcomes

    async def _one_by_one(self, batch: list[_Waiting[Item, Outcome]], error: Exception) -> None:
        if len(batch) == 1:
            get_logger().error("statement_failed", batcher=self._name, error=repr(error))
            _fail(batch[0], error)
            return
        for waiting in batch:
            await self._commit([waiting])

    def _drop_connection(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.terminate()
            self._connection = None

    def _refuse_impatient(self, batch: list[_Waiting[Item, Outcome]]) -> list[_Waiting[Item, Outcome]]:
        if self._patience is None:
            return batch
        oldest = time.monotonic() - self._patience
        while self._waiting and self._waiting[0].since < oldest:
            _fail(self._waiting.popleft(), Unavailable("the database does not answer"))
        for waiting in batch:
            if waiting.since < oldest:
                _fail(waiting, Unavailable("the database does not answer"))
        return [w for w in batch if w.since >= oldest]


def _fail(waiting: "_Waiting[Item, Outcome]", error: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)
        # A caller that was cancelled never looks; without this asyncio complains about it.
        waiting.done.exception()
