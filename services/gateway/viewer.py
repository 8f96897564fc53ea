"""What every viewer over HTTP has in common: which submission, from where, and who may look."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from aiohttp import web
from sentinel.v1 import event_pb2

from services.gateway.metrics import STREAM_SUBSCRIBERS
from services.kit.errors import InvalidField, Unavailable, Violation
from services.record.model import State
from services.record.watch import Sources, watch

_MOST_SEQUENCE = 2**31 - 1
_UUID_LENGTH = 36


class TooSlow(Exception):
    """A viewer took longer than it may to take one frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewing:
    """One viewer's wish."""

    job: UUID
    after: int
    """Only events after this sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long viewers and dependencies may take."""

    read: timedelta
    """Until what is needed before an answer is there."""
    write: timedelta
    """Until one frame has left."""


def read_request(request: web.Request, *, after: str | None = None) -> Viewing:
    """The wish in the path and in `?after=` (or in `after`, where given). Raises InvalidField."""
    return Viewing(job=_job(request.match_info["job_id"]), after=_sequence(after or request.query.get("after") or "0"))


def _job(text: str) -> UUID:
    try:
        if len(text) == _UUID_LENGTH:
            return UUID(text)
    except ValueError:
        pass
    raise InvalidField("job_id: must be a valid UUID", violations=[Violation("job_id", "must be a valid UUID")])


def _sequence(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text[:11]) <= _MOST_SEQUENCE:
        return int(text[:11])
    description = f"must be a sequence, 0 to {_MOST_SEQUENCE}"
    raise InvalidField(f"after: {description}", violations=[Violation("after", description)])


async def admit(viewing: Viewing, sources: Sources, read_timeout: timedelta) -> State:
    """Where the submission stands, before anything is answered. Raises UnknownJob, Unavailable."""
    sources.wakes.check()
    try:
        async with asyncio.timeout(read_timeout.total_seconds()):
            return await sources.reader.state(viewing.job)
    except TimeoutError:
        raise Unavailable("the database does not answer") from None


@asynccontextmanager
async def following(
    viewing: Viewing, sources: Sources, transport: str
) -> AsyncIterator[AsyncIterator[event_pb2.Event]]:
    """The events of one watch, counted while it lasts and closed with it."""
    with STREAM_SUBSCRIBERS.labels(transport).track_inprogress():
        async with aclosing(watch(viewing.job, sources, after=viewing.after)) as events:
            yield events


@asynccontextmanager
async def patience(most: timedelta) -> AsyncIterator[None]:
    """Bounds the sending of one frame. Raises TooSlow; only this viewer has waited for it."""
    try:
        async with asyncio.timeout(most.total_seconds()):
            yield
    except TimeoutError:
        raise TooSlow from None
