"""How much one client may call, and which pages may call at all."""

from pathlib import Path

import grpc
import pytest
from sentinel.v1 import scheduler_pb2

from deploy.envoy.render import Edge
from tests.edge.envoys import TestEdge, running_edge
from tests.edge.upstream import JOB

HELLO = {"language": "python", "source_code": "print(1)"}


async def test_the_gateway_decides_about_calls_by_address_and_class(tmp_path: Path) -> None:
    async with running_edge(tmp_path, rate_limit=100) as edge:
        await edge.post("/api/v1/submissions", HELLO)
        await edge.post("/api/v1/submissions:batch", {"submissions": [HELLO]})
        await edge.post("/api/v1/submissions:run", HELLO)
        await edge.stub().Submit(scheduler_pb2.SubmitRequest(language="python", source_code="x"))
        writes = list(edge.rate_limits.asked)
        edge.rate_limits.asked.clear()
        await edge.get(f"/api/v1/submissions/{JOB}")
        await edge.get("/api/v1/submissions")
        await edge.post(f"/api/v1/submissions/{JOB}:cancel")
        reads = list(edge.rate_limits.asked)
        edge.rate_limits.asked.clear()
        await edge.get("/")
        await edge.get("/nowhere")
        free = list(edge.rate_limits.asked)

    assert writes == [{"remote_address": "127.0.0.1", "class": "write"}] * 4
    assert reads == [{"remote_address": "127.0.0.1", "class": "read"}] * 3
    assert free == []


async def test_over_the_limit_is_429_with_the_time_to_wait(tmp_path: Path) -> None:
    async with running_edge(tmp_path, rate_limit=100) as edge:
        edge.rate_limits.allowance = 2
        passed = [await edge.post("/api/v1/submissions", HELLO) for _ in range(2)]
        refused = await edge.post("/api/v1/submissions", HELLO)
        with pytest.raises(grpc.aio.AioRpcError) as native:
            await edge.stub().Submit(scheduler_pb2.SubmitRequest(language="python", source_code="x"))
        read = await edge.get(f"/api/v1/submissions/{JOB}")

    assert [answer.status for answer in passed] == [202, 202]
    assert passed[0].header("x-ratelimit-remaining") == "1"
    assert (passed[0].header("x-ratelimit-limit") or "").startswith("2")
    assert (refused.status, refused.json["code"]) == (429, "RESOURCE_EXHAUSTED")
    assert refused.json["details"][0]["reason"] == "RATE_LIMITED"
    assert refused.json["details"][1]["retry_delay"] == "42s"
    assert refused.header("retry-after") == "42"
    assert not [name for name in refused.headers if name.lower().startswith("x-envoy")]
    assert refused.header("x-ratelimit-reset") == "42"
    assert native.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert read.status == 200


async def test_calls_pass_while_no_gateway_decides(tmp_path: Path) -> None:
    async with running_edge(tmp_path, rate_limit=100) as edge:
        edge.rate_limits.hangs = True
        hanging = await edge.post("/api/v1/submissions", HELLO)
        await edge.gateway_process.stop()
        gone = await edge.post("/api/v1/submissions", HELLO)

    assert (hanging.status, gone.status) == (202, 202)


async def test_behind_it_the_edge_itself_stops_at_twice_the_limit(tmp_path: Path) -> None:
    async with running_edge(tmp_path, rate_limit=3) as edge:
        await edge.gateway_process.stop()
        answers = [await edge.post("/api/v1/submissions", HELLO) for _ in range(8)]

    assert [answer.status for answer in answers] == [202] * 6 + [429] * 2
    assert answers[-1].json["code"] == "RESOURCE_EXHAUSTED"
    assert answers[-1].header("retry-after") == "60"


async def test_a_client_cannot_choose_its_address(tmp_path: Path) -> None:
    async with running_edge(tmp_path, rate_limit=100) as edge:
        await edge.post("/api/v1/submissions", HELLO, headers={"X-Forwarded-For": "203.0.113.9"})
        direct = list(edge.rate_limits.asked)
    async with running_edge(tmp_path, rate_limit=100, trusted_hops=1) as edge:
        await edge.post("/api/v1/submissions", HELLO, headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.9"})
        behind_a_proxy = list(edge.rate_limits.asked)

    assert direct[0]["remote_address"] == "127.0.0.1"
    assert behind_a_proxy[0]["remote_address"] == "203.0.113.9"


async def test_limits_off_leave_no_filter_and_no_header(edge: TestEdge) -> None:
    answer = await edge.post("/api/v1/submissions", HELLO)

    assert edge.rate_limits.asked == []
    assert answer.header("x-ratelimit-limit") is None


async def test_a_page_from_a_listed_origin_may_call_and_read_our_headers(edge: TestEdge) -> None:
    origin = "http://localhost:5173"
    preflight = await edge.call(
        "OPTIONS",
        "/api/v1/submissions",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,idempotency-key",
        },
    )
    answer = await edge.post("/api/v1/submissions", HELLO, headers={"Origin": origin})
    error = await edge.get("/nowhere", headers={"Origin": origin})

    assert preflight.status == 200
    assert preflight.header("access-control-allow-origin") == origin
    assert "idempotency-key" in (preflight.header("access-control-allow-headers") or "")
    for each in (answer, error):
        assert each.header("access-control-allow-origin") == origin
    assert "retry-after" in (answer.header("access-control-expose-headers") or "")


async def test_a_page_from_elsewhere_is_not_let_in(edge: TestEdge) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    preflight = await edge.call("OPTIONS", "/api/v1/submissions", headers=headers)
    answer = await edge.post("/api/v1/submissions", HELLO, headers={"Origin": "https://evil.example"})

    assert preflight.status == 405
    for each in (preflight, answer):
        assert each.header("access-control-allow-origin") is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [("CORS_ORIGINS", "*"), ("CORS_ORIGINS", "example.org"), ("RATE_LIMIT", "many"), ("READ_TIMEOUT", "soon")],
)
def test_a_setting_that_cannot_be_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=variable):
        Edge.from_environment({variable: value})
