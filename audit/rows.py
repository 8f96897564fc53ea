"""The record of submissions, read in the database itself."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg


class DatabaseRows:
    """See runner.Rows."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def of(self, jobs: Sequence[str]) -> list[tuple[str, bool, int]]:
        """See runner.Rows."""
        rows = await self._pool.fetch(
            "select id, finished_at is not null as terminal, attempt from submissions where id = any($1)",
            [UUID(job) for job in jobs],
        )
        return [(str(row["id"]), row["terminal"], row["attempt"]) for row in rows]

    async def pending(self) -> int:
        """See runner.Rows."""
        row = await self._pool.fetchrow(
            "select (select count(*) from submissions where finished_at is null) + (select count(*) from outbox) as n"
        )
        return int(row["n"]) if row is not None else -1
