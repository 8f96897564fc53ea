"""Submitting, as any client does: gRPC through Envoy."""

from typing import TYPE_CHECKING, Protocol, cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from sentinel.v1 import scheduler_pb2, scheduler_pb2_grpc, status_pb2, status_pb2_grpc, submission_pb2

from audit.case import Program

if TYPE_CHECKING:
    Scheduler = scheduler_pb2_grpc.SchedulerServiceAsyncStub
    Status = status_pb2_grpc.StatusServiceAsyncStub

SECONDS = 60.0
"""Longest wait for one submission; the longest legal one takes 40."""


class Refused(Exception):
    """The service would not take it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class Door(Protocol):
    """Takes programs and gives them back finished."""

    async def run(self, request: scheduler_pb2.SubmitRequest) -> submission_pb2.Submission:
        """Raises Refused."""


class Edge:
    """Envoy."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.scheduler: Scheduler = scheduler_pb2_grpc.SchedulerServiceStub(channel)
        self.status: Status = status_pb2_grpc.StatusServiceStub(channel)

    async def run(self, request: scheduler_pb2.SubmitRequest) -> submission_pb2.Submission:
        """See Door."""
        try:
            job_id = (await self.scheduler.Submit(request, timeout=SECONDS)).job_id
        except grpc.aio.AioRpcError as error:
            raise Refused(error.code().name, _text(error)) from error
        return await self.await_end(job_id)

    async def await_end(self, job_id: str) -> submission_pb2.Submission:
        """The submission once it is terminal. Raises Refused where it never is."""
        wait = status_pb2.GetSubmissionRequest(job_id=job_id, wait_ms=round(SECONDS * 1000))
        try:
            seen = (await self.status.GetSubmission(wait, timeout=SECONDS + 5)).submission
        except grpc.aio.AioRpcError as error:
            raise Refused(error.code().name, _text(error)) from error
        if seen.status < submission_pb2.SUCCESS:
            raise Refused("UNFINISHED", f"{job_id} is {submission_pb2.Status.Name(seen.status)} after {SECONDS:.0f} s")
        return seen

    async def languages(self) -> set[str]:
        """What can be run."""
        answer = await self.status.ListLanguages(status_pb2.ListLanguagesRequest(), timeout=10)
        return {language.name for language in answer.languages}


def _text(error: grpc.aio.AioRpcError) -> str:
    """What the error says, with the fields it names."""
    words = [error.details() or ""]
    status = rpc_status.from_call(cast("grpc.Call", error))
    for detail in status.details if status is not None else ():
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            words += [f"{violation.field} {violation.description}" for violation in bad.field_violations]
    return " ".join(words)


def submit_request(program: Program, nonce: str, environment: dict[str, str]) -> scheduler_pb2.SubmitRequest:
    """The program as it is sent. Its first argument is the nonce that it must say to have begun."""
    return scheduler_pb2.SubmitRequest(
        language=program.language,
        source_code=program.source,
        files=[submission_pb2.SourceFile(name=name, content_base64=content) for name, content in program.files],
        stdin_base64=program.stdin,
        args=[nonce, *program.args],
        env={**environment, **program.env},
        time_limit_ms=program.wall_ms,
        cpu_time_limit_ms=program.cpu_ms,
        memory_limit_kb=program.memory_kb,
        output_limit_kb=program.output_kb,
        process_limit=program.processes,
        network=program.network,
    )
