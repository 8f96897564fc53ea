"""The load generator's side of the wire: gRPC through Envoy, every answer checked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

import grpc
from sentinel.v1 import evidence_pb2, scheduler_pb2, scheduler_pb2_grpc, status_pb2, status_pb2_grpc, submission_pb2

SOURCE = "print(42)"
"""The program of every benchmark; the bare loop runs the same."""
EXPECTED = "42\n"

_SECONDS = 60.0
"""Longest wait for any one call."""


class WrongAnswer(Exception):
    """A program came back with another verdict or output than it must have."""


def python(source: str) -> scheduler_pb2.SubmitRequest:
    """A Python program."""
    return scheduler_pb2.SubmitRequest(language="python", source_code=source)


class Client:
    """One caller on one connection of its own."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._scheduler: scheduler_pb2_grpc.SchedulerServiceAsyncStub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
        self._status: status_pb2_grpc.StatusServiceAsyncStub = status_pb2_grpc.StatusServiceStub(channel)

    async def run(self, program: scheduler_pb2.SubmitRequest, expected: str) -> None:
        """Submits, waits for the end, and checks it. Raises WrongAnswer unless it is SUCCESS with just that output."""
        request = scheduler_pb2.RunToCompletionRequest(submission=program)
        answer = await self._scheduler.RunToCompletion(request, timeout=_SECONDS)
        check(answer.submission, expected)

    async def output_while_running(self, program: scheduler_pb2.SubmitRequest) -> AsyncIterator[bytes]:
        """Yields standard output as Run's caller gets it."""
        async for response in self._scheduler.Run(scheduler_pb2.RunRequest(submission=program), timeout=_SECONDS):
            if response.event.HasField("output") and response.event.output.stream == evidence_pb2.STREAM_STDOUT:
                yield response.event.output.data

    async def watched_output(self, program: scheduler_pb2.SubmitRequest) -> AsyncIterator[bytes]:
        """Yields standard output as a watcher gets it who came after Submit."""
        job_id = (await self._scheduler.Submit(program, timeout=_SECONDS)).job_id
        request = status_pb2.WatchSubmissionRequest(job_id=job_id)
        async for response in self._status.WatchSubmission(request, timeout=_SECONDS):
            if response.event.HasField("output") and response.event.output.stream == evidence_pb2.STREAM_STDOUT:
                yield response.event.output.data

    async def submit(self, program: scheduler_pb2.SubmitRequest) -> str:
        """Returns the job's id once it is durably accepted."""
        return (await self._scheduler.Submit(program, timeout=_SECONDS)).job_id

    async def submit_batch(self, programs: Iterable[scheduler_pb2.SubmitRequest]) -> int:
        """Returns how many were accepted."""
        request = scheduler_pb2.SubmitBatchRequest(submissions=programs)
        answer = await self._scheduler.SubmitBatch(request, timeout=_SECONDS)
        return sum(1 for item in answer.items if item.job_id)


def check(submission: submission_pb2.Submission, expected: str) -> None:
    """Raises WrongAnswer unless it is SUCCESS with exactly that output."""
    if submission.status != submission_pb2.SUCCESS or submission.stdout != expected:
        word = submission_pb2.Status.Name(submission.status)
        raise WrongAnswer(f"{submission.job_id} is {word} with {submission.stdout[:80]!r}; expected {expected[:80]!r}")


@contextlib.asynccontextmanager
async def clients(edge: str, count: int) -> AsyncIterator[list[Client]]:
    """So many callers, connected."""
    async with contextlib.AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(
                # Without a pool of its own a channel to the same address shares one connection with the others.
                grpc.aio.insecure_channel(edge, options=[("grpc.use_local_subchannel_pool", 1)])
            )
            for _ in range(count)
        ]
        await asyncio.wait_for(asyncio.gather(*(channel.channel_ready() for channel in channels)), 10)
        yield [Client(channel) for channel in channels]
