"""services.kit.batch against a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest

from services.kit.batch import Batcher
from services.kit.errors import Unavailable
from services.kit.postgres import connect_hot
from tests.integration.gateway.servers import Postgres

INSERT = "insert into numbers select * from unnest($1::int[]) on conflict do nothing"


class Numbers:
    """Writes numbers; 13 is refused by the table."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.statements: list[int] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def connect(self) -> asyncpg.Connection:
        return await connect_hot(self._dsn, "tests")

    async def execute(self, connection: asyncpg.Connection, items: Sequence[int]) -> Sequence[int]:
        await self.hold.wait()
        self.statements.append(len(items))
        await connection.execute(INSERT, items)
        return [item * 2 for item in items]


@pytest.fixture
async def numbers(postgres: Postgres, pool: asyncpg.Pool) -> Numbers:
    await pool.execute("create table if not exists numbers (n int primary key check (n <> 13))")
    await pool.execute("truncate numbers")
    return Numbers(postgres.dsn)


@asynccontextmanager
async def running(batcher: Batcher[int, int]) -> AsyncIterator[Batcher[int, int]]:
    serving = asyncio.create_task(batcher.run())
    try:
        yield batcher
    finally:
        serving.cancel()
        await asyncio.wait([serving])


async def test_what_gathers_during_one_statement_goes_into_the_next_together(numbers: Numbers) -> None:
    numbers.hold.clear()
    async with running(Batcher("t", numbers.connect, numbers.execute)) as batcher:
        first = asyncio.create_task(batcher.submit(0))
        while len(batcher) or not first:
            await asyncio.sleep(0)
        rest = [asyncio.create_task(batcher.submit(n)) for n in range(20, 70)]
        while len(batcher) < 50:
            await asyncio.sleep(0)
        numbers.hold.set()
        assert await asyncio.gather(first, *rest) == [0, *(n * 2 for n in range(20, 70))]
    assert sum(numbers.statements) == 51
    assert len(numbers.statements) <= 2


async def test_one_poisonous_row_fails_alone(numbers: Numbers, pool: asyncpg.Pool) -> None:
    async with running(Batcher("t", numbers.connect, numbers.execute)) as batcher:
        outcomes = await asyncio.gather(*(batcher.submit(n) for n in range(10, 17)), return_exceptions=True)
    assert isinstance(outcomes[3], asyncpg.CheckViolationError)
    assert [o for o in outcomes if not isinstance(o, Exception)] == [20, 22, 24, 28, 30, 32]
    assert await pool.fetchval("select count(*) from numbers") == 6


async def test_a_restart_of_the_server_costs_time_and_no_row(numbers: Numbers, postgres: Postgres) -> None:
    async with running(Batcher("t", numbers.connect, numbers.execute, patience=30)) as batcher:
        await batcher.submit(1)
        postgres.stop()
        waiting = [asyncio.create_task(batcher.submit(n)) for n in range(20, 40)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in waiting)
        await asyncio.to_thread(postgres.start)
        async with asyncio.timeout(10):
            assert await asyncio.gather(*waiting) == [n * 2 for n in range(20, 40)]
    connection = await asyncpg.connect(postgres.dsn)
    assert await connection.fetchval("select count(*) from numbers where n <> 1") == 20
    await connection.close()


async def test_who_has_no_patience_is_told_that_the_database_is_away(numbers: Numbers, postgres: Postgres) -> None:
    async with running(Batcher("t", numbers.connect, numbers.execute, patience=0.2)) as batcher:
        postgres.stop()
        try:
            with pytest.raises(Unavailable):
                await batcher.submit(1)
        finally:
            await asyncio.to_thread(postgres.start)


async def test_a_cancelled_waiter_leaves_its_neighbours_alone_and_its_row_written(
    numbers: Numbers, pool: asyncpg.Pool
) -> None:
    numbers.hold.clear()
    async with running(Batcher("t", numbers.connect, numbers.execute)) as batcher:
        tasks = [asyncio.create_task(batcher.submit(n)) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        numbers.hold.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[0::2] == [2, 6]
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert await pool.fetchval("select count(*) from numbers") == 3


async def test_leaving_fails_those_who_wait_and_those_who_come_later(numbers: Numbers) -> None:
    numbers.hold.clear()
    async with running(Batcher("t", numbers.connect, numbers.execute)) as batcher:
        waiting = [asyncio.create_task(batcher.submit(n)) for n in (1, 2)]
        await asyncio.sleep(0.05)
    for task in waiting:
        with pytest.raises(Unavailable):
            await task
    with pytest.raises(Unavailable):
        await batcher.submit(3)


async def test_a_statement_that_answers_for_too_few_rows_hangs_nobody(numbers: Numbers) -> None:
    async def forgetful(_connection: asyncpg.Connection, _items: Sequence[int]) -> Sequence[int]:
        return []

    async with running(Batcher("t", numbers.connect, forgetful)) as batcher:
        async with asyncio.timeout(3):
            with pytest.raises(RuntimeError):
                await batcher.submit(1)
