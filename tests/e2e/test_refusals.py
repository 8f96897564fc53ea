"""What a deployment answers that is too busy, has nobody to run programs, or has lost its database: 429 and 503."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.mesh import RunningMesh, running_mesh

HELLO = {"language": "python", "source_code": "print(42)"}
PER_MINUTE = 8


@pytest.fixture(scope="module")
def poor() -> Iterator[RunningMesh]:
    """One scheduler, no executor, a low limit."""
    with running_mesh(RATE_LIMIT=str(PER_MINUTE), SCHEDULERS="1", EXECUTORS="0") as running:
        yield running


@pytest.fixture(scope="module")
async def http(poor: RunningMesh) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(poor.url) as session:
        yield session


async def test_without_any_executor_there_is_no_language_and_that_is_503(http: aiohttp.ClientSession) -> None:
    async with http.post("/api/v1/submissions", json=HELLO) as answer:
        told = await answer.json()
    assert (answer.status, told["code"]) == (503, "UNAVAILABLE")
    assert "no executor" in told["error"]
    assert int(answer.headers["Retry-After"]) >= 1


async def test_health_says_that_nobody_can_run_programs(http: aiohttp.ClientSession) -> None:
    async with http.get("/api/v1/health") as answer:
        told = await answer.json()
    assert (answer.status, told["status"]) == (200, "ok")
    assert told["executors"] == {"connected": 0, "slots": 0}


async def test_without_its_database_it_is_503_and_health_names_the_part(
    http: aiohttp.ClientSession, poor: RunningMesh
) -> None:
    await asyncio.to_thread(poor.stop, "postgres")
    try:
        async with http.post("/api/v1/submissions", json=HELLO) as answer:
            told = await answer.json()
        assert (answer.status, told["code"]) == (503, "UNAVAILABLE")
        assert int(answer.headers["Retry-After"]) >= 1
        async with asyncio.timeout(10):
            while True:
                async with http.get("/api/v1/health") as answer:
                    told = await answer.json()
                if answer.status == 503:
                    break
                await asyncio.sleep(0.2)
        assert told["status"] == "degraded"
        assert told["services"]["postgres"] != "ok"
        assert told["services"]["redis"] == "ok"
    finally:
        await asyncio.to_thread(poor.start, "postgres")
        await asyncio.to_thread(poor.await_ready)


async def test_past_the_limit_it_is_429_with_the_time_to_wait_and_reads_go_on(http: aiohttp.ClientSession) -> None:
    refused = None
    for _ in range(PER_MINUTE + 1):
        async with http.post("/api/v1/submissions", json=HELLO) as answer:
            if answer.status == 429:
                refused = answer, await answer.json()
                break
    assert refused is not None
    answer, told = refused
    assert told["code"] == "RESOURCE_EXHAUSTED"
    assert "too many calls" in told["error"]
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    async with http.get("/api/v1/languages") as read:
        assert read.status == 200
