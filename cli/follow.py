"""The events of one submission, each once and in order, however often the line breaks."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import grpc
from sentinel.v1 import event_pb2, scheduler_pb2, status_pb2

from cli import exits
from cli.connection import Client
from cli.faults import Fault, fault, reason, retry_seconds

PATIENCE_SECONDS = 60.0
"""A line that stays broken for so long is given up."""
_LONGEST_PAUSE_SECONDS = 2.0
_MOST_FIRST_TRIES = 4
"""Before the first event nobody knows whether anything was accepted; the idempotency key makes asking again safe."""
_BROKEN_LINE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
"""How a reset connection, a leaving server or a proxy's own error looks when the service itself said nothing."""

Notice = Callable[[str], None]


class _Answer(Protocol):
    @property
    def event(self) -> event_pb2.Event: ...


class _Stream(Protocol):
    """A call in progress."""

    def __aiter__(self) -> AsyncIterator[_Answer]: ...
    def cancel(self) -> bool: ...


class Follower:
    """Follows one submission from its snapshot to its result. One use."""

    def __init__(self, client: Client, notice: Notice, *, patience: float = PATIENCE_SECONDS) -> None:
        self._client = client
        self._notice = notice
        self._patience = patience
        self._sequence = 0
        self._tries = 0
        self.job_id = ""
        self.known = asyncio.Event()
        """Set once the submission has an id."""

    async def run(self, request: scheduler_pb2.RunRequest) -> AsyncIterator[event_pb2.Event]:
        """Submits and follows. `request` must carry an idempotency key and `keep_on_disconnect`. Raises Fault."""
        async for event in self._follow(lambda: self._client.scheduler.Run(request)):
            yield event

    async def watch(self, job_id: str, after: int) -> AsyncIterator[event_pb2.Event]:
        """Follows a submission made elsewhere, from after a sequence. Raises Fault."""
        self.job_id, self._sequence = job_id, after
        async for event in self._follow(self._rest):
            yield event

    def _rest(self) -> _Stream:
        return self._client.status.WatchSubmission(
            status_pb2.WatchSubmissionRequest(job_id=self.job_id, after_sequence=self._sequence)
        )

    async def _follow(self, first: Callable[[], _Stream]) -> AsyncIterator[event_pb2.Event]:
        heard = time.monotonic()
        while True:
            stream = self._rest() if self.known.is_set() else first()
            error: grpc.aio.AioRpcError | None = None
            try:
                async for answer in stream:
                    heard = time.monotonic()
                    self._tries = 0
                    if self._admit(answer.event):
                        yield answer.event
                    if answer.event.HasField("result"):
                        return
            except grpc.aio.AioRpcError as caught:
                error = caught
            finally:
                stream.cancel()
            await self._pause(error, time.monotonic() - heard)

    def _admit(self, event: event_pb2.Event) -> bool:
        self._sequence = max(self._sequence, event.sequence)
        if not event.HasField("snapshot"):
            return True
        if self.known.is_set():
            return False
        self.job_id = event.snapshot.job_id
        self.known.set()
        return True

    async def _pause(self, error: grpc.aio.AioRpcError | None, silence: float) -> None:
        """Returns when the line may be tried again. Raises Fault where that will not help."""
        self._tries += 1
        if error is not None and not _worth_another_try(error, resuming=self.known.is_set()):
            raise fault(error)
        if not self.known.is_set():
            await self._first_try_failed(error)
        elif silence > self._patience:
            raise Fault(
                f"the line to {self._client.endpoint} broke and did not come back in {self._patience:.0f} s; "
                f"the submission goes on: `sentinel watch {self.job_id} --after {self._sequence}`",
                exits.UNAVAILABLE,
                code="UNAVAILABLE",
            )
        elif self._tries == 1:
            self._notice("the line broke; resuming")
        ceiling = min(_LONGEST_PAUSE_SECONDS, 0.1 * 2**self._tries)
        asked = retry_seconds(error) if error is not None else None
        # Half fixed, half random: many clients of one restarted edge should not come back in step.
        await asyncio.sleep(asked if asked is not None else ceiling * (0.5 + random.random() / 2))  # noqa: S311 - spreads load, guards nothing

    async def _first_try_failed(self, error: grpc.aio.AioRpcError | None) -> None:
        if error is None:
            raise Fault(
                f"{self._client.endpoint} ended the stream before it began",
                exits.UNAVAILABLE,
                code="UNAVAILABLE",
            )
        if reason(error) or self._tries >= _MOST_FIRST_TRIES:
            raise await explain(error, self._client)
        if not await asyncio.to_thread(self._client.endpoint.listens):
            raise self._client.endpoint.silence()


def _worth_another_try(error: grpc.aio.AioRpcError, *, resuming: bool) -> bool:
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # Work that is under way is worth the wait; new work is for the caller to decide.
        return resuming
    if reason(error):
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return error.code() in _BROKEN_LINE


async def explain(error: grpc.aio.AioRpcError, client: Client) -> Fault:
    """The fault for a failed call, telling silence from refusal."""
    silent = error.code() is grpc.StatusCode.UNAVAILABLE and not reason(error)
    if silent and not await asyncio.to_thread(client.endpoint.listens):
        return client.endpoint.silence()
    return fault(error)
