"""The database refuses what the code forgot: arrows, immutability, partitions, migrations."""

from datetime import date, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from deploy.local.mesh import Mesh
from services.record.model import State, may_follow
from services.scheduler import migrate, statements
from services.scheduler.migrate import Migration, MigrationError
from services.scheduler.uuid7 import UuidSource

_TERMINAL_FIELDS = {
    State.FINISHED: "verdict = 'SUCCESS', finished_at = now()",
    State.CANCELLED: "finished_at = now()",
    State.FAILED: "failure_reason = 'X', finished_at = now()",
}


async def insert(database: asyncpg.Connection) -> UUID:
    job = UuidSource().next()
    await database.execute(
        "insert into submissions (id, language, compiled, request) values ($1, 'python', false, '')", job
    )
    return job


async def move(database: asyncpg.Connection, job: UUID, state: State) -> None:
    extra = f", {_TERMINAL_FIELDS[state]}" if state.terminal else ""
    await database.execute(f"update submissions set state = $2{extra} where id = $1", job, state)


@pytest.mark.parametrize("before", list(State))
@pytest.mark.parametrize("after", list(State))
async def test_the_database_allows_exactly_the_arrows_of_the_model(
    database: asyncpg.Connection, before: State, after: State
) -> None:
    job = await insert(database)
    if before is not State.QUEUED:
        await move(database, job, before)
    if before is after:
        return
    if may_follow(before, after):
        await move(database, job, after)
        return
    with pytest.raises(asyncpg.CheckViolationError):
        await move(database, job, after)


@pytest.mark.parametrize(
    "column", ["stdout = 'x'", "attempt = 1", "updated_at = now() + interval '1s'", "verdict = 'TIMEOUT'"]
)
async def test_nothing_of_a_terminal_row_changes(database: asyncpg.Connection, column: str) -> None:
    job = await insert(database)
    await move(database, job, State.FINISHED)
    with pytest.raises(asyncpg.CheckViolationError):
        await database.execute(f"update submissions set {column} where id = $1", job)


async def test_an_attempt_number_never_falls_and_never_passes_three(database: asyncpg.Connection) -> None:
    job = await insert(database)
    await database.execute("update submissions set attempt = 2 where id = $1", job)
    for wrong in (1, 4):
        with pytest.raises(asyncpg.CheckViolationError):
            await database.execute("update submissions set attempt = $2 where id = $1", job, wrong)


async def test_a_lookup_by_id_meets_one_partition(database: asyncpg.Connection) -> None:
    job = await insert(database)
    plan = "\n".join(r[0] for r in await database.fetch(f"explain select * from submissions where id = '{job}'"))
    assert plan.count("submissions_2") <= 2, plan


async def test_partitions_are_made_ahead_and_dropped_by_retention(database: asyncpg.Connection) -> None:
    old = date(2020, 1, 1)
    await database.execute("select submissions_make_partitions($1, $2)", old, old + timedelta(days=2))
    assert await database.fetchval(statements.MAKE_PARTITIONS, 9) == 2
    assert await database.fetchval(statements.DROP_PARTITIONS, 30) == 3
    days = {r[0] for r in await database.fetch("select relname from pg_class where relname ~ '^submissions_[0-9]{8}$'")}
    today = await database.fetchval("select (now() at time zone 'utc')::date")
    assert {f"submissions_{today + timedelta(days=n):%Y%m%d}" for n in range(-1, 10)} <= days
    assert not any(name.startswith("submissions_2020") for name in days)


async def test_an_id_of_today_lands_in_the_partition_of_today(database: asyncpg.Connection) -> None:
    job = await insert(database)
    found = await database.fetchval("select tableoid::regclass::text from submissions where id = $1", job)
    today = await database.fetchval("select to_char(now() at time zone 'utc', 'YYYYMMDD')")
    assert found == f"submissions_{today}"


async def test_migrations_go_up_down_and_up_again_and_an_edited_one_is_refused(
    database: asyncpg.Connection, infra: Mesh
) -> None:
    name = f"scratch_{uuid4().hex[:8]}"
    await database.execute(f"create database {name}")
    scratch = await asyncpg.connect(infra.database_url.rsplit("/", 1)[0] + f"/{name}")
    try:
        steps = migrate.load()
        assert await migrate.up(scratch, steps) == [s.name for s in steps]
        assert await migrate.up(scratch, steps) == []
        for step in reversed(steps):
            assert await migrate.down(scratch, steps) == [step.name]
        left = await scratch.fetchval("select count(*) from pg_class where relname like 'submissions%'")
        assert left == 0
        assert await migrate.up(scratch, steps) == [s.name for s in steps]
        edited = [Migration(steps[0].name, steps[0].up + "-- edited", steps[0].down), *steps[1:]]
        with pytest.raises(MigrationError, match="edited"):
            await migrate.up(scratch, edited)
        with pytest.raises(MigrationError, match="newer"):
            await migrate.up(scratch, [])
    finally:
        await scratch.close()
        await database.execute(f"drop database {name} with (force)")
