"""The gateway behind the very Envoy that `make up` renders: both ways to JSON have to look the same."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from redis.asyncio import Redis
from sentinel.v1 import status_pb2, status_pb2_grpc, submission_pb2

from deploy.envoy.render import Edge, Endpoint, render
from deploy.local.edge import BINARY
from tests.integration.gateway.process import Gateway, running_gateway
from tests.integration.gateway.scribe import STDERR, STDOUT, Scribe, new_id
from tests.integration.gateway.servers import Postgres, RedisServer, free_port

LIMIT = 3


@pytest.fixture(scope="module")
async def limited(postgres: Postgres, redis_server: RedisServer) -> AsyncIterator[Gateway]:
    async with running_gateway(postgres.dsn, redis_server.url, RATE_LIMIT=str(LIMIT)) as running:
        await running.until_ready()
        yield running


@pytest.fixture(scope="module")
async def edge(limited: Gateway, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    folder: Path = tmp_path_factory.mktemp("envoy")
    listen, admin, nowhere = (Endpoint("127.0.0.1", free_port()) for _ in range(3))
    path = render(
        Edge(
            listen=listen,
            admin=admin,
            schedulers=[nowhere],
            gateways=[Endpoint("127.0.0.1", limited.grpc_port)],
            gateways_http=[Endpoint("127.0.0.1", limited.http_port)],
            # The local limiter stands far behind: what refuses here is ours.
            rate_limit=1000,
        ),
        folder,
    )
    envoy = subprocess.Popen(  # noqa: ASYNC220  Envoy dies with the thread that started it; it must be this one
        [str(BINARY), "-c", str(path), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
    )
    url = f"http://127.0.0.1:{listen.port}"
    try:
        async with asyncio.timeout(20):
            while True:
                with suppress(aiohttp.ClientError):
                    async with limited.session.get(f"{url}/readyz-or-not") as response:
                        if response.status == 404:
                            break
                await asyncio.sleep(0.05)
        yield url
    finally:
        envoy.kill()
        envoy.wait()


@pytest.fixture(autouse=True)
async def _no_calls_yet(redis: Redis) -> None:
    await redis.flushall()


async def get(gateway: Gateway, url: str, **options: Any) -> tuple[int, Any, Any]:
    async with gateway.session.get(url, **options) as response:
        return response.status, await response.json(), response.headers


async def test_a_submission_is_the_same_json_over_rest_websocket_and_sse(
    limited: Gateway, edge: str, scribe: Scribe
) -> None:
    run = await scribe.accept(stdin=b"in \xc3\xbc")
    await run.claim()
    await run.status(submission_pb2.RUNNING)
    run.output(STDOUT, 'früh 🙂 \u2028 <&> \\ "\x00\x7f\n'.encode())
    run.output(STDERR, b"\xff\xfe")
    await run.finish()
    url = f"{edge}/api/v1/submissions/{run.job}"

    status, rest, _ = await get(limited, url)
    async with limited.session.ws_connect(f"{url}/stream") as socket:
        frames = [json.loads(message.data) async for message in socket]
        assert socket.close_code == 1000
    async with limited.session.get(f"{url}/events") as response:
        data = [line for line in (await response.text()).split("\n") if line.startswith("data: ")]

    assert status == 200
    assert frames[-1]["submission"] == rest
    assert json.loads(data[-1].removeprefix("data: "))["submission"] == rest


async def test_health_through_the_edge_has_a_status_for_machines_and_reasons_for_people(
    limited: Gateway, edge: str
) -> None:
    status, body, headers = await get(limited, f"{edge}/api/v1/health")
    assert status == 503
    assert "x-http-code" not in headers
    assert body["services"] == {"postgres": "ok", "rabbitmq": "cannot be reached", "redis": "ok"}


@pytest.mark.parametrize("path", ["stream", "events"])
async def test_an_unknown_job_looks_the_same_whoever_answers(limited: Gateway, edge: str, path: str) -> None:
    job = new_id()
    transcoded = await get(limited, f"{edge}/api/v1/submissions/{job}")
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    headers["Sec-WebSocket-Key"] = "MDEyMzQ1Njc4OWFiY2RlZg=="
    ours = await get(limited, f"{edge}/api/v1/submissions/{job}/{path}", headers=headers if path == "stream" else {})
    assert ours[0] == transcoded[0] == 404
    assert ours[1] == transcoded[1]


async def test_a_page_token_of_another_list_is_a_400_that_says_so(limited: Gateway, edge: str, scribe: Scribe) -> None:
    for _ in range(2):
        await scribe.accept(language="pear")
    _, page, _ = await get(limited, f"{edge}/api/v1/submissions?page_size=1&language=pear")
    token = page["next_page_token"]
    status, body, _ = await get(limited, f"{edge}/api/v1/submissions?page_size=1&page_token={token}")
    assert (status, body["code"]) == (400, "INVALID_ARGUMENT")
    assert body["error"].startswith("page_token: belongs to a list with other filters")


async def test_reads_past_their_limit_get_429_with_the_time_to_come_back(limited: Gateway, edge: str) -> None:
    answers = [await get(limited, f"{edge}/api/v1/submissions?page_size=1") for _ in range(10 * LIMIT + 1)]
    assert [status for status, _, _ in answers] == [200] * 10 * LIMIT + [429]
    _, body, headers = answers[-1]
    assert body["code"] == "RESOURCE_EXHAUSTED"
    assert headers["Retry-After"] == "2"
    assert headers.getall("x-ratelimit-remaining") == ["0"]
    assert [headers_["x-ratelimit-remaining"] for _, _, headers_ in answers[:2]] == ["29", "28"]


async def test_a_grpc_watcher_through_the_edge_sees_a_run_live(edge: str, scribe: Scribe) -> None:
    run = await scribe.accept()
    async with grpc.aio.insecure_channel(edge.removeprefix("http://")) as channel, asyncio.timeout(5):
        stub: Any = status_pb2_grpc.StatusServiceStub(channel)
        call = stub.WatchSubmission(status_pb2.WatchSubmissionRequest(job_id=str(run.job)))
        assert (await call.read()).event.snapshot.status == submission_pb2.QUEUED
        await run.claim()
        await run.status(submission_pb2.RUNNING)
        assert (await call.read()).event.status.status == submission_pb2.RUNNING
        await run.finish()
        assert (await call.read()).event.result.submission.status == submission_pb2.SUCCESS
