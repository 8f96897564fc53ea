"""Watching one submission: a snapshot, each event once and in order, the result last; through any replica."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from sentinel.v1 import event_pb2, evidence_pb2, submission_pb2

from services.kit.errors import Unavailable
from services.record import convert
from services.record.live import LiveReader, Wakes
from services.record.model import RESULT_NUMBER, SEQUENCE_BASE, Record, status_of
from services.record.reader import Reader
from services.record.timeline import replay

Offsets = Mapping["evidence_pb2.Stream.ValueType", int]

_LOOK_AGAIN_SECONDS = 5.0
"""With wake-ups arriving, the row is read again only this often, in case the last one was lost."""
_LOOK_AGAIN_DOWN_SECONDS = 0.25
"""With Redis away, the row is all there is."""


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
    broken: bool = False
    """Events of the present attempt are missing; what is left comes with the result."""

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
        event.output.data = event.output.data[have:]
        event.output.offset += have
        return event

    def misses(self, event: event_pb2.Event) -> bool:
        """Whether something between the last event and this one never came."""
        attempt, number = divmod(self.sequence, SEQUENCE_BASE)
        return event.sequence % SEQUENCE_BASE != (number + 1 if event.attempt == attempt else 1)


async def watch(
    job: UUID, sources: Sources, *, after: int = 0, offsets: Offsets | None = None
) -> AsyncIterator[event_pb2.Event]:
    """Yields a snapshot, then events after sequence `after` (or from `offsets`), and ends after the result.

    Raises UnknownJob before the first event, Unavailable when the database stays away. Safe to cancel.
    """
    with sources.wakes.subscribe(job) as news:
        record = await sources.reader.get(job)
        cursor = _Cursor(after, status_of(record.state, record.verdict))
        if offsets and not after:
            cursor.offsets, cursor.offsets_attempt = dict(offsets), record.attempt
        yield _snapshot(record, after)
        while not record.state.terminal:
            news.clear()
            ended = False
            async for event in _live(job, sources, cursor):
                if event.HasField("result"):
                    ended = True
                else:
                    yield event
            if ended or not await _news(news, sources.wakes):
                record = await sources.reader.get(job)
                if moved := _moved(record, cursor):
                    yield moved
        for event in _rest(record, cursor):
            yield event


async def _live(job: UUID, sources: Sources, cursor: _Cursor) -> AsyncIterator[event_pb2.Event]:
    try:
        async for event in sources.live.after(job, cursor.sequence):
            if event.HasField("result"):
                yield event
                return
            if cursor.broken and event.attempt == cursor.sequence // SEQUENCE_BASE:
                continue
            cursor.broken = False
            if cursor.misses(event):
                cursor.broken = True
                yield _gap(cursor.sequence, event)
                continue
            if (seen := cursor.admit(event)) is not None:
                yield seen
    except Unavailable:
        return


async def _news(news: asyncio.Event, wakes: Wakes) -> bool:
    try:
        async with asyncio.timeout(_LOOK_AGAIN_SECONDS if wakes.up else _LOOK_AGAIN_DOWN_SECONDS):
            await news.wait()
    except TimeoutError:
        return False
    return wakes.up


def _moved(record: Record, cursor: _Cursor) -> event_pb2.Event | None:
    """Without a live stream the row still tells that the word has changed."""
    status = status_of(record.state, record.verdict)
    if record.state.terminal or status <= cursor.status:
        return None
    cursor.status = status
    return event_pb2.Event(
        sequence=cursor.sequence, attempt=record.attempt, status=event_pb2.StatusChanged(status=status)
    )


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
        result=event_pb2.Result(submission=convert.submission(record)),
        time=convert.timestamp(record.finished_at),
    )
    return [*events, result]
