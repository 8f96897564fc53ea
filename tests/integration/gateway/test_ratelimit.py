"""The limiter against a real Redis, and Envoy's protocol around it."""

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY
from ratelimit.v3 import rls_pb2
from redis.asyncio import Redis

from services.gateway.ratelimit import CallClass, Limiter
from services.gateway.rls import RateLimitService
from services.record.live import open_redis
from tests.integration.gateway.servers import RedisServer, free_port

IP = "192.0.2.7"
KEY = f"sentinel:rate:write:{IP}"
Response = rls_pb2.RateLimitResponse


@pytest.fixture(autouse=True)
async def _fresh(redis: Redis) -> None:
    await redis.flushall()


async def pass_time(redis: Redis, seconds: float) -> None:
    """As if `seconds` had passed since the last call."""
    tat: Any = await redis.get(KEY)
    await redis.set(KEY, str(int(tat) - int(seconds * 1e6)), keepttl=True)


def asked(ip: str = IP, call: str = "write", hits: int = 0) -> rls_pb2.RateLimitRequest:
    entry = rls_pb2.Descriptor.Entry
    entries = [entry(key="remote_address", value=ip), entry(key="class", value=call)]
    return rls_pb2.RateLimitRequest(
        domain="sentinel", descriptors=[rls_pb2.Descriptor(entries=entries)], hits_addend=hits
    )


async def test_a_whole_burst_passes_and_the_next_call_waits_for_one_interval(redis: Redis) -> None:
    limiter = Limiter(redis, 6)
    decisions = [await limiter.decide(IP, CallClass.WRITE) for _ in range(7)]
    assert [d.allowed for d in decisions if d] == [True] * 6 + [False]
    assert [d.remaining for d in decisions if d] == [5, 4, 3, 2, 1, 0, 0]
    refused = decisions[-1]
    assert refused
    assert 9 < refused.retry_after <= 10
    assert 59 < refused.reset <= 60


async def test_one_call_passes_per_interval_after_a_burst(redis: Redis) -> None:
    limiter = Limiter(redis, 6)
    for _ in range(6):
        await limiter.decide(IP, CallClass.WRITE)
    for _ in range(3):
        await pass_time(redis, 10)
        first, second = await limiter.decide(IP, CallClass.WRITE), await limiter.decide(IP, CallClass.WRITE)
        assert first
        assert second
        assert (first.allowed, second.allowed) == (True, False)


async def test_a_refused_call_costs_nothing(redis: Redis) -> None:
    limiter = Limiter(redis, 6)
    for _ in range(6):
        await limiter.decide(IP, CallClass.WRITE)
    before = await redis.get(KEY)
    for _ in range(20):
        await limiter.decide(IP, CallClass.WRITE)
    assert await redis.get(KEY) == before


async def test_the_whole_burst_is_back_after_a_minute_and_no_more_than_that(redis: Redis) -> None:
    limiter = Limiter(redis, 6)
    await limiter.decide(IP, CallClass.WRITE)
    await pass_time(redis, 3600)
    decisions = [await limiter.decide(IP, CallClass.WRITE) for _ in range(7)]
    assert sum(d.allowed for d in decisions if d) == 6


async def test_however_many_ask_at_once_no_more_than_the_burst_passes(redis: Redis) -> None:
    limiters = [Limiter(redis, 50) for _ in range(4)]
    decisions = await asyncio.gather(*(limiters[n % 4].decide(IP, CallClass.WRITE) for n in range(200)))
    assert sum(d.allowed for d in decisions if d) == 50


async def test_reads_have_ten_times_the_limit_and_a_count_of_their_own(redis: Redis) -> None:
    limiter = Limiter(redis, 6)
    for _ in range(6):
        await limiter.decide(IP, CallClass.WRITE)
    read = await limiter.decide(IP, CallClass.READ)
    assert read
    assert (read.allowed, read.limit, read.remaining) == (True, 60, 59)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
    ],
)
async def test_a_client_is_an_ipv4_address_or_an_ipv6_network(
    redis: Redis, one: str, other: str, *, same: bool
) -> None:
    limiter = Limiter(redis, 1)
    await limiter.decide(one, CallClass.WRITE)
    second = await limiter.decide(other, CallClass.WRITE)
    assert second
    assert second.allowed is not same


async def test_a_key_is_forgotten_when_it_says_nothing_any_more(redis: Redis) -> None:
    await Limiter(redis, 6).decide(IP, CallClass.WRITE)
    assert 9_000 < await redis.pttl(KEY) <= 10_000


async def test_envoy_is_told_to_refuse_with_a_sentence_and_a_time(redis: Redis) -> None:
    service = RateLimitService(Limiter(redis, 6))
    answers = [await service.ShouldRateLimit(asked(), None) for _ in range(7)]
    assert [a.overall_code for a in answers] == [Response.OK] * 6 + [Response.OVER_LIMIT]
    refused = answers[-1]
    assert {h.key: h.value for h in refused.response_headers_to_add} == {"retry-after": "10"}
    assert refused.raw_body == b"too many calls: 6 per minute are allowed; ask again in 10 s"
    status = refused.statuses[0]
    assert (status.code, status.current_limit.requests_per_unit, status.limit_remaining) == (Response.OVER_LIMIT, 6, 0)
    assert status.duration_until_reset.seconds == 60


async def test_a_call_may_count_as_several(redis: Redis) -> None:
    service = RateLimitService(Limiter(redis, 6))
    answer = await service.ShouldRateLimit(asked(hits=4), None)
    assert answer.statuses[0].limit_remaining == 2
    assert (await service.ShouldRateLimit(asked(hits=3), None)).overall_code == Response.OVER_LIMIT


async def test_what_names_no_client_passes(redis: Redis) -> None:
    service = RateLimitService(Limiter(redis, 1))
    request = rls_pb2.RateLimitRequest(domain="sentinel", descriptors=[rls_pb2.Descriptor()])
    for _ in range(3):
        assert (await service.ShouldRateLimit(request, None)).overall_code == Response.OK


async def test_a_limit_of_0_lets_everything_pass_and_asks_nobody() -> None:
    client = open_redis(f"redis://127.0.0.1:{free_port()}/0")
    service = RateLimitService(Limiter(client, 0))
    for _ in range(3):
        assert (await service.ShouldRateLimit(asked(), None)).overall_code == Response.OK
    await client.aclose()


async def test_while_redis_is_away_everything_passes_and_is_counted(redis_server: RedisServer) -> None:
    client = open_redis(redis_server.url, timeout=0.1)
    service = RateLimitService(Limiter(client, 1))
    await service.ShouldRateLimit(asked(), None)
    before = REGISTRY.get_sample_value("sentinel_rate_limit_unchecked_total") or 0
    redis_server.pause()
    try:
        async with asyncio.timeout(1):
            for _ in range(50):
                assert (await service.ShouldRateLimit(asked(), None)).overall_code == Response.OK
    finally:
        redis_server.resume()
        await client.aclose()
    assert REGISTRY.get_sample_value("sentinel_rate_limit_unchecked_total") == before + 50
