"""Brings the schema up, or one step down: `python -m services.scheduler.migrate up|down`.

Each migration runs in one transaction with a record of its checksum; an advisory lock keeps two runs apart; a lock
timeout keeps a migration from queueing behind a long reader and blocking everyone behind itself.
"""

import argparse
import asyncio
import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import asyncpg

FOLDER = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x53454E54
_LOCK_TIMEOUT = "3s"


class MigrationError(Exception):
    """The schema cannot be brought there; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step with its way back."""

    name: str
    up: str
    down: str

    @property
    def checksum(self) -> str:
        """Of the way up, as recorded when it was applied."""
        return hashlib.sha256(self.up.encode()).hexdigest()


def load(folder: Path = FOLDER) -> list[Migration]:
    """All steps in order. Raises MigrationError where one has no way back."""
    steps = []
    for path in sorted(folder.glob("*.up.sql")):
        back = path.with_name(path.name.replace(".up.sql", ".down.sql"))
        if not back.exists():
            raise MigrationError(f"{path.name} has no {back.name}")
        steps.append(Migration(path.name.removesuffix(".up.sql"), path.read_text(), back.read_text()))
    return steps


async def up(connection: asyncpg.Connection, steps: list[Migration]) -> list[str]:
    """Applies what is missing and returns its names. Raises MigrationError when an applied step was edited."""
    applied = await _begin(connection)
    _check(applied, steps)
    done = []
    for step in steps:
        if step.name in applied:
            continue
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
            await connection.execute(step.up)
            await connection.execute(
                "insert into schema_migrations (name, checksum) values ($1, $2)", step.name, step.checksum
            )
        done.append(step.name)
    return done


async def down(connection: asyncpg.Connection, steps: list[Migration]) -> list[str]:
    """Takes the last applied step back and returns its name; nothing where none is applied."""
    applied = await _begin(connection)
    _check(applied, steps)
    for step in reversed(steps):
        if step.name in applied:
            async with connection.transaction():
                await connection.execute(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
                await connection.execute(step.down)
                await connection.execute("delete from schema_migrations where name = $1", step.name)
            return [step.name]
    return []


async def _begin(connection: asyncpg.Connection) -> dict[str, str]:
    await connection.execute("select pg_advisory_lock($1)", _ADVISORY_LOCK)
    await connection.execute(
        "create table if not exists schema_migrations"
        " (name text primary key, checksum text not null, applied_at timestamptz not null default now())"
    )
    rows = await connection.fetch("select name, checksum from schema_migrations")
    return {row["name"]: row["checksum"] for row in rows}


def _check(applied: dict[str, str], steps: list[Migration]) -> None:
    known = {step.name: step for step in steps}
    for name, checksum in applied.items():
        if name not in known:
            raise MigrationError(f"the database has {name}, which this version does not know: deploy the newer version")
        if known[name].checksum != checksum:
            raise MigrationError(f"{name} was edited after it was applied: restore it and write a new migration")


async def _main(direction: str, dsn: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        done = await (up if direction == "up" else down)(connection, load())
    finally:
        await connection.close()
    sys.stdout.write("".join(f"{direction}: {name}\n" for name in done) or "nothing to do\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("direction", choices=("up", "down"))
    direction = parser.parse_args().direction
    dsn = os.environ.get("DATABASE_URL")
    if not dsn:
        sys.exit("migrate: set DATABASE_URL to the PostgreSQL connection string")
    try:
        asyncio.run(_main(direction, dsn))
    except (MigrationError, asyncpg.PostgresError, OSError) as error:
        sys.exit(f"migrate: {error}")


if __name__ == "__main__":
    main()
