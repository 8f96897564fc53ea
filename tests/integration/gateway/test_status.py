"""StatusService as a process serves it over gRPC."""

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from sentinel.v1 import status_pb2, submission_pb2

from tests.integration.gateway.process import Gateway
from tests.integration.gateway.scribe import STDERR, STDOUT, Scribe, new_id

FRUIT = "fig"


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, Any]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error: Any = caught.value
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in rpc_status.from_call(error).details)
    return error.code(), info.reason, error


async def finished(scribe: Scribe, language: str = "python", output: bytes = b"done\n") -> Any:
    run = await scribe.accept(language=language)
    await run.claim()
    await run.status(submission_pb2.RUNNING)
    run.output(STDOUT, output)
    await run.finish()
    return run


async def test_a_submission_is_told_with_output_evidence_and_limits(gateway: Gateway, scribe: Scribe) -> None:
    run = await finished(scribe, output="früh\n".encode())
    response = await gateway.status.GetSubmission(status_pb2.GetSubmissionRequest(job_id=str(run.job)))
    submission = response.submission
    assert (submission.status, submission.stdout, submission.exit_code) == (submission_pb2.SUCCESS, "früh\n", 0)
    assert (submission.time_used_ms, submission.memory_used_kb, submission.attempt) == (13, 9000, 1)
    assert submission.source_code == "print(1)"
    assert not submission.HasField("stdout_base64")
    assert submission.HasField("finished_at")


async def test_bytes_that_are_no_text_are_given_exactly_beside_it(gateway: Gateway, scribe: Scribe) -> None:
    run = await finished(scribe, output=b"\xffok")
    response = await gateway.status.GetSubmission(status_pb2.GetSubmissionRequest(job_id=str(run.job)))
    assert (response.submission.stdout, response.submission.stdout_base64) == ("\ufffdok", b"\xffok")


async def test_waiting_answers_when_the_end_comes(gateway: Gateway, scribe: Scribe) -> None:
    run = await scribe.accept()
    request = status_pb2.GetSubmissionRequest(job_id=str(run.job), wait_ms=30_000)
    waiting = asyncio.ensure_future(gateway.status.GetSubmission(request))
    await run.claim()
    await run.status(submission_pb2.RUNNING)
    await run.finish()
    ended = time.monotonic()
    async with asyncio.timeout(3):
        assert (await waiting).submission.status == submission_pb2.SUCCESS
    assert time.monotonic() - ended < 1


async def test_waiting_in_vain_answers_with_where_it_stands(gateway: Gateway, scribe: Scribe) -> None:
    run = await scribe.accept()
    request = status_pb2.GetSubmissionRequest(job_id=str(run.job), wait_ms=50)
    assert (await gateway.status.GetSubmission(request)).submission.status == submission_pb2.QUEUED


async def test_an_unknown_job_is_not_found(gateway: Gateway) -> None:
    request = status_pb2.GetSubmissionRequest(job_id=str(new_id()))
    code, reason, _ = await refusal(gateway.status.GetSubmission(request))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_JOB")


async def test_pages_hold_every_submission_once_newest_first(gateway: Gateway, scribe: Scribe) -> None:
    jobs = [str((await scribe.accept(language=FRUIT)).job) for _ in range(7)]
    seen: list[str] = []
    token = ""
    sizes = []
    while True:
        request = status_pb2.ListSubmissionsRequest(page_size=3, page_token=token, language=FRUIT)
        page = await gateway.status.ListSubmissions(request)
        seen += [submission.job_id for submission in page.submissions]
        sizes.append(len(page.submissions))
        token = page.next_page_token
        if not token:
            break
    assert seen == jobs[::-1]
    assert sizes == [3, 3, 1]


async def test_a_full_last_page_offers_no_other(gateway: Gateway, scribe: Scribe) -> None:
    for _ in range(2):
        await scribe.accept(language="plum")
    page = await gateway.status.ListSubmissions(status_pb2.ListSubmissionsRequest(page_size=2, language="plum"))
    assert (len(page.submissions), page.next_page_token) == (2, "")


async def test_a_list_holds_only_what_its_filters_say_and_neither_source_nor_output(
    gateway: Gateway, scribe: Scribe
) -> None:
    run = await finished(scribe, language="kiwi")
    await scribe.accept(language="kiwi")
    request = status_pb2.ListSubmissionsRequest(language="kiwi", status=submission_pb2.SUCCESS)
    (submission,) = (await gateway.status.ListSubmissions(request)).submissions
    assert submission.job_id == str(run.job)
    assert (submission.source_code, submission.stdout) == ("", "")
    assert submission.time_limit_ms == 5000


@pytest.mark.parametrize("token", ["x", "AAAA"])
async def test_a_malformed_token_is_refused_and_named(gateway: Gateway, token: str) -> None:
    request = status_pb2.ListSubmissionsRequest(page_token=token)
    code, reason, error = await refusal(gateway.status.ListSubmissions(request))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert error.details().startswith("page_token: ")


async def test_a_watch_tells_everything_from_an_offset_on(gateway: Gateway, scribe: Scribe) -> None:
    run = await scribe.accept()
    await run.claim()
    await run.status(submission_pb2.RUNNING)
    run.output(STDOUT, b"hello")
    run.output(STDERR, b"oops")
    await run.finish()
    request = status_pb2.WatchSubmissionRequest(job_id=str(run.job), stdout_offset=3)
    events = [response.event async for response in gateway.status.WatchSubmission(request)]
    outputs = [(e.output.stream, e.output.offset, e.output.data) for e in events if e.HasField("output")]
    assert outputs == [(STDOUT, 3, b"lo"), (STDERR, 0, b"oops")]
    assert events[-1].result.submission.stdout == "hello"


async def test_a_reader_that_stands_still_delays_no_other_call(gateway: Gateway, scribe: Scribe) -> None:
    run = await scribe.accept()
    await run.claim()
    await run.status(submission_pb2.RUNNING)
    for _ in range(200):
        run.output(STDOUT, b"x" * 65536)
    await run.finish()
    request = status_pb2.WatchSubmissionRequest(job_id=str(run.job))
    stalled = [gateway.status.WatchSubmission(request) for _ in range(3)]
    for call in stalled:
        await call.read()
    async with asyncio.timeout(3):
        for _ in range(20):
            await gateway.status.GetHealth(status_pb2.GetHealthRequest())
    for call in stalled:
        call.cancel()


async def test_languages_are_what_executors_detected(gateway: Gateway, scribe: Scribe) -> None:
    python = status_pb2.Language(name="python", version="3.11.2", aliases=["py"])
    c = status_pb2.Language(name="c", version="12.2.0")
    await scribe.executor("e1", 4, python, c)
    async with asyncio.timeout(5):
        while not (offered := (await gateway.status.ListLanguages(status_pb2.ListLanguagesRequest())).languages):
            await asyncio.sleep(0.05)
    assert list(offered) == [c, python]


async def test_health_tells_which_part_does_not_answer_and_gives_rest_its_503(gateway: Gateway) -> None:
    call = gateway.status.GetHealth(status_pb2.GetHealthRequest())
    response = await call
    assert response.status == "degraded"
    assert (response.services.postgres, response.services.redis) == ("ok", "ok")
    assert response.services.rabbitmq == "cannot be reached"
    assert response.HasField("executors")
    assert ("x-http-code", "503") in list(await call.initial_metadata())
