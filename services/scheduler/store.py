"""The durable truth about submissions: every write of the scheduler, each a transaction, each fenced.

Writes that every submission makes go through group commit; the rare ones through the pool.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from services.kit.batch import CONNECTION_LOST, Batcher
from services.kit.errors import Unavailable
from services.record.model import Record, State, Verdict, status_of
from services.scheduler import statements
from services.scheduler.model import (
    Accepted,
    Claim,
    ClaimRequest,
    Draft,
    Extension,
    KeyTaken,
    Loss,
    Outcome,
    Posting,
    Released,
)

Connect = Callable[[str], Awaitable[asyncpg.Connection]]
"""Opens a dedicated connection under a name."""

ACCEPT_PATIENCE_SECONDS = 8.0
"""A caller of Submit waits so long for a database that is restarting."""


class Store:
    """Owns its batchers; `run` serves them. The pool is the caller's."""

    def __init__(self, connect: Connect, pool: asyncpg.Pool, *, lease_term: timedelta) -> None:
        self._pool = pool
        self._term = lease_term.total_seconds()

        def link(name: str) -> Callable[[], Awaitable[asyncpg.Connection]]:
            return lambda: connect(f"sentinel-scheduler {name}")

        self._accept = Batcher("accept", link("accept"), _accept, patience=ACCEPT_PATIENCE_SECONDS)
        self._claim = Batcher("claim", link("claim"), self._claim_all, patience=self._term)
        self._settle = Batcher("settle", link("settle"), _settle, patience=None)
        self._advance = Batcher("advance", link("advance"), _advance, patience=self._term)
        self._release = Batcher("release", link("release"), _release, patience=None)

    async def run(self) -> None:
        """Serves until cancelled."""
        async with asyncio.TaskGroup() as batchers:
            for batcher in (self._accept, self._claim, self._settle, self._advance, self._release):
                batchers.create_task(batcher.run())

    async def accept(self, draft: Draft) -> Accepted | KeyTaken:
        """Commits a submission with its outbox entry; for a repeated key, finds the first one.

        Raises Unavailable when the database stays away; the row may or may not exist then.
        """
        return await self._accept.submit(draft)

    async def claim(self, request: ClaimRequest) -> Claim | None:
        """Grants a lease, or None where the submission cannot be claimed now: ended, cancelled, or leased."""
        return await self._claim.submit(request)

    async def settle(self, outcome: Outcome) -> datetime | None:
        """Writes the outcome once and tells when. None, with nothing written, where the lease was lost."""
        return await self._settle.submit(outcome)

    async def advance(self, job: UUID, token: UUID) -> None:
        """The run phase began. Does nothing where the lease was lost."""
        await self._advance.submit((job, token))

    async def release(self, loss: Loss) -> Released | None:
        """Ends an attempt without a verdict. None where the lease was lost already."""
        return await self._release.submit(loss)

    async def adopt(self, held: Sequence[tuple[UUID, UUID]]) -> list[Claim]:
        """Of (submission, token) pairs, those whose lease still stands, extended."""
        rows = await self._fetch(statements.ADOPT, [h[0] for h in held], [h[1] for h in held], self._term)
        return [_as_claim(row) for row in rows]

    async def extend(self, held: Sequence[tuple[UUID, UUID]]) -> list[Extension]:
        """Lengthens leases by a term from now; those not returned are lost."""
        rows = await self._fetch(statements.EXTEND, [h[0] for h in held], [h[1] for h in held], self._term)
        return [Extension(row["token"], row["cancel_requested"]) for row in rows]

    async def cancel(self, job: UUID) -> tuple[State, int, str] | None:
        """Asks for the end: (state after, attempt, language), or None where it has ended or never was."""
        rows = await self._fetch(statements.CANCEL, job)
        if not rows:
            return None
        return State(rows[0]["state"]), rows[0]["attempt"], rows[0]["language"]

    async def reap(self, limit: int = 500) -> list[Released]:
        """Ends attempts whose lease has expired."""
        return [_as_released(row) for row in await self._fetch(statements.REAP, limit)]

    async def repost(self, silent: timedelta, limit: int = 1000) -> int:
        """Posts again what waits here and, the broker being empty, nowhere else. Returns how many."""
        return len(await self._fetch(statements.REPOST, silent.total_seconds(), limit))

    async def sweep(
        self,
        older: timedelta,
        limit: int,
        publish: Callable[[Sequence[Posting]], Awaitable[Sequence[int]]],
    ) -> int:
        """Hands up to `limit` outbox entries older than `older` to `publish`, and forgets those whose ids it returns.

        Oldest first; entries in another sweep's hands are passed over. Returns how many were handed over.
        """
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                rows = await connection.fetch(statements.PENDING, older.total_seconds(), limit)
                if not rows:
                    return 0
                confirmed = await publish([_as_posting(row) for row in rows])
                await connection.execute(statements.POSTED, list(confirmed))
                return len(rows)
        except CONNECTION_LOST as error:
            raise Unavailable("the database does not answer") from error

    async def posted(self, ids: Sequence[int]) -> None:
        """The broker has confirmed these; forget them."""
        await self._fetch(statements.POSTED, list(ids))

    async def backlog(self) -> tuple[int, float]:
        """(entries, age of the oldest in seconds) of the outbox."""
        rows = await self._fetch(statements.BACKLOG)
        return rows[0]["entries"], rows[0]["oldest_seconds"]

    async def maintain(self, *, ahead_days: int, retention_days: int) -> None:
        """Makes partitions ahead, drops those past retention, forgets old keys and executors."""
        await self._fetch(statements.MAKE_PARTITIONS, ahead_days)
        await self._fetch(statements.DROP_PARTITIONS, retention_days)
        await self._fetch("delete from idempotency_keys where created_at < now() - interval '24 hours'")
        await self._fetch("delete from executors where seen_at < now() - interval '7 days'")

    async def executor_seen(self, executor: str, scheduler: str, slots: int, languages: bytes) -> None:
        """Records who runs programs and in which languages."""
        await self._fetch(
            "insert into executors (id, scheduler, connected, slots, languages) values ($1, $2, true, $3, $4)"
            " on conflict (id) do update set scheduler = $2, connected = true, slots = $3, languages = $4,"
            " seen_at = now()",
            executor,
            scheduler,
            slots,
            languages,
        )

    async def executor_left(self, executor: str, scheduler: str) -> None:
        """Records that its session here has ended; a newer session elsewhere stands."""
        await self._fetch(
            "update executors set connected = false where id = $1 and scheduler = $2", executor, scheduler
        )

    async def _fetch(self, query: str, *args: Any) -> Sequence[asyncpg.Record]:
        try:
            rows: Sequence[asyncpg.Record] = await self._pool.fetch(query, *args)
        except CONNECTION_LOST as error:
            raise Unavailable("the database does not answer") from error
        return rows

    async def _claim_all(self, connection: asyncpg.Connection, requests: Sequence[ClaimRequest]) -> list[Claim | None]:
        ids, tokens = [r.id for r in requests], [r.token for r in requests]
        holders = [r.holder for r in requests]
        rows = await connection.fetch(statements.CLAIM, ids, tokens, holders, self._term, min(ids), max(ids))
        granted = {row["lease_token"]: _as_claim(row) for row in rows}
        if len(granted) < len(requests):
            rows = await connection.fetch(statements.CLAIMED, ids, tokens)
            granted.update((row["lease_token"], _as_claim(row)) for row in rows)
        return [granted.get(r.token) for r in requests]


async def _accept(connection: asyncpg.Connection, drafts: Sequence[Draft]) -> list[Accepted | KeyTaken]:
    rows = await connection.fetch(
        statements.ACCEPT,
        [d.id for d in drafts],
        [d.tenant for d in drafts],
        [d.language for d in drafts],
        [d.compiled for d in drafts],
        [d.interactive for d in drafts],
        [d.request for d in drafts],
        [d.traceparent for d in drafts],
        [d.key for d in drafts],
        [d.digest for d in drafts],
    )
    outcomes: dict[UUID, Accepted | KeyTaken] = {}
    by_id = {d.id: d for d in drafts}
    for row in rows:
        posting = Posting(id=row["id"], submission=row["submission_id"], kind="execute", traceparent=row["traceparent"])
        record = _as_queued(by_id[posting.submission], row["created_at"])
        status = status_of(record.state, None)
        outcomes[record.id] = Accepted(id=record.id, status=status, posting=posting, record=record)
    if len(outcomes) < len(drafts):
        await _find_earlier(connection, [d for d in drafts if d.id not in outcomes], outcomes)
    return [outcomes[d.id] for d in drafts]


async def _find_earlier(
    connection: asyncpg.Connection, drafts: Sequence[Draft], outcomes: dict[UUID, Accepted | KeyTaken]
) -> None:
    rows = await connection.fetch(
        statements.EARLIER, [d.id for d in drafts], [d.tenant for d in drafts], [d.key for d in drafts]
    )
    by_id = {d.id: d for d in drafts}
    for row in rows:
        draft = by_id[row["asked"]]
        if row["digest"] is not None and row["digest"] != draft.digest:
            outcomes[draft.id] = KeyTaken(draft.key)
            continue
        verdict = Verdict(row["verdict"]) if row["verdict"] else None
        status = status_of(State(row["state"]), verdict)
        outcomes[draft.id] = Accepted(id=row["id"], status=status, posting=None)


async def _settle(connection: asyncpg.Connection, outcomes: Sequence[Outcome]) -> list[datetime | None]:
    ids, tokens = [o.id for o in outcomes], [o.token for o in outcomes]
    rows = await connection.fetch(
        statements.SETTLE,
        ids,
        tokens,
        [o.state for o in outcomes],
        [o.verdict for o in outcomes],
        [o.exit_code for o in outcomes],
        [o.signal for o in outcomes],
        [o.evidence for o in outcomes],
        [o.stdout for o in outcomes],
        [o.stderr for o in outcomes],
        [o.compile_output for o in outcomes],
        [o.timeline for o in outcomes],
        min(ids),
        max(ids),
    )
    written = {row["id"]: row["finished_at"] for row in rows}
    if len(written) < len(outcomes):
        rows = await connection.fetch(statements.SETTLED, ids, tokens)
        written.update((row["id"], row["finished_at"]) for row in rows)
    return [written.get(o.id) for o in outcomes]


async def _advance(connection: asyncpg.Connection, held: Sequence[tuple[UUID, UUID]]) -> list[None]:
    await connection.execute(statements.ADVANCE, [h[0] for h in held], [h[1] for h in held])
    return [None] * len(held)


async def _release(connection: asyncpg.Connection, losses: Sequence[Loss]) -> list[Released | None]:
    rows = await connection.fetch(
        statements.RELEASE,
        [loss.id for loss in losses],
        [loss.token for loss in losses],
        [loss.reason for loss in losses],
        [loss.message for loss in losses],
    )
    released = {row["id"]: _as_released(row) for row in rows}
    return [released.get(loss.id) for loss in losses]


def _as_queued(draft: Draft, created_at: datetime) -> Record:
    return Record(
        id=draft.id,
        language=draft.language,
        state=State.QUEUED,
        verdict=None,
        request=draft.request,
        attempt=0,
        exit_code=None,
        signal=None,
        evidence=None,
        stdout=b"",
        stderr=b"",
        compile_output=b"",
        timeline=(),
        failure_reason=None,
        failure_message=None,
        created_at=created_at,
        started_at=None,
        finished_at=None,
        updated_at=created_at,
    )


def _as_claim(row: asyncpg.Record) -> Claim:
    return Claim(
        id=row["id"],
        token=row["lease_token"],
        attempt=row["attempt"],
        request=row["request"],
        traceparent=row["traceparent"],
        interactive=row["interactive"],
        compiled=row["compiled"],
        language=row["language"],
        created_at=row["created_at"],
        started_at=row["started_at"],
    )


def _as_posting(row: asyncpg.Record) -> Posting:
    return Posting(
        id=row["id"],
        submission=row["submission_id"],
        kind=row["kind"],
        reason=row["reason"],
        traceparent=row["traceparent"],
    )


def _as_released(row: asyncpg.Record) -> Released:
    posting = None
    if row["posting"] is not None:
        posting = Posting(
            id=row["posting"],
            submission=row["id"],
            kind=row["kind"],
            reason=row["reason"],
            traceparent=row["traceparent"],
        )
    return Released(
        id=row["id"],
        attempt=row["attempt"],
        state=State(row["state"]),
        language=row["language"],
        reason=row["reason"],
        posting=posting,
    )
