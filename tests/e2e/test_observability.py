"""What operators see: one trace from the edge to the jail, health and reflection everywhere, counters that add up."""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.mesh import RunningMesh

HELLO = {"language": "python", "source_code": "print(42)"}


def log_lines(mesh: RunningMesh, role: str) -> Iterator[dict[str, object]]:
    for name in mesh.names(role):
        for line in mesh.log(name).splitlines():
            if line.startswith("{"):
                yield json.loads(line)


async def test_a_trace_id_sent_to_the_edge_is_in_the_executors_log(mesh: RunningMesh) -> None:
    """Through Envoy, the scheduler, the outbox, an AMQP header and the session."""
    trace = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    async with (
        aiohttp.ClientSession(mesh.url) as http,
        http.post("/api/v1/submissions:run", json=HELLO, headers=headers) as answer,
    ):
        job = (await answer.json())["job_id"]
    lines = [line for line in log_lines(mesh, "executor") if line.get("job_id") == job]
    assert lines
    assert {line["trace_id"] for line in lines} == {trace}


async def test_no_log_line_holds_what_a_program_is_or_says(mesh: RunningMesh) -> None:
    secret = secrets.token_hex(12)
    async with aiohttp.ClientSession(mesh.url) as http:
        body = {"language": "python", "source_code": f"print(input() + '{secret}')", "stdin": f"in{secret}"}
        async with http.post("/api/v1/submissions:run", json=body) as answer:
            assert (await answer.json())["stdout"] == f"in{secret}{secret}\n"
    for name in mesh.pids():
        assert secret not in mesh.log(name), name


async def services_of(target: str) -> set[str]:
    """What a server's reflection lists."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast("Any", channel))
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        async for response in call:
            return {service.name for service in response.list_services_response.service}
    return set()


async def test_every_grpc_server_has_health_and_reflection(mesh: RunningMesh) -> None:
    ports, servers = mesh.ports, {}
    for n in range(mesh.mesh.schedulers):
        servers[ports.scheduler_grpc(n).address] = "sentinel.v1.SchedulerService"
        servers[ports.scheduler_sessions(n).address] = "sentinel.v1.ExecutorService"
    for n in range(mesh.mesh.gateways):
        servers[ports.gateway_grpc(n).address] = "sentinel.v1.StatusService"
    for target, service in servers.items():
        assert service in await services_of(target)
        async with grpc.aio.insecure_channel(target) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_clients_reflect_on_what_they_may_call_and_on_nothing_internal(mesh: RunningMesh) -> None:
    listed = await services_of(mesh.target)
    assert {"sentinel.v1.SchedulerService", "sentinel.v1.StatusService"} <= listed
    assert not listed & {"sentinel.v1.ExecutorService", "envoy.service.ratelimit.v3.RateLimitService"}


async def scrape(mesh: RunningMesh, role: str) -> "Counter[tuple[str, str]]":
    """Sums of a role's samples: (name, label values) → value."""
    ports = {"scheduler": mesh.ports.scheduler_admin, "gateway": mesh.ports.gateway_admin}
    port = ports.get(role, mesh.ports.executor_admin)
    found: Counter[tuple[str, str]] = Counter()
    async with aiohttp.ClientSession() as http:
        for n in range(len(mesh.names(role))):
            async with http.get(f"http://{port(n).address}/metrics", headers={"Accept": "text/plain"}) as answer:
                for family in text_string_to_metric_families(await answer.text()):
                    for sample in family.samples:
                        found[sample.name, ",".join(sample.labels.values())] += sample.value  # type: ignore[assignment]
    return found


async def test_what_is_accepted_becomes_terminal_in_the_counters_too(mesh: RunningMesh) -> None:
    """I9: submitted = sum of terminals, over all schedulers."""

    def sums(found: "Counter[tuple[str, str]]") -> tuple[float, float]:
        accepted = sum(
            v for (name, labels), v in found.items() if name == "sentinel_submissions_total" and "accepted" in labels
        )
        return accepted, sum(v for (name, _), v in found.items() if name == "sentinel_jobs_terminal_total")

    before = sums(await scrape(mesh, "scheduler"))
    async with aiohttp.ClientSession(mesh.url) as http:

        async def one(source: str) -> None:
            async with http.post("/api/v1/submissions:run", json={**HELLO, "source_code": source}) as answer:
                assert answer.status == 200

        await asyncio.gather(*(one(s) for s in ["print(1)", "1/0", "while 1: print('x' * 999)"] * 4))
    after = sums(await scrape(mesh, "scheduler"))
    assert (after[0] - before[0], after[1] - before[1]) == (12, 12)


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("scheduler", "sentinel_outbox_pending"),
        ("scheduler", "sentinel_results_fenced_total"),
        ("scheduler", "sentinel_leases_expired_total"),
        ("scheduler", "sentinel_queue_wait_seconds_count"),
        ("scheduler", "sentinel_job_e2e_seconds_count"),
        ("gateway", "sentinel_dependency_up"),
        ("gateway", "sentinel_stream_subscribers"),
        ("executor", "sentinel_sandbox_setup_seconds_count"),
        ("executor", "sentinel_run_wall_seconds_count"),
        ("executor", "sentinel_executor_slots"),
        ("executor", "sentinel_sandbox_failures_total"),
    ],
)
async def test_the_series_that_alerts_will_ask_for_exist(mesh: RunningMesh, role: str, name: str) -> None:
    assert name in {found for found, _ in await scrape(mesh, role)}
