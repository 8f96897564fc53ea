"""SchedulerService and ExecutorService on the wire: parse, one call, render. They decide nothing."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from sentinel.v1 import executor_pb2, executor_pb2_grpc, scheduler_pb2, scheduler_pb2_grpc, submission_pb2

from services.kit.errors import InvalidField, SentinelError, Unavailable, Unimplemented, Violation
from services.kit.grpc_server import abort, validate
from services.record import convert
from services.record.model import State
from services.record.watch import Sources, watch
from services.scheduler.desk import Desk
from services.scheduler.intake import Intake
from services.scheduler.session import Session

_KEY = re.compile(r"^[ -~]{1,128}$")
_CANCEL_WAIT_SECONDS = 1.0
"""Cancel waits so long for a running program to be dead and its row terminal, before it answers with what is."""

Context = Any


class SchedulerServicer(scheduler_pb2_grpc.SchedulerServiceServicer):
    """What clients call."""

    def __init__(self, intake: Intake, desk: Desk, sources: Sources) -> None:
        self._intake = intake
        self._desk = desk
        self._sources = sources

    async def Submit(  # noqa: N802 - the wire's name
        self, request: scheduler_pb2.SubmitRequest, context: Context
    ) -> scheduler_pb2.SubmitResponse:
        """Accepts one submission."""
        metadata = dict(context.invocation_metadata())
        accepted = await self._intake.accept(request, key=_key(metadata))
        if "x-envoy-original-path" in metadata:
            location = f"/api/v1/submissions/{accepted.id}"
            await context.send_initial_metadata((("x-http-code", "202"), ("location", location)))
        return scheduler_pb2.SubmitResponse(job_id=str(accepted.id), status=accepted.status)

    async def SubmitBatch(  # noqa: N802
        self, request: scheduler_pb2.SubmitBatchRequest, context: Context
    ) -> scheduler_pb2.SubmitBatchResponse:
        """Accepts many; they share group commits."""
        items = await asyncio.gather(*(self._intake.accept_item(item) for item in request.submissions))
        if "x-envoy-original-path" in dict(context.invocation_metadata()):
            await context.send_initial_metadata((("x-http-code", "202"),))
        return scheduler_pb2.SubmitBatchResponse(items=items)

    async def Cancel(  # noqa: N802
        self, request: scheduler_pb2.CancelRequest, context: Context
    ) -> scheduler_pb2.CancelResponse:
        """Ends one submission and returns it."""
        job = UUID(request.job_id)
        after = await self._desk.store.cancel(job)
        if after is not None and after[0] is State.CANCELLED:
            self._desk.ended(job, after[1], after[2], "CANCELLED")
        elif after is not None:
            await self._until_terminal(job)
        record = await self._sources.reader.get(job)
        return scheduler_pb2.CancelResponse(submission=convert.submission(record))

    async def Run(  # noqa: N802
        self, request: scheduler_pb2.RunRequest, context: Context
    ) -> AsyncIterator[scheduler_pb2.RunResponse]:
        """Submits and streams events; going away cancels unless asked otherwise."""
        accepted = await self._intake.accept(request.submission, key=_key(dict(context.invocation_metadata())))
        async with self._cancelled_with_caller(accepted.id, keep=request.keep_on_disconnect):
            async for event in watch(accepted.id, self._sources, known=accepted.record):
                yield scheduler_pb2.RunResponse(event=event)

    async def RunToCompletion(  # noqa: N802
        self, request: scheduler_pb2.RunToCompletionRequest, context: Context
    ) -> scheduler_pb2.RunToCompletionResponse:
        """Submits and answers with the finished submission; going away cancels."""
        accepted = await self._intake.accept(request.submission, key=_key(dict(context.invocation_metadata())))
        finished = submission_pb2.Submission()
        async with self._cancelled_with_caller(accepted.id, keep=False):
            async for event in watch(accepted.id, self._sources, known=accepted.record):
                if event.HasField("result"):
                    finished = event.result.submission
        return scheduler_pb2.RunToCompletionResponse(submission=finished)

    async def Interact(  # noqa: N802
        self, request_iterator: AsyncIterator[scheduler_pb2.InteractRequest], context: Context
    ) -> AsyncIterator[scheduler_pb2.InteractResponse]:
        """Watches, and cancels on request; input to a running program is not there yet and says so."""
        first = await anext(request_iterator, None)
        if first is None:
            raise InvalidField("the first message must be run or attach")
        validate(first)
        match first.WhichOneof("action"):
            case "run":
                accepted = await self._intake.accept(first.run.submission)
                job, after, keep = accepted.id, 0, first.run.keep_on_disconnect
            case "attach":
                job, after, keep = UUID(first.attach.job_id), first.attach.after_sequence, True
            case _:
                raise InvalidField("the first message must be run or attach")
        async with self._cancelled_with_caller(job, keep=keep), _actions(request_iterator, self, job) as broken:
            async for event in _until(broken, watch(job, self._sources, after=after)):
                yield scheduler_pb2.InteractResponse(event=event)

    async def act(self, job: UUID, request: scheduler_pb2.InteractRequest) -> None:
        """One message to a running program. Raises Unimplemented for what this version cannot pass on."""
        validate(request)
        if request.WhichOneof("action") != "cancel":
            raise Unimplemented("this version passes no input to running programs; send `stdin` with the submission")
        await self._end(job)

    async def _end(self, job: UUID) -> None:
        after = await self._desk.store.cancel(job)
        if after is not None and after[0] is State.CANCELLED:
            self._desk.ended(job, after[1], after[2], "CANCELLED")

    async def _until_terminal(self, job: UUID) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CANCEL_WAIT_SECONDS):
                async for _ in watch(job, self._sources):
                    pass

    @contextlib.asynccontextmanager
    async def _cancelled_with_caller(self, job: UUID, *, keep: bool) -> AsyncIterator[None]:
        finished = False
        try:
            yield
            finished = True
        finally:
            if not finished and not keep:
                # Shielded: the caller's going away is what brought us here.
                with contextlib.suppress(Unavailable, asyncio.CancelledError):
                    await asyncio.shield(asyncio.ensure_future(self._end(job)))


@contextlib.asynccontextmanager
async def _actions(
    requests: AsyncIterator[scheduler_pb2.InteractRequest], servicer: SchedulerServicer, job: UUID
) -> "AsyncIterator[asyncio.Future[None]]":
    """Carries out what the caller sends, beside the watch. The future fails with what went wrong."""

    async def carry_out() -> None:
        async for request in requests:
            await servicer.act(job, request)
        # The caller may half-close and go on watching.
        await asyncio.Event().wait()

    task = asyncio.ensure_future(carry_out())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


async def _until(broken: "asyncio.Future[None]", events: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The events, ended by the failure of `broken`."""
    while True:
        following = asyncio.ensure_future(anext(events, None))
        await asyncio.wait({following, broken}, return_when=asyncio.FIRST_COMPLETED)
        if not following.done():
            following.cancel()
            broken.result()
        event = following.result()
        if event is None:
            return
        yield event


class ExecutorServicer(executor_pb2_grpc.ExecutorServiceServicer):
    """What executors call."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def Session(  # type: ignore[override]  # noqa: N802 - grpc.aio also takes a coroutine that writes
        self, request_iterator: AsyncIterator[executor_pb2.SessionRequest], context: Context
    ) -> None:
        """One executor, as long as it stays. Bare of interceptors: they cost on every message."""
        try:
            if self._desk.draining.is_set():
                raise Unavailable("this scheduler is leaving", reason="DRAINING")
            first = await anext(request_iterator, None)
            if first is None or not first.HasField("hello"):
                raise InvalidField("the first message must be hello")
            validate(first)
            await Session(self._desk, first.hello).run(request_iterator, context)
        except SentinelError as error:
            await abort(context, error)


def _key(metadata: dict[str, Any]) -> str:
    key = str(metadata.get("idempotency-key", ""))
    if key and not _KEY.match(key):
        why = "must be at most 128 printable ASCII characters"
        raise InvalidField(f"Idempotency-Key: {why}", violations=[Violation("idempotency_key", why)])
    return key
