"""The executor's side of a session, against a real gRPC server: what survives what."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sentinel.v1 import executor_pb2, status_pb2

from services.executor import languages
from services.executor.attempt import Attempt
from services.executor.languages import load_languages
from services.executor.session import Sessions
from tests.unit.executor.fakes import FakePool, FakeScheduler, Script, assignment, serve, until

Pb = executor_pb2
LANGUAGES = {language.name: language for language in load_languages(Path(languages.__file__).parent / "languages")}
TOKEN = b"t" * 16


@asynccontextmanager
async def executor(*addresses: str, pool: FakePool, slots: int = 2) -> AsyncIterator[Sessions]:
    semaphore = asyncio.Semaphore(slots)

    def begin(given: executor_pb2.Assignment, changed: Callable[[float], None]) -> Attempt:
        return Attempt(given, pool=pool, languages=LANGUAGES, slots=semaphore, executor_id="e1", changed=changed)

    sessions = Sessions(
        addresses=addresses,
        executor_id="e1",
        slots=slots,
        languages=[status_pb2.Language(name="python")],
        begin=begin,
        rng=random.Random(1),
    )
    running = asyncio.ensure_future(sessions.run())
    try:
        yield sessions
    finally:
        running.cancel()
        await asyncio.wait({running}, timeout=10)
        if not running.cancelled():
            running.result()


async def test_it_says_who_it_is_and_what_it_can_do() -> None:
    scheduler = FakeScheduler()
    async with serve(scheduler) as (address, _), executor(address, pool=FakePool(), slots=3):
        connection = await scheduler.connection()

        assert connection.hello.executor_id == "e1"
        assert connection.hello.slots == 3
        assert [language.name for language in connection.hello.languages] == ["python"]
        assert not connection.hello.held


async def test_it_shows_signs_of_life() -> None:
    scheduler = FakeScheduler(heartbeat_ms=20)
    async with serve(scheduler) as (address, _), executor(address, pool=FakePool()):
        connection = await scheduler.connection()

        for _ in range(3):
            await connection.message("heartbeat")


async def test_an_assignment_is_run_reported_and_forgotten_once_settled() -> None:
    scheduler = FakeScheduler()
    async with serve(scheduler) as (address, _), executor(address, pool=FakePool()) as sessions:
        connection = await scheduler.connection()
        connection.say(assignment=assignment(TOKEN))
        reports = await connection.reports_to_end()

        assert [report.number for report in reports] == [1, 2, 3]
        assert reports[-1].finished.verdict == Pb.VERDICT_SUCCESS
        assert sessions.holding == 1
        connection.say(settled=Pb.Settled(lease_token=TOKEN))
        await until(lambda: sessions.holding == 0)


async def test_the_life_of_a_short_program_is_one_message() -> None:
    scheduler = FakeScheduler()
    async with serve(scheduler) as (address, _), executor(address, pool=FakePool()):
        connection = await scheduler.connection()
        connection.say(assignment=assignment(TOKEN))
        await connection.reports_to_end()

        assert connection.messages == 1


async def test_news_does_not_wait_for_company_that_does_not_come() -> None:
    scheduler = FakeScheduler(heartbeat_ms=60_000)
    async with serve(scheduler) as (address, _), executor(address, pool=FakePool(Script(gate=asyncio.Event()))):
        connection = await scheduler.connection()
        connection.say(assignment=assignment(TOKEN))
        async with asyncio.timeout(1):
            assert (await connection.report()).HasField("phase")
            assert (await connection.report()).HasField("output")


async def test_a_repeated_assignment_runs_once() -> None:
    scheduler, pool = FakeScheduler(), FakePool()
    async with serve(scheduler) as (address, _), executor(address, pool=pool):
        connection = await scheduler.connection()
        connection.say(assignment=assignment(TOKEN))
        connection.say(assignment=assignment(TOKEN))
        await connection.reports_to_end()
        await connection.message("heartbeat")

        assert len(pool.boxes) == 1


async def test_after_a_lost_connection_the_same_reports_come_again_from_number_1() -> None:
    scheduler = FakeScheduler()
    async with serve(scheduler) as (address, _), executor(address, pool=FakePool()):
        first = await scheduler.connection()
        first.say(assignment=assignment(TOKEN))
        before = await first.reports_to_end()
        first.hang_up()
        second = await scheduler.connection()

        assert [(held.attempt, held.lease_token) for held in second.hello.held] == [(1, TOKEN)]
        after = await second.reports_to_end()
        assert [r.SerializeToString() for r in after] == [r.SerializeToString() for r in before]


async def test_a_program_runs_on_while_nobody_listens() -> None:
    gate = asyncio.Event()
    scheduler, pool = FakeScheduler(), FakePool(Script(gate=gate))
    async with executor_and_address(pool) as address:
        async with serve(scheduler, address):
            connection = await scheduler.connection()
            connection.say(assignment=assignment(TOKEN))
            await connection.report()
        gate.set()
        await until(lambda: pool.lent == 0)
        async with serve(scheduler, address):
            again = await scheduler.connection()

            assert (await again.reports_to_end())[-1].finished.verdict == Pb.VERDICT_SUCCESS


@asynccontextmanager
async def executor_and_address(pool: FakePool) -> AsyncIterator[str]:
    """An executor that dials a port on which a test may start and stop servers."""
    async with serve(FakeScheduler()) as (address, _):
        pass
    async with executor(address, pool=pool):
        yield address


async def test_output_stops_at_the_credit_and_goes_on_with_more() -> None:
    scheduler = FakeScheduler(credit=8)
    async with serve(scheduler) as (address, _), executor(address, pool=FakePool(Script(output=b"123456789"))):
        connection = await scheduler.connection()
        connection.say(assignment=assignment(TOKEN))
        assert (await connection.report()).HasField("phase")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await connection.report()
        connection.say(credit=Pb.OutputCredit(lease_token=TOKEN, bytes=1))

        reports = await connection.reports_to_end()
        assert reports[0].output.data == b"123456789"


async def test_a_cancel_ends_the_program_with_its_verdict() -> None:
    scheduler = FakeScheduler()
    async with serve(scheduler) as (address, _), executor(address, pool=FakePool(Script(gate=asyncio.Event()))):
        connection = await scheduler.connection()
        connection.say(assignment=assignment(TOKEN))
        await connection.report()
        connection.say(cancel=Pb.CancelAttempt(lease_token=TOKEN))

        assert (await connection.reports_to_end())[-1].finished.verdict == Pb.VERDICT_CANCELLED


async def test_a_lost_lease_kills_the_program_and_is_not_spoken_of_again() -> None:
    scheduler, pool = FakeScheduler(), FakePool(Script(gate=asyncio.Event()))
    async with serve(scheduler) as (address, _), executor(address, pool=pool) as sessions:
        connection = await scheduler.connection()
        connection.say(assignment=assignment(TOKEN))
        await connection.report()
        connection.say(stale=Pb.Stale(lease_token=TOKEN))
        await until(lambda: pool.lent == 0 and sessions.holding == 0)
        connection.hang_up()

        assert not (await scheduler.connection()).hello.held


async def test_what_is_said_about_unknown_attempts_is_ignored() -> None:
    scheduler = FakeScheduler()
    async with serve(scheduler) as (address, _), executor(address, pool=FakePool()):
        connection = await scheduler.connection()
        for kind, message in (
            ("cancel", Pb.CancelAttempt),
            ("credit", Pb.OutputCredit),
            ("settled", Pb.Settled),
            ("stale", Pb.Stale),
            ("stdin", Pb.StdinChunk),
            ("signal", Pb.SignalAttempt),
        ):
            connection.say(**{kind: message(lease_token=b"unknown")})
        connection.say(assignment=assignment(TOKEN))

        assert (await connection.reports_to_end())[-1].HasField("finished")


async def test_a_leaving_scheduler_sends_it_to_another_with_what_it_holds() -> None:
    one, other = FakeScheduler(), FakeScheduler()
    pool = FakePool(Script(gate=asyncio.Event()))
    async with serve(one) as (first, _), serve(other) as (second, _), executor(first, second, pool=pool):
        tasks = {asyncio.ensure_future(s.connection()): s for s in (one, other)}
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        connection = done.pop().result()
        connection.say(assignment=assignment(TOKEN))
        await connection.report()
        connection.say(drain=Pb.Drain())
        adopted = await asyncio.wait_for(pending.pop(), 10)

        assert [held.lease_token for held in adopted.hello.held] == [TOKEN]
        assert (await adopted.report()).number == 1


async def test_a_scheduler_that_refuses_is_left_for_another() -> None:
    one, other = FakeScheduler(), FakeScheduler()
    one.refuse = True
    async with serve(one) as (first, _), serve(other) as (second, _), executor(first, second, pool=FakePool()):
        assert (await other.connection()).hello.executor_id == "e1"


async def test_draining_finishes_what_runs_and_then_leaves() -> None:
    gate = asyncio.Event()
    scheduler, pool = FakeScheduler(), FakePool(Script(gate=gate))
    async with serve(scheduler) as (address, _), executor(address, pool=pool) as sessions:
        connection = await scheduler.connection()
        connection.say(assignment=assignment(TOKEN))
        await connection.report()
        sessions.drain()
        await connection.message("draining")
        assert not connection.over.is_set()
        gate.set()
        await connection.reports_to_end()
        connection.say(settled=Pb.Settled(lease_token=TOKEN))

        await asyncio.wait_for(connection.over.wait(), 10)
        assert sessions.holding == 0


async def test_draining_with_nothing_held_leaves_at_once() -> None:
    scheduler = FakeScheduler()
    async with serve(scheduler) as (address, _), executor(address, pool=FakePool()) as sessions:
        connection = await scheduler.connection()
        sessions.drain()

        await asyncio.wait_for(connection.over.wait(), 5)


async def test_draining_with_nobody_there_and_nothing_held_ends() -> None:
    async with serve(FakeScheduler()) as (address, _):
        pass
    sessions = Sessions(
        addresses=[address], executor_id="e1", slots=1, languages=[], begin=lambda _a, _c: pytest.fail("no work")
    )
    sessions.drain()

    await asyncio.wait_for(sessions.run(), 10)


async def test_many_attempts_at_once_are_all_reported_without_a_gap() -> None:
    scheduler = FakeScheduler()
    async with serve(scheduler) as (address, _), executor(address, pool=FakePool(), slots=8) as sessions:
        connection = await scheduler.connection()
        tokens = [bytes([number]) * 16 for number in range(50)]
        for token in tokens:
            connection.say(assignment=assignment(token))
        numbers: dict[bytes, list[int]] = {token: [] for token in tokens}
        while any(len(seen) < 3 for seen in numbers.values()):
            report = await connection.report()
            numbers[report.lease_token].append(report.number)
            if report.HasField("finished"):
                connection.say(settled=Pb.Settled(lease_token=report.lease_token))

        assert all(seen == [1, 2, 3] for seen in numbers.values())
        await until(lambda: sessions.holding == 0)
