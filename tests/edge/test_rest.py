"""What REST users see: words, codes and headers to the letter of the contract."""

import asyncio
import base64
import io
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from sentinel.v1 import scheduler_pb2, status_pb2, submission_pb2

from deploy.envoy.fields import Contract
from deploy.envoy.render import DESCRIPTORS
from services.kit.errors import InvalidField, KeyReused, SentinelError, Unavailable, UnknownJob, Violation
from tests.edge.envoys import Answer, TestEdge, running_edge
from tests.edge.upstream import JOB

HELLO = {"language": "python", "source_code": "print(1)"}


def reason(answer: Answer) -> str:
    return str(answer.json["details"][0]["reason"])


async def test_submit_answers_202_with_the_receipt_and_nothing_of_grpc(edge: TestEdge) -> None:
    answer = await edge.post("/api/v1/submissions", HELLO)

    assert (answer.status, answer.json) == (202, {"job_id": JOB, "status": "QUEUED"})
    assert not {name.lower() for name in answer.headers} & {
        "x-http-code", "grpc-status", "grpc-message", "grpc-accept-encoding", "grpc-encoding",
    }  # fmt: skip


async def test_the_202_of_rest_does_not_break_native_grpc(edge: TestEdge) -> None:
    receipt = await edge.stub().Submit(scheduler_pb2.SubmitRequest(language="python", source_code="x"))

    assert receipt.job_id == JOB


async def test_grpc_web_passes_with_message_and_trailers(edge: TestEdge) -> None:
    message = scheduler_pb2.SubmitRequest(language="python", source_code="x").SerializeToString()
    headers = {"Content-Type": "application/grpc-web+proto", "X-Grpc-Web": "1"}
    frame = b"\0" + len(message).to_bytes(4, "big") + message

    async with edge.session.post(
        f"{edge.url}/sentinel.v1.SchedulerService/Submit", data=frame, headers=headers
    ) as response:
        body = await response.read()

    assert response.status == 200
    length = int.from_bytes(body[1:5], "big")
    assert scheduler_pb2.SubmitResponse.FromString(body[5 : 5 + length]).job_id == JOB
    assert b"grpc-status:0" in body[5 + length :].replace(b" ", b"")


async def test_batch_answers_202_and_run_and_cancel_200_with_the_submission_itself(edge: TestEdge) -> None:
    batch = await edge.post("/api/v1/submissions:batch", {"submissions": [HELLO, HELLO]})
    run = await edge.post("/api/v1/submissions:run", HELLO)
    cancel = await edge.call("POST", f"/api/v1/submissions/{JOB}:cancel")

    assert batch.status == 202
    assert [item["status"] for item in batch.json["items"]] == ["QUEUED", "QUEUED"]
    assert (run.status, run.json["job_id"], run.json["stdout"]) == (200, JOB, "done\n")
    assert (cancel.status, cancel.json["job_id"]) == (200, JOB)


async def test_numbers_are_numbers_defaults_are_printed_and_the_unset_is_absent(edge: TestEdge) -> None:
    answer = await edge.get(f"/api/v1/submissions/{JOB}")

    assert answer.status == 200
    assert answer.json["status"] == "SUCCESS"
    assert answer.json["exit_code"] == 0
    assert answer.json["stderr"] == ""
    assert answer.json["time_limit_ms"] == 0
    assert answer.json["args"] == []
    assert "signal" not in answer.json
    assert "evidence" not in answer.json


@pytest.mark.parametrize("mebibytes", [1, 8])
async def test_large_outputs_come_whole(edge: TestEdge, mebibytes: int) -> None:
    edge.status.submission = submission_pb2.Submission(job_id=JOB, stdout="ü" * (mebibytes * 512 * 1024))

    answer = await edge.get(f"/api/v1/submissions/{JOB}")

    assert answer.status == 200
    assert len(answer.json["stdout"]) == mebibytes * 512 * 1024


ERRORS = [
    (InvalidField("time_limit_ms: must be at most 30000"), 400, "INVALID_ARGUMENT", "INVALID_FIELD"),
    (UnknownJob("no such submission"), 404, "NOT_FOUND", "UNKNOWN_JOB"),
    (KeyReused('the key "ä" was used with another body'), 409, "ALREADY_EXISTS", "IDEMPOTENCY_KEY_REUSED"),
    (Unavailable("the database is away", retry_after=3), 503, "UNAVAILABLE", "DEPENDENCY_DOWN"),
]


@pytest.mark.parametrize(("error", "status", "code", "why"), ERRORS, ids=lambda value: str(value)[:20])
async def test_errors_have_one_body(edge: TestEdge, error: SentinelError, status: int, code: str, why: str) -> None:
    async def fail(_request: Any, _context: Any) -> Any:
        raise error

    edge.scheduler.submit = fail
    answer = await edge.post("/api/v1/submissions", HELLO)

    assert answer.status == status
    assert set(answer.json) == {"error", "code", "details"}
    assert (answer.json["error"], answer.json["code"], reason(answer)) == (error.text, code, why)
    assert answer.json["details"][0]["domain"] == "sentinel"
    assert answer.header("content-type") == "application/json"
    assert answer.header("grpc-status") is None
    assert answer.header("retry-after") == ("3" if status == 503 else None)


async def test_errors_keep_their_details_and_odd_characters(edge: TestEdge) -> None:
    async def fail(_request: Any, _context: Any) -> Any:
        raise InvalidField('say "ü\\n" {not} this', violations=[Violation("files[0].name", 'a "quote", and } more')])

    edge.scheduler.submit = fail
    answer = await edge.post("/api/v1/submissions", HELLO)

    assert answer.json["error"] == 'say "ü\\n" {not} this'
    assert answer.json["details"][1]["field_violations"][0]["field"] == "files[0].name"


async def test_a_full_backlog_is_503_with_a_retry_time_though_grpc_says_resource_exhausted(edge: TestEdge) -> None:
    class Full(SentinelError):
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        reason = "BACKLOG_FULL"
        http_code = 503

    async def fail(_request: Any, _context: Any) -> Any:
        raise Full("too much is waiting", retry_after=7)

    edge.scheduler.submit = fail
    answer = await edge.post("/api/v1/submissions", HELLO)

    assert (answer.status, answer.json["code"], answer.header("retry-after")) == (503, "RESOURCE_EXHAUSTED", "7")
    assert answer.header("x-http-code") is None


async def test_the_text_of_an_exception_never_reaches_a_caller(edge: TestEdge) -> None:
    async def fail(_request: Any, _context: Any) -> Any:
        raise RuntimeError("password=hunter2")

    edge.scheduler.submit = fail
    answer = await edge.post("/api/v1/submissions", HELLO)

    assert (answer.status, answer.json["code"], answer.json["error"]) == (500, "INTERNAL", "internal error")
    assert "hunter2" not in answer.text


async def test_unknown_paths_are_404_in_our_words(edge: TestEdge) -> None:
    for path in ("/api/v2/submissions", "/api/v1/submissions/x/y", "/api/v1", "/etc/passwd", "/api/v1/submissions/"):
        answer = await edge.get(path)
        assert (answer.status, answer.json["code"], reason(answer)) == (404, "NOT_FOUND", "UNKNOWN_PATH"), path


RULES = [(rule.verb, rule.path.replace("{job_id}", JOB)) for rule in Contract(DESCRIPTORS).http_rules()]


async def test_every_path_of_the_contract_names_its_methods_when_called_with_another(edge: TestEdge) -> None:
    allowed: dict[str, set[str]] = {}
    for verb, path in RULES:
        allowed.setdefault(path, set()).add(verb)
    allowed |= {f"/api/v1/submissions/{JOB}/{end}": {"GET"} for end in ("stream", "events")}
    allowed |= {path: {"GET"} for path in ("/", "/docs", "/api/v1/openapi.json")}

    for path, verbs in allowed.items():
        for verb in {"GET", "POST", "PUT", "DELETE", "PATCH"} - verbs:
            answer = await edge.call(verb, path)
            assert (answer.status, answer.json["code"]) == (405, "UNIMPLEMENTED"), (verb, path)
            assert set((answer.header("allow") or "").split(", ")) == verbs, (verb, path)


async def test_every_rest_call_of_the_contract_reaches_its_method(edge: TestEdge) -> None:
    for rule in Contract(DESCRIPTORS).http_rules():
        body = {"submissions": [HELLO]} if "Batch" in rule.method else HELLO if rule.path.count("/") == 3 else None
        path = rule.path.replace("{job_id}", JOB)
        answer = await edge.call(rule.verb, path, json=body if rule.verb == "POST" else None)
        assert answer.status in {200, 202}, (rule, answer.text)
        assert (edge.scheduler.calls + edge.status.calls).count(rule.method) == 1, rule


async def test_a_body_over_one_mebibyte_is_413_whole_or_in_chunks_and_exactly_one_passes(edge: TestEdge) -> None:
    def body(size: int) -> bytes:
        frame = b'{"language":"python","source_code":"x","stdin":""}'
        return frame[:-2] + b"y" * (size - len(frame)) + frame[-2:]

    async def chunks(data: bytes) -> Any:
        for start in range(0, len(data), 65536):
            yield data[start : start + 65536]

    headers = {"Content-Type": "application/json"}
    too_large = await edge.call("POST", "/api/v1/submissions", data=io.BytesIO(body(2**20 + 1)), headers=headers)
    in_chunks = await edge.call("POST", "/api/v1/submissions", data=chunks(body(2**20 + 1)), headers=headers)
    just_right = await edge.call("POST", "/api/v1/submissions", data=io.BytesIO(body(2**20)), headers=headers)

    for answer in (too_large, in_chunks):
        assert (answer.status, answer.json["code"], reason(answer)) == (413, "INVALID_ARGUMENT", "BODY_TOO_LARGE")
    # It came through; that its `stdin` is too long is then the scheduler's to say.
    assert (just_right.status, reason(just_right)) == (400, "INVALID_FIELD")
    assert "stdin" in just_right.json["error"]


async def test_the_largest_source_and_input_of_the_contract_pass(edge: TestEdge) -> None:
    stdin = bytes(range(256)) * 1024
    body = {"language": "python", "source_code": "é" * 32768, "stdin_base64": base64.b64encode(stdin).decode()}

    answer = await edge.post("/api/v1/submissions", body)

    assert answer.status == 202
    assert edge.scheduler.requests[-1].stdin_base64 == stdin
    assert edge.scheduler.requests[-1].source_code == "é" * 32768


async def test_the_body_limit_spares_grpc(edge: TestEdge) -> None:
    files = [submission_pb2.SourceFile(name=f"f{n}.py", content="x" * 65536) for n in range(30)]

    receipt = await edge.stub().Submit(scheduler_pb2.SubmitRequest(language="python", files=files))

    assert receipt.job_id == JOB


async def test_a_body_that_is_not_declared_as_json_is_415(edge: TestEdge) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", "application/octet-stream"):
        headers = {"Content-Type": kind}
        answer = await edge.call("POST", "/api/v1/submissions", data=json.dumps(HELLO), headers=headers)
        assert (answer.status, answer.json["code"], reason(answer)) == (
            415, "INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE",
        ), kind  # fmt: skip
    for kind in ("application/json; charset=utf-8", "Application/JSON"):
        headers = {"Content-Type": kind}
        answer = await edge.call("POST", "/api/v1/submissions", data=json.dumps(HELLO), headers=headers)
        assert answer.status == 202, kind


@pytest.mark.parametrize("body", ['{"language":', "[1]", '"x"', '{"language":5}', '{"time_limit_ms":"soon"}', "nul"])
async def test_bad_json_is_400_and_says_where(edge: TestEdge, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await edge.call("POST", "/api/v1/submissions", data=body, headers=headers)

    assert (answer.status, answer.json["code"], reason(answer)) == (400, "INVALID_ARGUMENT", "INVALID_FIELD")
    assert answer.json["error"]


async def test_an_unknown_query_parameter_is_400(edge: TestEdge) -> None:
    answer = await edge.get("/api/v1/submissions?pagesize=3")

    assert (answer.status, answer.json["code"]) == (400, "INVALID_ARGUMENT")
    assert "pagesize" in answer.json["error"]


async def test_degraded_health_is_503_with_its_own_body(edge: TestEdge) -> None:
    async def degraded(_request: Any, context: Any) -> status_pb2.GetHealthResponse:
        await context.send_initial_metadata((("x-http-code", "503"),))
        services = status_pb2.ServiceHealth(postgres="ok", rabbitmq="connection refused", redis="ok")
        return status_pb2.GetHealthResponse(status="degraded", services=services)

    well = await edge.get("/api/v1/health")
    edge.status.health = degraded
    ill = await edge.get("/api/v1/health")

    assert (well.status, well.json) == (
        200,
        {"status": "ok", "services": {"postgres": "ok", "rabbitmq": "ok", "redis": "ok"}},
    )
    assert (ill.status, ill.json["status"], ill.json["services"]["rabbitmq"]) == (503, "degraded", "connection refused")
    assert ill.header("retry-after") == "1"


async def test_the_idempotency_key_and_trace_reach_the_scheduler(edge: TestEdge) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    await edge.post("/api/v1/submissions", HELLO, headers={"Idempotency-Key": "k 1", "Traceparent": trace})

    assert edge.scheduler.metadata["idempotency-key"] == "k 1"
    assert edge.scheduler.metadata["traceparent"] == trace


async def test_a_request_id_is_echoed_and_one_is_made_where_none_was_sent(edge: TestEdge) -> None:
    own = await edge.post("/api/v1/submissions", HELLO, headers={"X-Request-ID": "mine-7"})
    seen = edge.scheduler.metadata["x-request-id"]
    made = await edge.get("/nowhere")

    assert own.header("x-request-id") == seen == "mine-7"
    assert len(made.header("x-request-id") or "") == 36


def session_call(edge: TestEdge) -> Any:
    return edge.channel.unary_unary("/sentinel.v1.ExecutorService/Session")


async def test_a_client_cannot_pass_itself_off_as_transcoded(edge: TestEdge) -> None:
    """`x-envoy-original-path` decides how Envoy words errors; a native client's own must not count."""
    metadata = (("x-envoy-original-path", "/forged"), ("x-envoy-upstream-rq-timeout-ms", "1"))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await session_call(edge)(b"", metadata=metadata)
    await edge.stub().Submit(scheduler_pb2.SubmitRequest(language="python", source_code="x"), metadata=metadata)

    assert "{" not in (refused.value.details() or "")
    assert "x-envoy-original-path" not in edge.scheduler.metadata
    assert "x-envoy-upstream-rq-timeout-ms" not in edge.scheduler.metadata


async def test_the_executors_service_is_not_there(edge: TestEdge) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await session_call(edge)(b"")

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_pages_and_documents_come_from_the_gateway(edge: TestEdge) -> None:
    assert (await edge.get("/")).text == "the page"
    assert (await edge.get("/docs")).text == "the docs"
    assert (await edge.get("/api/v1/openapi.json")).text == "{}"


async def test_a_caller_who_leaves_a_waiting_run_cancels_it(edge: TestEdge) -> None:
    call = asyncio.create_task(edge.post("/api/v1/submissions:run", {**HELLO, "args": ["20"]}))
    async with asyncio.timeout(5):
        while "RunToCompletion" not in edge.scheduler.calls:
            await asyncio.sleep(0.01)
    call.cancel()

    async with asyncio.timeout(5):
        await edge.scheduler.run_cancelled.wait()


async def test_the_edge_logs_what_went_wrong_and_nothing_else(tmp_path: Path) -> None:
    log = tmp_path / "envoy.log"

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]

    async with running_edge(tmp_path) as edge:
        edge.http.release.set()
        await edge.post("/api/v1/submissions", HELLO)
        await edge.get(f"/api/v1/submissions/{JOB}/events")
        await edge.get("/nowhere")
        await edge.stub().Submit(scheduler_pb2.SubmitRequest(language="python", source_code="x"))
        await edge.post("/api/v1/submissions", {"langauge": "x"})
        await edge.scheduler_processes[0].stop(grace=0)
        failed = await edge.post("/api/v1/submissions", HELLO, headers={"X-Request-ID": "r-1"})
        async with asyncio.timeout(5):
            while not lines():
                await asyncio.sleep(0.05)

    assert failed.status == 503
    assert [(line["status"], line["path"], line["request_id"]) for line in lines()] == [
        (503, "/api/v1/submissions", "r-1")
    ]
