"""services.record.watch against a real PostgreSQL and a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from redis.asyncio import Redis
from sentinel.v1 import event_pb2, submission_pb2

from services.kit.errors import Unavailable, UnknownJob
from services.record.live import stream_key
from services.record.model import RESULT_NUMBER, SEQUENCE_BASE, State
from services.record.watch import Sources, finished, watch
from tests.integration.gateway.scribe import COMPILE, STDERR, STDOUT, Run, Scribe, new_id
from tests.integration.gateway.servers import RedisServer

RUNNING, COMPILING = submission_pb2.RUNNING, submission_pb2.COMPILING
CHUNKS = ["früh ".encode(), "日本語 ".encode(), b"plain\n", b"\xff\x00\xfe", "🙂".encode()]


async def collect(events: AsyncIterator[event_pb2.Event]) -> list[event_pb2.Event]:
    return [event async for event in events]


async def take(events: AsyncIterator[event_pb2.Event], count: int) -> list[event_pb2.Event]:
    return [await anext(events) for _ in range(count)]


def joined(events: list[event_pb2.Event], stream: Any) -> bytes:
    """The stream's bytes; asserts that offsets have neither gap nor overlap."""
    data = b""
    for event in events:
        if event.HasField("output") and event.output.stream == stream:
            assert event.output.offset == len(data)
            data += event.output.data
    return data


async def run_through(run: Run, *, whole: bool = True) -> None:
    await run.claim()
    await run.status(RUNNING)
    for chunk in CHUNKS:
        run.output(STDOUT, chunk)
        run.output(STDERR, chunk[::-1])
    await run.finish(whole=whole)


async def settled(redis: Redis, run: Run) -> None:
    """Returns when everything told so far stands in Redis."""
    last = run.events[-1].sequence
    wanted = f"{last // SEQUENCE_BASE}-{last % SEQUENCE_BASE}".encode()
    while not (found := await redis.xrevrange(stream_key(run.job), count=1)) or found[0][0] != wanted:
        await asyncio.sleep(0.005)


async def test_a_finished_submission_is_told_whole_and_ends_with_its_result(scribe: Scribe, sources: Sources) -> None:
    run = await scribe.accept()
    await run_through(run)

    events = await collect(watch(run.job, sources))

    assert events[0].HasField("snapshot")
    assert joined(events, STDOUT) == b"".join(CHUNKS)
    assert joined(events, STDERR) == b"".join(chunk[::-1] for chunk in CHUNKS)
    assert events[-1].result.submission.stdout_base64 == b"".join(CHUNKS)
    assert [e.WhichOneof("kind") for e in events].count("result") == 1


@pytest.mark.parametrize("live", [True, False], ids=["from redis and postgres", "from postgres alone"])
async def test_resuming_after_any_sequence_tells_exactly_the_rest(
    scribe: Scribe, sources: Sources, redis: Redis, *, live: bool
) -> None:
    run = await scribe.accept()
    await run_through(run)
    if not live:
        await redis.delete(stream_key(run.job))
    whole = await collect(watch(run.job, sources))
    body = [event for event in whole if event.HasField("output")]

    for after in [0, *(event.sequence for event in run.events)]:
        rest = await collect(watch(run.job, sources, after=after))
        assert [e for e in rest if e.HasField("output")] == [e for e in body if e.sequence > after]
        assert rest[-1].HasField("result")


async def test_resuming_after_any_sequence_of_a_running_submission_tells_exactly_the_rest(
    scribe: Scribe, sources: Sources, redis: Redis
) -> None:
    run = await scribe.accept()
    await run.claim()
    await run.status(RUNNING)
    for chunk in CHUNKS:
        run.output(STDOUT, chunk)
    await settled(redis, run)
    afters = [0, *(event.sequence for event in run.events)]
    watches = [watch(run.job, sources, after=after) for after in afters]
    snapshots = [await anext(events) for events in watches]
    assert all(snapshot.snapshot.status == RUNNING for snapshot in snapshots)

    following = [asyncio.create_task(collect(events)) for events in watches]
    run.output(STDOUT, b"the last word")
    await run.finish()

    outputs = [event for event in run.events if event.HasField("output")]
    for after, rest in zip(afters, await asyncio.gather(*following), strict=True):
        assert [e for e in rest if e.HasField("output")] == [e for e in outputs if e.sequence > after]
        assert rest[-1].result.submission.status == submission_pb2.SUCCESS


async def test_events_arrive_while_the_program_runs(scribe: Scribe, sources: Sources) -> None:
    run = await scribe.accept()
    async with asyncio.timeout(3), aclosing(watch(run.job, sources)) as events:
        assert (await anext(events)).snapshot.status == submission_pb2.QUEUED
        await run.claim()
        await run.status(RUNNING)
        assert (await anext(events)).status.status == RUNNING
        run.output(STDOUT, b"now")
        assert (await anext(events)).output.data == b"now"


async def test_a_later_attempt_begins_at_offset_0_and_the_word_never_goes_back(
    scribe: Scribe, sources: Sources
) -> None:
    run = await scribe.accept()
    following = asyncio.create_task(collect(watch(run.job, sources)))
    await run.claim()
    await run.status(COMPILING)
    run.output(COMPILE, b"warning")
    await run.status(RUNNING)
    run.output(STDOUT, b"lost")
    await run.claim()
    await run.status(COMPILING)
    await run.status(RUNNING)
    run.output(STDOUT, b"kept")
    await run.finish()

    events = await following
    words = [event.status.status for event in events if event.HasField("status")]
    assert words == sorted(set(words))
    second = [event for event in events if event.attempt == 2]
    assert joined(second, STDOUT) == b"kept"
    assert events[-1].sequence == 2 * SEQUENCE_BASE + RESULT_NUMBER
    assert not any(event.HasField("gap") for event in events)


async def test_a_voice_from_a_lost_attempt_is_not_heard(scribe: Scribe, sources: Sources, redis: Redis) -> None:
    run = await scribe.accept()
    await run.claim()
    await run.status(RUNNING)
    await run.claim()
    run.output(STDOUT, b"new")
    await settled(redis, run)
    late = event_pb2.Event(sequence=SEQUENCE_BASE + 2, attempt=1)
    late.output.data = b"old"
    scribe.live.tell(run.job, late)
    run.output(STDOUT, b"er")
    await run.finish()

    events = await collect(watch(run.job, sources))

    assert joined(events, STDOUT) == b"newer"


async def test_losing_redis_in_mid_run_costs_no_byte_of_one_who_was_watching(
    scribe: Scribe, sources: Sources, redis: Redis
) -> None:
    run = await scribe.accept()
    await run.claim()
    await run.status(RUNNING)
    run.output(STDOUT, CHUNKS[0])
    await settled(redis, run)
    async with aclosing(watch(run.job, sources)) as events:
        seen = await take(events, 2)
        await redis.flushall()
        following = asyncio.create_task(collect(events))
        for chunk in CHUNKS[1:]:
            run.output(STDOUT, chunk)
        await run.finish()
        seen += await following
    assert joined(seen, STDOUT) == b"".join(CHUNKS)
    assert not any(event.HasField("gap") for event in seen)


async def test_one_who_comes_after_redis_lost_its_data_is_told_of_one_gap_and_gets_every_byte_in_the_end(
    scribe: Scribe, sources: Sources, redis: Redis
) -> None:
    run = await scribe.accept()
    await run.claim()
    await run.status(RUNNING)
    run.output(STDOUT, CHUNKS[0])
    await settled(redis, run)
    await redis.flushall()
    for chunk in CHUNKS[1:3]:
        run.output(STDOUT, chunk)
    await settled(redis, run)
    async with aclosing(watch(run.job, sources)) as events:
        _, gap = await take(events, 2)
        assert (gap.gap.from_sequence, gap.gap.to_sequence) == (SEQUENCE_BASE + 1, SEQUENCE_BASE + 2)
        following = asyncio.create_task(collect(events))
        for chunk in CHUNKS[3:]:
            run.output(STDOUT, chunk)
        await run.finish()
        rest = await following
    assert not any(event.HasField("gap") for event in rest)
    assert joined(rest, STDOUT) == b"".join(CHUNKS)


async def test_a_gap_in_a_later_attempt_is_told_once(scribe: Scribe, sources: Sources, redis: Redis) -> None:
    run = await scribe.accept()
    await run.claim()
    await run.status(RUNNING)
    await settled(redis, run)
    async with aclosing(watch(run.job, sources, after=SEQUENCE_BASE + 1)) as events:
        await anext(events)
        await run.claim()
        await run.status(RUNNING, live=False)
        for _ in range(40):
            run.output(STDOUT, b"x")
        await run.finish()
        rest = await collect(events)
    assert [event.WhichOneof("kind") for event in rest].count("gap") == 1
    assert joined(rest, STDOUT) == b"x" * 40


async def test_with_redis_down_a_watcher_still_gets_words_and_result(
    scribe: Scribe, sources: Sources, redis_server: RedisServer
) -> None:
    run = await scribe.accept()
    redis_server.stop()
    try:
        async with asyncio.timeout(5):
            events = watch(run.job, sources)
            await anext(events)
            await run.claim()
            await run.status(RUNNING)
            assert (await anext(events)).snapshot.status == RUNNING
            run.output(STDOUT, b"unseen until the end")
            await run.finish()
            rest = await collect(events)
        assert joined(rest, STDOUT) == b"unseen until the end"
        assert rest[-1].HasField("result")
    finally:
        redis_server.start()


async def test_what_was_told_while_redis_was_away_is_shown_when_it_is_back(
    scribe: Scribe, sources: Sources, redis_server: RedisServer
) -> None:
    run = await scribe.accept()
    await run.claim()
    redis_server.stop()
    try:
        await run.status(RUNNING)
        run.output(STDOUT, b"kept back")
    finally:
        redis_server.start()
    async with asyncio.timeout(5), aclosing(watch(run.job, sources)) as events:
        async for event in events:
            if event.HasField("output"):
                assert event.output.data == b"kept back"
                break


async def test_a_result_that_was_never_told_is_found_in_the_row(
    scribe: Scribe, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.record.watch._LOOK_AGAIN_SECONDS", 0.05)
    run = await scribe.accept()
    following = asyncio.create_task(collect(watch(run.job, sources)))
    await run.claim()
    await run.status(RUNNING)
    await run.finish(live=False)
    async with asyncio.timeout(3):
        assert (await following)[-1].HasField("result")


async def test_resuming_by_offsets_gives_only_bytes_from_there_on(scribe: Scribe, sources: Sources) -> None:
    run = await scribe.accept()
    await run_through(run)
    out = b"".join(CHUNKS)
    err = b"".join(chunk[::-1] for chunk in CHUNKS)
    for offset in range(len(out) + 1):
        events = await collect(watch(run.job, sources, offsets={STDOUT: offset}))
        got = b"".join(e.output.data for e in events if e.HasField("output") and e.output.stream == STDOUT)
        assert got == out[offset:]
        assert joined(events, STDERR) == err


@pytest.mark.parametrize("whole", [True, False], ids=["told whole", "told bare"])
async def test_a_watcher_that_had_everything_ends_with_the_result_as_told_or_as_stored(
    scribe: Scribe, sources: Sources, *, whole: bool
) -> None:
    run = await scribe.accept()
    following = asyncio.create_task(collect(watch(run.job, sources)))
    while not len(sources.wakes):
        await asyncio.sleep(0)
    await run_through(run, whole=whole)
    async with asyncio.timeout(3):
        events = await following
    assert joined(events, STDOUT) == b"".join(CHUNKS)
    assert events[-1].result.submission.stdout_base64 == b"".join(CHUNKS)
    assert [e.WhichOneof("kind") for e in events].count("result") == 1


async def test_a_cancelled_submission_that_never_ran_ends_at_once(scribe: Scribe, sources: Sources) -> None:
    run = await scribe.accept()
    following = asyncio.create_task(collect(watch(run.job, sources)))
    await run.finish(state=State.CANCELLED)
    async with asyncio.timeout(3):
        events = await following
    assert events[-1].sequence == RESULT_NUMBER
    assert events[-1].result.submission.status == submission_pb2.CANCELLED


async def test_an_unknown_job_is_refused_before_the_first_event(sources: Sources) -> None:
    with pytest.raises(UnknownJob):
        await anext(watch(new_id(), sources))


async def test_draining_ends_every_watch_and_tells_it_to_come_back(scribe: Scribe, sources: Sources) -> None:
    run = await scribe.accept()
    events = watch(run.job, sources)
    await anext(events)
    following = asyncio.create_task(collect(events))
    await asyncio.sleep(0)
    sources.wakes.drain()
    with pytest.raises(Unavailable) as ended:
        await following
    assert ended.value.reason == "DRAINING"
    assert ended.value.retry_after is not None


async def test_waiting_for_the_end_returns_with_the_end(scribe: Scribe, sources: Sources) -> None:
    run = await scribe.accept()
    waiting = asyncio.create_task(finished(run.job, sources, 30))
    await run_through(run)
    async with asyncio.timeout(3):
        assert (await waiting).state is State.FINISHED


async def test_waiting_too_briefly_returns_the_submission_as_it_stands(scribe: Scribe, sources: Sources) -> None:
    run = await scribe.accept()
    assert (await finished(run.job, sources, 0.05)).state is State.QUEUED


async def test_draining_returns_waiters_with_what_there_is(scribe: Scribe, sources: Sources) -> None:
    run = await scribe.accept()
    waiting = asyncio.create_task(finished(run.job, sources, 30))
    while not len(sources.wakes):
        await asyncio.sleep(0)
    sources.wakes.drain()
    async with asyncio.timeout(3):
        assert (await waiting).state is State.QUEUED


async def test_nobody_watching_means_nothing_read(scribe: Scribe, sources: Sources, redis: Redis) -> None:
    run = await scribe.accept()
    await run_through(run)
    await collect(watch(run.job, sources))
    assert len(sources.wakes) == 0
    await scribe.accept()
    clients: Any = await redis.client_list()
    # The one blocking read that was under way ends by itself; then the connection rests.
    async with asyncio.timeout(10):
        while any(client["flags"] == "b" for client in clients):
            await asyncio.sleep(0.05)
            clients = await redis.client_list()
    calls: Any = (await redis.info("commandstats"))["cmdstat_xread"]["calls"]
    (await scribe.accept()).output(STDOUT, b"news of nobody's interest")
    await redis.ping()
    assert (await redis.info("commandstats"))["cmdstat_xread"]["calls"] == calls
