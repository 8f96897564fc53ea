"""Leases, fencing, retries and adoption, by an executor that misbehaves on purpose."""

import asyncio
from uuid import UUID

import aio_pika
import asyncpg
import grpc
import pytest
from sentinel.v1 import evidence_pb2, executor_pb2, scheduler_pb2, submission_pb2

from deploy.local.mesh import Mesh
from services.record.live import open_redis, stream_key
from tests.fakes.scripted_executor import ScriptedExecutor
from tests.integration.scheduler.conftest import RunningScheduler, StartScheduler

Pb = executor_pb2


def program(source: str = "print(42)", **fields: object) -> scheduler_pb2.SubmitRequest:
    return scheduler_pb2.SubmitRequest(language="python", source_code=source, **fields)  # type: ignore[arg-type]


async def row(database: asyncpg.Connection, job: str) -> asyncpg.Record:
    found = await database.fetchrow("select * from submissions where id = $1", UUID(job))
    assert found is not None
    return found


async def until_terminal(database: asyncpg.Connection, job: str, within: float = 10) -> asyncpg.Record:
    async with asyncio.timeout(within):
        while (found := await row(database, job))["finished_at"] is None:
            await asyncio.sleep(0.02)
    return found


async def test_an_honest_run_is_settled_once_with_output_and_timeline(
    start_scheduler: StartScheduler, database: asyncpg.Connection
) -> None:
    scheduler = await start_scheduler()
    async with ScriptedExecutor(scheduler.sessions).session() as executor:
        job = (await scheduler.stub.Submit(program())).job_id
        executor.run(await executor.assignments.get(), b"42\n")
        await executor.answer("settled")
        settled = await row(database, job)

    assert (settled["state"], settled["verdict"], settled["attempt"]) == ("FINISHED", "SUCCESS", 1)
    assert settled["stdout"] == b"42\n"
    assert len(settled["timeline"]) == 3 * 4 - 4  # phase and output; the end has no entry


async def test_a_late_report_from_a_lost_lease_is_refused_and_changes_nothing(
    start_scheduler: StartScheduler, database: asyncpg.Connection
) -> None:
    """The second executor's verdict stands; the first one's is answered with Stale."""
    scheduler = await start_scheduler()
    slow = ScriptedExecutor(scheduler.sessions, name="slow", slots=1)
    async with slow.session():
        job = (await scheduler.stub.Submit(program())).job_id
        lost = await slow.assignments.get()
        slow.silent = True
        async with ScriptedExecutor(scheduler.sessions, name="quick", slots=1).session() as quick:
            held = await asyncio.wait_for(quick.assignments.get(), 10)
            assert (held.attempt, held.job_id) == (2, job)
            quick.run(held, b"second\n")
            await quick.answer("settled")
            before = await row(database, job)

            slow.held = [Pb.HeldAttempt(job_id=job, attempt=1, lease_token=lost.lease_token)]
            slow.silent = False
            async with slow.session():
                slow.run(lost, b"first\n")
                stale = await slow.answer("stale")
                assert stale.stale.lease_token == lost.lease_token

    assert await row(database, job) == before
    assert before["stdout"] == b"second\n"


async def test_after_three_lost_attempts_the_submission_fails_with_a_dead_letter_that_says_why(
    start_scheduler: StartScheduler, database: asyncpg.Connection, infra: Mesh
) -> None:
    scheduler = await start_scheduler()
    async with ScriptedExecutor(scheduler.sessions).session() as executor:
        job = (await scheduler.stub.Submit(program())).job_id
        for attempt in (1, 2, 3):
            assignment = await asyncio.wait_for(executor.assignments.get(), 10)
            assert assignment.attempt == attempt
            failure = submission_pb2.Failure(reason="SANDBOX_FAILED", message="no cgroup")
            executor.report(assignment.lease_token, 1, abandoned=Pb.Abandoned(failure=failure))
        failed = await until_terminal(database, job)

    assert (failed["state"], failed["failure_reason"]) == ("FAILED", "ATTEMPTS_EXHAUSTED")
    assert "no cgroup" in failed["failure_message"]
    async with await aio_pika.connect(infra.rabbitmq_url) as connection:
        queue = await (await connection.channel()).declare_queue("dead_letter_queue", passive=True)
        letter = await queue.get(timeout=5)
        assert letter is not None
        await letter.ack()
        assert (letter.body, letter.headers["reason"]) == (UUID(job).bytes, "SANDBOX_FAILED")


async def test_a_reconnecting_executor_keeps_its_attempt_and_repeats_change_nothing(
    start_scheduler: StartScheduler, database: asyncpg.Connection, infra: Mesh
) -> None:
    """It goes to another scheduler, sends everything again, and the live stream has each event once."""
    first, second = await start_scheduler(), await start_scheduler()
    executor = ScriptedExecutor(first.sessions, slots=1)
    async with executor.session():
        job = (await first.stub.Submit(program())).job_id
        held = await executor.assignments.get()
        executor.report(held.lease_token, 1, phase=Pb.PhaseStarted(phase=evidence_pb2.PHASE_RUN))
        executor.report(
            held.lease_token, 2, output=Pb.OutputChunk(stream=evidence_pb2.STREAM_STDOUT, offset=0, data=b"half ")
        )
        await asyncio.sleep(0.2)
    executor.address = second.sessions
    executor.held = [Pb.HeldAttempt(job_id=job, attempt=1, lease_token=held.lease_token)]
    async with executor.session():
        executor.report(held.lease_token, 1, phase=Pb.PhaseStarted(phase=evidence_pb2.PHASE_RUN))
        for number, (offset, data) in enumerate(((0, b"half "), (5, b"and half\n")), start=2):
            chunk = Pb.OutputChunk(stream=evidence_pb2.STREAM_STDOUT, offset=offset, data=data)
            executor.report(held.lease_token, number, output=chunk)
        executor.report(held.lease_token, 4, finished=Pb.Finished(verdict=Pb.VERDICT_SUCCESS))
        await executor.answer("settled")

    settled = await row(database, job)
    assert (settled["attempt"], settled["verdict"], settled["stdout"]) == (1, "SUCCESS", b"half and half\n")
    async with open_redis(infra.redis_url) as redis:
        ids = [entry_id for entry_id, _ in await redis.xrange(stream_key(UUID(job))) or []]
    assert ids == [b"1-1", b"1-2", b"1-3", b"1-999999"]


@pytest.mark.parametrize(("number", "offset", "why"), [(3, 0, "a number is missing"), (2, 7, "an offset leaves a gap")])
@pytest.mark.usefixtures("database")
async def test_reports_out_of_order_end_the_session(
    start_scheduler: StartScheduler, number: int, offset: int, why: str
) -> None:
    scheduler = await start_scheduler()
    executor = ScriptedExecutor(scheduler.sessions)
    async with executor.session():
        await scheduler.stub.Submit(program())
        held = await executor.assignments.get()
        executor.report(held.lease_token, 1, phase=Pb.PhaseStarted(phase=evidence_pb2.PHASE_RUN))
        chunk = Pb.OutputChunk(stream=evidence_pb2.STREAM_STDOUT, offset=offset, data=b"x")
        executor.report(held.lease_token, number, output=chunk)
        async with asyncio.timeout(5):
            assert await executor.call.code() is grpc.StatusCode.INVALID_ARGUMENT, why


@pytest.mark.usefixtures("database")
async def test_no_executor_is_given_more_than_its_slots(start_scheduler: StartScheduler) -> None:
    """The backlog stays with the broker, where an autoscaler sees it."""
    scheduler = await start_scheduler()
    async with ScriptedExecutor(scheduler.sessions, slots=2).session() as executor:
        for _ in range(5):
            await scheduler.stub.Submit(program())
        first, second = [await executor.assignments.get() for _ in range(2)]
        await asyncio.sleep(0.5)
        assert executor.assignments.empty()
        executor.run(first)
        third = await asyncio.wait_for(executor.assignments.get(), 5)
        assert third.job_id not in {first.job_id, second.job_id}
        for assignment in (second, third):
            executor.run(assignment)
        for _ in range(2):
            executor.run(await asyncio.wait_for(executor.assignments.get(), 5))
        for _ in range(5):
            await executor.answer("settled")


async def test_a_message_delivered_many_times_runs_once(
    start_scheduler: StartScheduler, database: asyncpg.Connection, infra: Mesh
) -> None:
    scheduler = await start_scheduler()
    async with ScriptedExecutor(scheduler.sessions, slots=4).session() as executor:
        job = (await scheduler.stub.Submit(program())).job_id
        held = await executor.assignments.get()
        async with await aio_pika.connect(infra.rabbitmq_url) as connection:
            exchange = await (await connection.channel()).get_exchange("sentinel.direct")
            for _ in range(20):
                await exchange.publish(aio_pika.Message(UUID(job).bytes), "execute")
            await asyncio.sleep(0.5)
            assert executor.assignments.empty()
            executor.run(held)
            await executor.answer("settled")
            await exchange.publish(aio_pika.Message(UUID(job).bytes), "execute")
            await asyncio.sleep(0.3)

    assert executor.assignments.empty()
    assert (await row(database, job))["attempt"] == 1


@pytest.mark.usefixtures("database")
async def test_a_message_that_is_not_ours_goes_to_the_dead_letters_and_stops_nobody(
    start_scheduler: StartScheduler, infra: Mesh
) -> None:
    scheduler = await start_scheduler()
    async with (
        ScriptedExecutor(scheduler.sessions).session() as executor,
        await aio_pika.connect(infra.rabbitmq_url) as connection,
    ):
        channel = await connection.channel()
        exchange = await channel.get_exchange("sentinel.direct")
        await exchange.publish(aio_pika.Message(b"poison"), "execute")
        await scheduler.stub.Submit(program())
        executor.run(await asyncio.wait_for(executor.assignments.get(), 5))
        await executor.answer("settled")
        letters = await channel.declare_queue("dead_letter_queue", passive=True)
        async with asyncio.timeout(10):
            while (letter := await letters.get(fail=False)) is None:
                await asyncio.sleep(0.1)
        await letter.ack()
        assert letter.body == b"poison"


@pytest.mark.usefixtures("database")
async def test_a_silent_executor_is_told_that_its_heartbeat_was_missed(start_scheduler: StartScheduler) -> None:
    scheduler = await start_scheduler()
    executor = ScriptedExecutor(scheduler.sessions)
    async with executor.session():
        executor.silent = True
        async with asyncio.timeout(5):
            assert await executor.call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_leaving_scheduler_sends_its_executors_elsewhere(
    start_scheduler: StartScheduler, database: asyncpg.Connection
) -> None:
    leaving: RunningScheduler = await start_scheduler()
    staying = await start_scheduler()
    executor = ScriptedExecutor(leaving.sessions, slots=1)
    async with executor.session():
        job = (await leaving.stub.Submit(program())).job_id
        held = await executor.assignments.get()
        leaving.stop.set()
        await executor.answer("drain")
    executor.address = staying.sessions
    executor.held = [Pb.HeldAttempt(job_id=job, attempt=1, lease_token=held.lease_token)]
    async with executor.session():
        executor.run(held)
        await executor.answer("settled")
    assert (await row(database, job))["attempt"] == 1


@pytest.mark.usefixtures("database")
async def test_an_executor_that_hangs_up_leaves_no_error_in_the_log(
    start_scheduler: StartScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = await start_scheduler()
    for _ in range(3):
        async with ScriptedExecutor(scheduler.sessions).session():
            pass
        await asyncio.sleep(0.2)
    assert not [record.getMessage() for record in caplog.records if "Unexpected" in record.getMessage()]
