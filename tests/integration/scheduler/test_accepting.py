"""Accepted means committed: idempotency, defaults, outages of the broker and the database, the stated backlog."""

import asyncio
from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from sentinel.v1 import scheduler_pb2, submission_pb2

from deploy.local.mesh import Mesh
from deploy.local.supervisor import Supervisor
from tests.fakes.scripted_executor import ScriptedExecutor
from tests.integration.scheduler.conftest import StartScheduler
from tests.integration.scheduler.test_leases import program, row


def details(error: grpc.aio.AioRpcError, kind: type) -> list[object]:
    status = rpc_status.from_call(cast("Any", error))
    assert status is not None
    found = []
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            found.append(message)
    return found


async def test_the_same_key_ten_times_at_once_makes_one_submission(
    start_scheduler: StartScheduler, database: asyncpg.Connection
) -> None:
    first, second = await start_scheduler(), await start_scheduler()
    async with ScriptedExecutor(first.sessions).session():
        requests = [program(idempotency_key="once") for _ in range(10)]
        stubs = [first.stub, second.stub] * 5
        answers = await asyncio.gather(*(s.Submit(r) for s, r in zip(stubs, requests, strict=True)))

    assert len({a.job_id for a in answers}) == 1
    assert await database.fetchval("select count(*) from submissions") == 1
    assert await database.fetchval("select count(*) from idempotency_keys") == 1


async def test_the_same_key_with_another_body_is_refused(
    start_scheduler: StartScheduler, database: asyncpg.Connection
) -> None:
    scheduler = await start_scheduler()
    async with ScriptedExecutor(scheduler.sessions).session():
        await scheduler.stub.Submit(program("print(1)", idempotency_key="k"))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await scheduler.stub.Submit(program("print(2)", idempotency_key="k"))

    assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS
    (info,) = details(refused.value, error_details_pb2.ErrorInfo)
    assert info.reason == "IDEMPOTENCY_KEY_REUSED"  # type: ignore[attr-defined]
    assert await database.fetchval("select count(*) from submissions") == 1


async def test_every_default_is_filled_in_before_it_is_written(
    start_scheduler: StartScheduler, database: asyncpg.Connection
) -> None:
    scheduler = await start_scheduler()
    async with ScriptedExecutor(scheduler.sessions).session() as executor:
        job = (await scheduler.stub.Submit(scheduler_pb2.SubmitRequest(language="PY", source_code="x"))).job_id
        told = (await executor.assignments.get()).submission
        kept = scheduler_pb2.SubmitRequest.FromString((await row(database, job))["request"])

    assert told == kept
    assert (kept.language, kept.time_limit_ms, kept.cpu_time_limit_ms) == ("python", 5000, 5000)
    assert (kept.memory_limit_kb, kept.output_limit_kb, kept.process_limit) == (262_144, 64, 64)


@pytest.mark.usefixtures("database")
async def test_an_unknown_language_is_refused_with_those_there_are(start_scheduler: StartScheduler) -> None:
    scheduler = await start_scheduler()
    async with ScriptedExecutor(scheduler.sessions, languages=("c", "python")).session():
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await scheduler.stub.Submit(scheduler_pb2.SubmitRequest(language="cobol", source_code="x"))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "this deployment runs c and python" in (refused.value.details() or "")


async def test_a_batch_refuses_only_what_is_wrong_in_it(
    start_scheduler: StartScheduler, database: asyncpg.Connection
) -> None:
    scheduler = await start_scheduler()
    async with ScriptedExecutor(scheduler.sessions).session():
        wrong = program(time_limit_ms=0)
        answer = await scheduler.stub.SubmitBatch(
            scheduler_pb2.SubmitBatchRequest(submissions=[program(), wrong, program()])
        )
    assert [bool(item.job_id) for item in answer.items] == [True, False, True]
    assert "time_limit_ms" in answer.items[1].error.message
    assert await database.fetchval("select count(*) from submissions") == 2


async def test_while_the_broker_is_down_work_is_accepted_up_to_the_stated_backlog(
    start_scheduler: StartScheduler, database: asyncpg.Connection, infra: Mesh
) -> None:
    """Past it: RESOURCE_EXHAUSTED with a time to retry. After it: everything accepted is run."""
    scheduler = await start_scheduler(max_unpublished=20)
    supervisor = Supervisor(infra)
    executor = ScriptedExecutor(scheduler.sessions, slots=4)
    async with executor.session():
        await asyncio.to_thread(supervisor.stop, "rabbitmq")
        try:
            accepted, refused = [], None
            for _ in range(60):
                try:
                    accepted.append((await scheduler.stub.Submit(program())).job_id)
                except grpc.aio.AioRpcError as error:
                    refused = error
                    break
                await asyncio.sleep(0.01)
        finally:
            await asyncio.to_thread(supervisor.start, "rabbitmq")
        assert len(accepted) >= 20
        assert refused is not None
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        (retry,) = details(refused, error_details_pb2.RetryInfo)
        assert retry.retry_delay.seconds > 0  # type: ignore[attr-defined]
        trailing = dict(refused.trailing_metadata() or ())
        assert (trailing["x-http-code"], int(trailing["retry-after"]) > 0) == ("503", True)

        async with asyncio.timeout(40):
            for _ in accepted:
                executor.run(await executor.assignments.get())
                await executor.answer("settled")
    states = await database.fetch("select state, count(*) from submissions group by 1")
    assert [tuple(s) for s in states] == [("FINISHED", len(accepted))]


@pytest.mark.usefixtures("database")
async def test_a_submit_during_a_restart_of_the_database_waits_and_is_accepted_once(
    start_scheduler: StartScheduler, restart: Callable[[str], None], infra: Mesh
) -> None:
    scheduler = await start_scheduler()
    async with ScriptedExecutor(scheduler.sessions, slots=1).session():
        await scheduler.stub.Submit(program())
        restarting = asyncio.create_task(asyncio.to_thread(restart, "postgres"))
        answers = []
        try:
            while not restarting.done():
                answers.append((await scheduler.stub.Submit(program())).job_id)
        finally:
            await restarting
    again = await asyncpg.connect(infra.database_url)
    try:
        known = {str(r["id"]) for r in await again.fetch("select id from submissions")}
        assert set(answers) <= known
        assert len(known) == len(answers) + 1
    finally:
        await again.close()


@pytest.mark.usefixtures("database")
async def test_cancel_of_a_queued_submission_ends_it_at_once_and_it_never_runs(start_scheduler: StartScheduler) -> None:
    scheduler = await start_scheduler()
    executor = ScriptedExecutor(scheduler.sessions, slots=1)
    async with executor.session():
        await scheduler.stub.Submit(program())
        busy = await executor.assignments.get()
        job = (await scheduler.stub.Submit(program())).job_id
        for _ in range(2):
            answer = await scheduler.stub.Cancel(scheduler_pb2.CancelRequest(job_id=job))
            assert answer.submission.status == submission_pb2.CANCELLED
        executor.run(busy)
        await executor.answer("settled")
        await asyncio.sleep(0.3)
        assert executor.assignments.empty()


@pytest.mark.usefixtures("database")
async def test_cancel_of_an_unknown_submission_is_not_found(start_scheduler: StartScheduler) -> None:
    scheduler = await start_scheduler()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await scheduler.stub.Cancel(scheduler_pb2.CancelRequest(job_id=str(UUID(int=7 << 76 | 2 << 62))))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.usefixtures("database")
async def test_a_caller_of_run_who_goes_away_cancels_the_submission(start_scheduler: StartScheduler) -> None:
    scheduler = await start_scheduler()
    executor = ScriptedExecutor(scheduler.sessions)
    async with executor.session():
        call = scheduler.stub.Run(scheduler_pb2.RunRequest(submission=program()))
        held = await executor.assignments.get()
        call.cancel()
        cancel = await executor.answer("cancel")
        assert cancel.cancel.lease_token == held.lease_token


async def test_a_caller_of_run_who_asked_to_keep_it_may_go_away(
    start_scheduler: StartScheduler, database: asyncpg.Connection
) -> None:
    scheduler = await start_scheduler()
    executor = ScriptedExecutor(scheduler.sessions)
    async with executor.session():
        call = scheduler.stub.Run(scheduler_pb2.RunRequest(submission=program(), keep_on_disconnect=True))
        held = await executor.assignments.get()
        call.cancel()
        await asyncio.sleep(0.3)
        executor.run(held)
        await executor.answer("settled")
        assert executor.answers.empty()
    assert (await row(database, held.job_id))["verdict"] == "SUCCESS"
