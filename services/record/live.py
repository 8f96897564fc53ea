"""The live stream of each submission in Redis: one writer per process, one wake-up reader per process.

Redis shows; it decides nothing. Losing it costs liveness until it is back, and no event for good: whatever was
settled is in PostgreSQL.
"""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError, ResponseError
from sentinel.v1 import event_pb2

from services.kit.backoff import full_jitter
from services.kit.errors import Unavailable
from services.kit.lifecycle import heed_cancel
from services.kit.log import get_logger
from services.record.model import MAX_ATTEMPTS, RESULT_NUMBER, SEQUENCE_BASE

WAKE_STREAM = "sentinel:wake"
_WAKE_LENGTH = 10_000
_RUNNING_TTL_SECONDS = 3600
"""An unfinished stream that nobody writes to any more is dropped after so long."""
_FINISHED_TTL_SECONDS = 600
"""After the result, latecomers read the live stream for so long; then PostgreSQL serves them."""
_MOST_PENDING_BYTES = 32 * 1024 * 1024
_BLOCK_SECONDS = 4
"""Below five: longer blocks meet the client's own timeouts."""
_PAGE = 16
"""Events per read: an event holds up to 64 KiB, and a slow watcher keeps one page in memory."""
_ID_BYTES = 16
_MOST_TOLD = 64
"""Events kept for a watcher in this process that has not taken them yet."""

EVENTS_DROPPED = Counter("sentinel_stream_events_dropped", "Events not shown live because Redis was away or too slow.")


def open_redis(url: str, *, timeout: float | None = 0.5) -> Redis:
    """A client that fails at once instead of hiding an outage behind retries. `timeout=None` for blocking reads."""
    return Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=0.5, retry=Retry(NoBackoff(), 0), protocol=3
    )


def stream_key(job: UUID) -> str:
    """Redis key of one submission's events."""
    return f"sentinel:events:{job}"


class LiveWriter:
    """Tells events to whoever watches. Never waits for Redis, never fails its caller.

    Who watches in this very process is told directly, through `wakes`: no round trip, whatever becomes of Redis.
    """

    def __init__(self, redis: Redis, wakes: "Wakes | None" = None) -> None:
        self._redis = redis
        self._wakes = wakes
        self._origin = wakes.origin if wakes is not None else b""
        self._pending: deque[tuple[UUID, event_pb2.Event, bytes]] = deque()
        self._pending_bytes = 0
        self._wake = asyncio.Event()

    def tell(self, job: UUID, event: event_pb2.Event) -> None:
        """Queues one event. A repeat, or a voice from an older attempt, is refused by Redis and changes nothing."""
        payload = event.SerializeToString()
        self._pending.append((job, event, payload))
        self._pending_bytes += len(payload)
        while self._pending_bytes > _MOST_PENDING_BYTES:
            self._pending_bytes -= len(self._pending.popleft()[2])
            EVENTS_DROPPED.inc()
        self._wake.set()
        if self._wakes is not None:
            self._wakes.deliver(job, event)

    async def run(self) -> None:
        """Writes until cancelled. While Redis is away, keeps what fits and tells it afterwards."""
        delays = full_jitter(0.05, 0.5)
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                batch = [self._pending.popleft() for _ in range(min(200, len(self._pending)))]
                self._pending_bytes -= sum(len(payload) for _, _, payload in batch)
                try:
                    await self._write(batch)
                    heed_cancel()
                except (RedisError, OSError, TimeoutError) as error:
                    get_logger().warning("live_stream_lost", events=len(batch), error=repr(error))
                    # Ids are ours, so what did arrive is refused the second time.
                    self._pending.extendleft(reversed(batch))
                    self._pending_bytes += sum(len(payload) for _, _, payload in batch)
                    await asyncio.sleep(next(delays))
                else:
                    delays = full_jitter(0.05, 0.5)

    async def _write(self, batch: list[tuple[UUID, event_pb2.Event, bytes]]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        changed: dict[UUID, None] = {}
        for job, event, payload in batch:
            key = stream_key(job)
            attempt, number = divmod(event.sequence, SEQUENCE_BASE)
            pipe.xadd(key, {b"e": payload}, id=f"{attempt}-{number}")
            if event.HasField("result"):
                pipe.expire(key, _FINISHED_TTL_SECONDS)
            elif number == 1:
                pipe.expire(key, _RUNNING_TTL_SECONDS)
            changed[job] = None
        ids = b"".join(job.bytes for job in changed)
        pipe.xadd(WAKE_STREAM, {b"j": ids, b"o": self._origin}, maxlen=_WAKE_LENGTH, approximate=True)
        for reply in await pipe.execute(raise_on_error=False):
            if isinstance(reply, BusyLoadingError):
                raise reply
            # XADD of an id that is not newer than the last one is an error reply: that is the fence, not a fault.
            if isinstance(reply, ResponseError) and "equal or smaller" not in str(reply):
                EVENTS_DROPPED.inc()


class Mailbox:
    """What one watcher hears: that there is news, and what a writer in this process told it directly."""

    __slots__ = ("direct", "news", "told")

    def __init__(self) -> None:
        self.news = asyncio.Event()
        """Set whenever there is news. The watcher clears it."""
        self.told: deque[event_pb2.Event] = deque(maxlen=_MOST_TOLD)
        """Events told directly and not taken yet. What falls off the front is still in Redis."""
        self.direct = False
        """A writer in this process tells it; then its wake-ups through Redis are echoes."""


class Wakes:
    """Who in this process waits for news of which submission. One blocking read serves them all.

    While nobody waits nothing is read.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._waiting: dict[bytes, set[Mailbox]] = {}
        self._wanted = asyncio.Event()
        self.origin = secrets.token_bytes(8)
        """Tells our own wake-ups from those of others."""
        self.up = False
        """Whether wake-ups arrive at present."""
        self.draining = False
        """Whether watches end so that their clients go elsewhere."""

    @contextlib.contextmanager
    def subscribe(self, job: UUID) -> Iterator[Mailbox]:
        """A mailbox for news of `job`, until the block ends."""
        mailbox = Mailbox()
        mailboxes = self._waiting.setdefault(job.bytes, set())
        mailboxes.add(mailbox)
        self._wanted.set()
        try:
            yield mailbox
        finally:
            mailboxes.discard(mailbox)
            # A later subscriber may have made a new set under the same key.
            if not mailboxes and self._waiting.get(job.bytes) is mailboxes:
                del self._waiting[job.bytes]

    def deliver(self, job: UUID, event: event_pb2.Event) -> None:
        """Tells the watchers of `job` in this process directly."""
        for mailbox in self._waiting.get(job.bytes, ()):
            mailbox.direct = True
            mailbox.told.append(event)
            mailbox.news.set()

    def __len__(self) -> int:
        """Watchers at present."""
        return sum(len(events) for events in self._waiting.values())

    def drain(self) -> None:
        """Ends every watch of this process, now and from now on, with Unavailable (DRAINING)."""
        self.draining = True
        self._wake_all()

    def check(self) -> None:
        """Raises Unavailable (DRAINING) once watches have to end."""
        if self.draining:
            raise Unavailable("this server is leaving; ask again", retry_after=0.5, reason="DRAINING")

    async def run(self) -> None:
        """Reads wake-ups until cancelled. After an outage it wakes everyone, since news may have been missed."""
        delays = full_jitter(0.1, 1.0)
        while True:
            if not self._waiting:
                self._wanted.clear()
                await self._wanted.wait()
            try:
                await self._follow()
            except (RedisError, OSError, TimeoutError):
                delays = full_jitter(0.1, 1.0) if self.up else delays
                self.up = False
                self._wake_all()
                await asyncio.sleep(next(delays))

    async def _follow(self) -> None:
        # Named, not "$": what is added between two reads from "$" would never be seen.
        newest: Any = await self._redis.xrevrange(WAKE_STREAM, count=1)
        last = newest[0][0] if newest else b"0-0"
        self.up = True
        self._wake_all()
        while self._waiting:
            # A server that is stopped, not gone, answers nothing at all.
            async with asyncio.timeout(_BLOCK_SECONDS + 2):
                found: Any = await self._redis.xread({WAKE_STREAM: last}, block=_BLOCK_SECONDS * 1000, count=1000)
            heed_cancel()
            for entries in (found or {}).values():
                for entry_id, fields in (e for chunk in entries for e in chunk):
                    last = entry_id
                    self._wake_some(fields[b"j"], fields.get(b"o", b""))
        self.up = False

    def _wake_some(self, ids: bytes, origin: bytes) -> None:
        echo = origin == self.origin
        for start in range(0, len(ids), _ID_BYTES):
            for mailbox in self._waiting.get(ids[start : start + _ID_BYTES], ()):
                # One who came too late to be told directly needs the echo.
                if not (echo and mailbox.direct):
                    mailbox.news.set()

    def _wake_all(self) -> None:
        for mailboxes in self._waiting.values():
            for mailbox in mailboxes:
                mailbox.news.set()


class LiveStreamAway(Unavailable):
    """Redis does not answer. Readers go on with PostgreSQL alone."""


class LiveReader:
    """Reads what a submission told so far."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def after(self, job: UUID, sequence: int) -> AsyncIterator[event_pb2.Event]:
        """Events after `sequence`, in order, as far as Redis has them. Raises LiveStreamAway."""
        attempt, number = divmod(sequence, SEQUENCE_BASE)
        start: str | bytes = f"({attempt}-{number}"
        while True:
            try:
                entries: Any = await self._redis.xrange(stream_key(job), min=start, count=_PAGE)
            except (RedisError, OSError, TimeoutError) as error:
                raise LiveStreamAway("the live stream does not answer") from error
            heed_cancel()
            for entry_id, fields in entries:
                start = b"(" + entry_id
                yield event_pb2.Event.FromString(fields[b"e"])
            if len(entries) < _PAGE:
                return

    async def ended(self, job: UUID) -> bool:
        """Whether the result was told. Reads no output. Raises LiveStreamAway."""
        pipe = self._redis.pipeline(transaction=False)
        for attempt in range(MAX_ATTEMPTS + 1):
            result = f"{attempt}-{RESULT_NUMBER}"
            pipe.xrange(stream_key(job), min=result, max=result)
        try:
            return any(await pipe.execute())
        except (RedisError, OSError, TimeoutError) as error:
            raise LiveStreamAway("the live stream does not answer") from error
