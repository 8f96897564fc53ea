"""Watching one submission: a snapshot, each event once and in order, the result last; through any replica."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from sentinel.v1 import event_pb2, evidence_pb2, submission_pb2

from services.kit.errors import Unavailable
from services.record import convert
from services.record.live import LiveReader, LiveStreamAway, Mailbox, Wakes
from services.record.model import RESULT_NUMBER, SEQUENCE_BASE, Record, status_of
from services.record.reader import Reader
from services.record.timeline import replay

Offsets = Mapping["evidence_pb2.Stream.ValueType", int]

_LOOK_AGAIN_SECONDS = 5.0
"""With wake-ups arriving, the row is read again only this often, in case the last one was lost."""
_LOOK_AGAIN_DOWN_SECONDS = 0.25
"""With Redis away, the row is all there is."""
_PATIENCE_SECONDS = 10.0
"""A watch under way outlives a database that is away no longer than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where a watch reads from. Owned by the process; shared by all its watches."""

    reader: Reader
    live: LiveReader
    wakes: Wakes


@dataclass(slots=True)
class _Cursor:
    """What a watcher has had."""

    sequence: int
    status: int = 0
    offsets: dict["evidence_pb2.Stream.ValueType", int] = field(default_factory=dict)
    offsets_attempt: int = 0
    read: int = 0
    """Last sequence looked at in the live stream; beyond `sequence` only after a gap."""
    broken_attempt: int = 0
    """Events of this attempt are missing; what is left of it comes with the result."""

    def admit(self, event: event_pb2.Event) -> event_pb2.Event | None:
        """The event as this watcher should see it, or None."""
        self.sequence = event.sequence
        kind = event.WhichOneof("kind")
        if kind == "status":
            # A later attempt compiles again; to the outside the word never goes back.
            if event.status.status <= self.status:
                return None
            self.status = event.status.status
        elif kind == "output" and event.attempt == self.offsets_attempt:
            return self._from_offset(event)
        return event

    def _from_offset(self, event: event_pb2.Event) -> event_pb2.Event | None:
        have = self.offsets.get(event.output.stream, 0) - event.output.offset
        if have <= 0:
            return event
        if have >= len(event.output.data):
            return None
        # A copy: a writer in this process tells all its watchers the same object.
        shortened = event_pb2.Event()
        shortened.CopyFrom(event)
        shortened.output.data = event.output.data[have:]
        shortened.output.offset += have
        return shortened

    def has_had_all_before(self, result: event_pb2.Event) -> bool:
        """Whether this result, as told live, is all that is left."""
        told = result.result
        return told.HasField("submission") and told.last_sequence == self.sequence

    def misses(self, event: event_pb2.Event) -> bool:
        """Whether something between the last event and this one never came."""
        attempt, number = divmod(self.sequence, SEQUENCE_BASE)
        return event.sequence % SEQUENCE_BASE != (number + 1 if event.attempt == attempt else 1)


async def watch(  # noqa: C901 - one page that tells the whole order beats five that hide it
    job: UUID, sources: Sources, *, after: int = 0, offsets: Offsets | None = None, known: Record | None = None
) -> AsyncGenerator[event_pb2.Event, None]:
    """Yields a snapshot, then events after sequence `after` (or from `offsets`), and ends after the result.

    `known` saves the first look at the row for whoever has just written it.

    Raises UnknownJob before the first event, Unavailable when the database stays away or this process drains.
    Safe to cancel; close it (`aclosing`) when leaving early.
    """
    with sources.wakes.subscribe(job) as mailbox:
        record = known or await sources.reader.get(job)
        cursor = _Cursor(after, status_of(record.state, record.verdict), read=after)
        if offsets and not after:
            cursor.offsets, cursor.offsets_attempt = dict(offsets), max(record.attempt, 1)
        yield _snapshot(record, after)
        rows = _Rows(job, sources.reader)
        if known is not None:
            # Just written: nothing was told yet, and whatever is told from here on wakes us.
            await _news(mailbox, sources.wakes, _LOOK_AGAIN_SECONDS)
        while not record.state.terminal:
            mailbox.news.clear()
            ended = False
            async for event in _told(job, sources, mailbox, cursor):
                if not event.HasField("result"):
                    yield event
                elif cursor.has_had_all_before(event):
                    yield event
                    return
                else:
                    ended = True
            if not ended and await _news(mailbox, sources.wakes, _LOOK_AGAIN_SECONDS):
                continue
            record = await rows.read() or record
            if moved := _moved(record, cursor):
                yield moved
            if ended and not record.state.terminal:
                # The database is away, or was set back behind what it had told. No hurry.
                await _news(mailbox, sources.wakes, _LOOK_AGAIN_DOWN_SECONDS)
        for event in _rest(record, cursor):
            yield event


async def finished(job: UUID, sources: Sources, within: float) -> Record:
    """The record once it is terminal, or as it stands after `within` seconds or when this process drains.

    Costs less than a watch. Raises UnknownJob, and Unavailable when the database is away.
    """
    deadline = time.monotonic() + within
    with sources.wakes.subscribe(job) as mailbox:
        record = await sources.reader.get(job)
        while not record.state.terminal and not sources.wakes.draining:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            mailbox.news.clear()
            if await _told_result(job, sources) or not await _news(mailbox, sources.wakes, left):
                record = await sources.reader.get(job)
    return record


class _Rows:
    """Reads one row again and again, and bears with a database that is away for a moment."""

    def __init__(self, job: UUID, reader: Reader) -> None:
        self._job = job
        self._reader = reader
        self._lost_at: float | None = None

    async def read(self) -> Record | None:
        """The record, or None while the database is away; after _PATIENCE_SECONDS of that raises Unavailable."""
        try:
            record = await self._reader.get(self._job)
        except Unavailable:
            now = time.monotonic()
            self._lost_at = self._lost_at or now
            if now - self._lost_at > _PATIENCE_SECONDS:
                raise
            return None
        self._lost_at = None
        return record


async def _told(job: UUID, sources: Sources, mailbox: Mailbox, cursor: _Cursor) -> AsyncIterator[event_pb2.Event]:
    """What was told since: by a writer in this process where that leaves no gap, else out of Redis."""
    taken = False
    while mailbox.told:
        event = mailbox.told.popleft()
        if event.sequence <= cursor.read:
            continue
        if event.HasField("result"):
            yield event
            return
        if cursor.misses(event):
            taken = False
            mailbox.told.clear()
            break
        taken = True
        cursor.read = event.sequence
        if (seen := cursor.admit(event)) is not None:
            yield seen
        sources.wakes.check()
    if not taken:
        async for event in _live(job, sources, cursor):
            yield event


async def _live(job: UUID, sources: Sources, cursor: _Cursor) -> AsyncIterator[event_pb2.Event]:
    sources.wakes.check()
    try:
        async for event in sources.live.after(job, cursor.read):
            if event.HasField("result"):
                yield event
                return
            cursor.read = event.sequence
            if event.attempt == cursor.broken_attempt:
                continue
            if cursor.misses(event):
                cursor.broken_attempt = event.attempt
                yield _gap(cursor.sequence, event)
            elif (seen := cursor.admit(event)) is not None:
                yield seen
            sources.wakes.check()
    except LiveStreamAway:
        return


async def _told_result(job: UUID, sources: Sources) -> bool:
    try:
        return await sources.live.ended(job)
    except LiveStreamAway:
        return False


async def _news(mailbox: Mailbox, wakes: Wakes, most: float) -> bool:
    """Whether there is news in the live stream. Otherwise, after `most` seconds at the latest, look at the row."""
    try:
        async with asyncio.timeout(min(most, _LOOK_AGAIN_SECONDS if wakes.up else _LOOK_AGAIN_DOWN_SECONDS)):
            await mailbox.news.wait()
    except TimeoutError:
        return False
    return wakes.up or bool(mailbox.told)


def _moved(record: Record, cursor: _Cursor) -> event_pb2.Event | None:
    """Without a live stream the row still tells that the word has changed: a snapshot, since it is no event."""
    status = status_of(record.state, record.verdict)
    if record.state.terminal or status <= cursor.status:
        return None
    cursor.status = status
    return _snapshot(record, cursor.sequence)


def _snapshot(record: Record, after: int) -> event_pb2.Event:
    return event_pb2.Event(
        sequence=after,
        attempt=record.attempt,
        snapshot=convert.submission(record, output=False),
        time=convert.timestamp(record.updated_at),
    )


def _gap(last: int, event: event_pb2.Event) -> event_pb2.Event:
    first = last + 1 if event.attempt == last // SEQUENCE_BASE else event.attempt * SEQUENCE_BASE + 1
    return event_pb2.Event(
        sequence=last,
        attempt=event.attempt,
        gap=event_pb2.Gap(from_sequence=first, to_sequence=event.sequence - 1),
    )


def _rest(record: Record, cursor: _Cursor) -> list[event_pb2.Event]:
    """What a watcher of a terminal record has not had yet, the result last."""
    cursor.status = min(cursor.status, submission_pb2.RUNNING)
    events = [seen for event in replay(record, cursor.sequence) if (seen := cursor.admit(event)) is not None]
    result = event_pb2.Event(
        sequence=record.attempt * SEQUENCE_BASE + RESULT_NUMBER,
        attempt=record.attempt,
        result=event_pb2.Result(submission=convert.submission(record), last_sequence=_last_sequence(record)),
        time=convert.timestamp(record.finished_at),
    )
    return [*events, result]


def _last_sequence(record: Record) -> int:
    return record.attempt * SEQUENCE_BASE + len(record.timeline) if record.timeline else 0
