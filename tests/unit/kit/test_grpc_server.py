"""The guard, in a real server with a real client."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from sentinel.v1 import scheduler_pb2, status_pb2, status_pb2_grpc, submission_pb2

from services.kit.errors import InvalidField, Unavailable
from services.kit.grpc_server import serve_grpc, validate
from services.kit.trace import current_trace
from tests.integration.gateway.servers import free_port

JOB = "0193b5a0-7c3e-7d41-9f3a-2b6c1d0e4f55"
SECRET = "password=hunter2"


class Scripted(status_pb2_grpc.StatusServiceServicer):
    """Fails as told."""

    ListSubmissions = ListLanguages = GetHealth = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.trace = ""
        self.closed = asyncio.Event()

    async def GetSubmission(self, request: Any, context: Any) -> Any:  # noqa: N802
        trace = current_trace.get()
        self.trace = trace.trace_id if trace else ""
        if self.error:
            raise self.error
        return status_pb2.GetSubmissionResponse()

    async def WatchSubmission(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        try:
            yield status_pb2.WatchSubmissionResponse()
            if self.error:
                raise self.error
            await asyncio.Event().wait()
        finally:
            self.closed.set()


@asynccontextmanager
async def serving(service: Scripted) -> AsyncIterator[Any]:
    address = f"127.0.0.1:{free_port()}"

    def register(server: grpc.aio.Server) -> None:
        status_pb2_grpc.add_StatusServiceServicer_to_server(service, server)

    async with (
        serve_grpc(address, register, ["sentinel.v1.StatusService"], grace=0.2),
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield status_pb2_grpc.StatusServiceStub(channel)


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_the_text_of_an_unexpected_exception_stays_here() -> None:
    service = Scripted()
    service.error = RuntimeError(SECRET)
    async with serving(service) as stub:
        error = await failure(stub.GetSubmission(status_pb2.GetSubmissionRequest(job_id=JOB)))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details() == "internal error"
    assert SECRET not in repr(error.trailing_metadata())


async def test_nor_does_it_leave_in_the_middle_of_a_stream() -> None:
    service = Scripted()
    service.error = RuntimeError(SECRET)
    async with serving(service) as stub:
        call = stub.WatchSubmission(status_pb2.WatchSubmissionRequest(job_id=JOB))
        await call.read()
        error = await failure(call.read())
    assert error.code() is grpc.StatusCode.INTERNAL
    assert SECRET not in str(error.details())


async def test_a_refusal_keeps_its_code_its_details_and_its_retry_time() -> None:
    service = Scripted()
    service.error = Unavailable("come back", retry_after=3, reason="DRAINING")
    async with serving(service) as stub:
        error = await failure(stub.GetSubmission(status_pb2.GetSubmissionRequest(job_id=JOB)))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    status: Any = rpc_status.from_call(cast("Any", error))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "DRAINING"
    assert dict(error.trailing_metadata() or ())["retry-after"] == "3"


async def test_a_request_that_breaks_a_rule_never_reaches_its_handler() -> None:
    service = Scripted()
    async with serving(service) as stub:
        error = await failure(stub.GetSubmission(status_pb2.GetSubmissionRequest(job_id="x", wait_ms=-1)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    status: Any = rpc_status.from_call(cast("Any", error))
    request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(request) for detail in status.details)
    assert {v.field for v in request.field_violations} == {"job_id", "wait_ms"}
    assert service.trace == ""


async def test_the_callers_trace_goes_on() -> None:
    service = Scripted()
    header = f"00-{'a' * 32}-{'b' * 16}-01"
    async with serving(service) as stub:
        await stub.GetSubmission(status_pb2.GetSubmissionRequest(job_id=JOB), metadata=(("traceparent", header),))
    assert service.trace == "a" * 32


async def test_a_stream_whose_caller_leaves_is_closed() -> None:
    service = Scripted()
    async with serving(service) as stub:
        call = stub.WatchSubmission(status_pb2.WatchSubmissionRequest(job_id=JOB))
        await call.read()
        call.cancel()
        async with asyncio.timeout(3):
            await service.closed.wait()


def test_a_violation_names_the_path_as_the_caller_wrote_it() -> None:
    request = scheduler_pb2.SubmitRequest(
        language="c",
        files=[submission_pb2.SourceFile(name="a.c"), submission_pb2.SourceFile(name="../b")],
        env={"LD_PRELOAD": "x"},
        time_limit_ms=30001,
    )
    with pytest.raises(InvalidField) as caught:
        validate(request)
    fields = {violation.field for violation in caught.value.violations}
    assert {"files[1].name", "time_limit_ms"} <= fields
    assert any(field.startswith("env") for field in fields)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (scheduler_pb2.SubmitRequest(files=[submission_pb2.SourceFile(name=f"f{n}") for n in range(20_000)]), "files"),
        (scheduler_pb2.SubmitRequest(source_code="x", env={f"A{n}": "" for n in range(20_000)}), "env"),
        (
            scheduler_pb2.RunRequest(submission=scheduler_pb2.SubmitRequest(language="c", args=["x"] * 20_000)),
            "submission.args",
        ),
    ],
)
def test_what_is_too_many_is_refused_before_each_is_looked_at(request_: Any, field: str) -> None:
    begun = time.process_time()
    with pytest.raises(InvalidField) as refused:
        validate(request_)

    assert [violation.field for violation in refused.value.violations] == [field]
    assert time.process_time() - begun < 0.1
