"""A service in the test's own process, scripted per test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2
from google.rpc import status_pb2 as rpc_status_pb2
from grpc_status import rpc_status
from sentinel.v1 import (
    event_pb2,
    evidence_pb2,
    scheduler_pb2,
    scheduler_pb2_grpc,
    status_pb2,
    status_pb2_grpc,
    submission_pb2,
)

JOB = "01940000-0000-7000-8000-000000000001"
BASE = 1_000_000
Context = Any
"""Of a gRPC call."""
Steps = Sequence[Any]
"""What a stream does: an Event is sent, an exception is the stream's end, an asyncio.Event is waited for."""

PYTHON = status_pb2.Language(
    name="python", display_name="Python", version="3.11.2", aliases=["py"], file_extension=".py"
)
CPP = status_pb2.Language(name="cpp", display_name="C++", version="12.2.0", aliases=["cc"], file_extension=".cpp")


class Refusal(Exception):
    """How a scripted call ends badly."""

    def __init__(
        self,
        code: grpc.StatusCode,
        text: str,
        *,
        reason: str = "",
        fields: dict[str, str] | None = None,
        retry_seconds: float | None = None,
    ) -> None:
        super().__init__(text)
        details: list[Any] = []
        if reason:
            details.append(error_details_pb2.ErrorInfo(reason=reason, domain="sentinel"))
        if fields:
            violations = [
                error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in fields.items()
            ]
            details.append(error_details_pb2.BadRequest(field_violations=violations))
        if retry_seconds is not None:
            delay = duration_pb2.Duration(seconds=int(retry_seconds))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        packed = []
        for detail in details:
            one = any_pb2.Any()
            one.Pack(detail)
            packed.append(one)
        self.code = code
        self.text = text
        self.status = rpc_status_pb2.Status(code=code.value[0], message=text, details=packed)

    async def end(self, context: Context) -> None:
        """Ends the call."""
        if self.status.details:
            await context.abort_with_status(rpc_status.to_status(self.status))
        await context.abort(self.code, self.text)


def at(number: int, attempt: int = 1) -> dict[str, Any]:
    """Position of an event."""
    return {"sequence": attempt * BASE + number, "attempt": attempt}


def snapshot(status: "submission_pb2.Status.ValueType" = submission_pb2.QUEUED, sequence: int = 0) -> event_pb2.Event:
    """First event of every stream."""
    return event_pb2.Event(
        sequence=sequence, snapshot=submission_pb2.Submission(job_id=JOB, status=status, language="python")
    )


def status(number: int, word: "submission_pb2.Status.ValueType", attempt: int = 1) -> event_pb2.Event:
    """The word changed."""
    return event_pb2.Event(**at(number, attempt), status=event_pb2.StatusChanged(status=word))


def output(
    number: int,
    data: bytes,
    offset: int,
    *,
    stream: "evidence_pb2.Stream.ValueType" = evidence_pb2.STREAM_STDOUT,
    attempt: int = 1,
) -> event_pb2.Event:
    """Bytes arrived."""
    return event_pb2.Event(**at(number, attempt), output=event_pb2.Output(stream=stream, offset=offset, data=data))


def result(
    word: "submission_pb2.Status.ValueType" = submission_pb2.SUCCESS, *, attempt: int = 1, **fields: Any
) -> event_pb2.Event:
    """The end."""
    if word == submission_pb2.SUCCESS:
        fields.setdefault("exit_code", 0)
    done = submission_pb2.Submission(job_id=JOB, status=word, attempt=attempt, language="python", **fields)
    return event_pb2.Event(**at(999_999, attempt), result=event_pb2.Result(submission=done))


@dataclass
class Service(scheduler_pb2_grpc.SchedulerServiceServicer, status_pb2_grpc.StatusServiceServicer):
    """Plays scripts and remembers what it was asked."""

    runs: list[Steps] = field(default_factory=list)
    """One script per Run call, in order."""
    watches: list[Steps] = field(default_factory=list)
    answers: dict[str, list[Any]] = field(default_factory=dict)
    """Per unary method, one answer or Refusal per call; the last one repeats."""
    asked: dict[str, list[Any]] = field(default_factory=dict)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def _note(self, method: str, request: Any) -> int:
        self.asked.setdefault(method, []).append(request)
        return len(self.asked[method]) - 1

    async def _unary(self, method: str, request: Any, context: Context) -> Any:
        nth = self._note(method, request)
        script = self.answers[method]
        answer = script[min(nth, len(script) - 1)]
        if isinstance(answer, Refusal):
            await answer.end(context)
        return answer

    async def _play(self, steps: Steps, context: Context, wrap: Callable[..., Any]) -> AsyncIterator[Any]:
        for step in steps:
            if isinstance(step, Refusal):
                await step.end(context)
            elif isinstance(step, asyncio.Event):
                await step.wait()
            else:
                yield wrap(event=step)

    async def Run(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        nth = self._note("Run", request)
        async for answer in self._play(self.runs[nth], context, scheduler_pb2.RunResponse):
            yield answer

    async def WatchSubmission(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        nth = self._note("WatchSubmission", request)
        async for answer in self._play(self.watches[nth], context, status_pb2.WatchSubmissionResponse):
            yield answer

    async def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._note("Cancel", request)
        self.cancelled.set()
        return scheduler_pb2.CancelResponse(
            submission=submission_pb2.Submission(job_id=request.job_id, status=submission_pb2.CANCELLED)
        )

    async def Submit(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._unary("Submit", request, context)

    async def GetSubmission(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._unary("GetSubmission", request, context)

    async def ListSubmissions(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._unary("ListSubmissions", request, context)

    async def GetHealth(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._unary("GetHealth", request, context)

    async def ListLanguages(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._note("ListLanguages", request)
        return status_pb2.ListLanguagesResponse(languages=[CPP, PYTHON])

    async def SubmitBatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def RunToCompletion(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    def Interact(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError


@dataclass
class Served:
    """The scripted service and where it listens."""

    service: Service
    endpoint: str


@dataclass(frozen=True)
class Ended:
    """How the command ended."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def told(self) -> str:
        """Standard error as text."""
        return self.stderr.decode()


Start = Callable[..., Awaitable[asyncio.subprocess.Process]]
Sentinel = Callable[..., Awaitable[Ended]]
