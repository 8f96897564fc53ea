"""Reading submissions, languages and executors from PostgreSQL. Writes nothing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from sentinel.v1 import status_pb2

from services.kit.batch import CONNECTION_LOST
from services.kit.errors import Unavailable, UnknownJob
from services.record.model import Record, State, Verdict
from services.record.timeline import unpack

_SMALL = (
    "id, language, state, verdict, request, attempt, exit_code, signal, evidence, "
    "failure_reason, failure_message, created_at, started_at, finished_at, updated_at"
)
_WHOLE = f"{_SMALL}, stdout, stderr, compile_output, timeline"

EXECUTOR_SILENCE_SECONDS = 15
"""An executor not heard for so long no longer counts as connected."""
LANGUAGE_MEMORY_DAYS = 7
"""Languages stay offered while a deployment is scaled to zero, so long after the last executor was heard."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who can run programs."""

    executors: int
    slots: int


class Reader:
    """Every method is one query on the pool. Raises Unavailable while the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def get(self, job: UUID) -> Record:
        """The whole record. Raises UnknownJob."""
        rows = await self._fetch(f"select {_WHOLE} from submissions where id = $1", job)  # noqa: S608
        if not rows:
            raise UnknownJob(f"there is no submission {job}")
        return _record(rows[0])

    async def state(self, job: UUID) -> State:
        """Only the state. Raises UnknownJob."""
        rows = await self._fetch("select state from submissions where id = $1", job)
        if not rows:
            raise UnknownJob(f"there is no submission {job}")
        return State(rows[0]["state"])

    async def newest(
        self,
        *,
        before: UUID | None,
        limit: int,
        state: State | None = None,
        verdict: Verdict | None = None,
        language: str | None = None,
    ) -> list[Record]:
        """Up to `limit` records older than `before`, newest first, without their output."""
        rows = await self._fetch(
            f"select {_SMALL} from submissions"  # noqa: S608
            " where ($1::uuid is null or id < $1) and ($3::text is null or state = $3)"
            " and ($4::text is null or verdict = $4) and ($5::text is null or language = $5)"
            " order by id desc limit $2",
            before,
            limit,
            state,
            verdict,
            language,
        )
        return [_record(row) for row in rows]

    async def languages(self) -> list[status_pb2.Language]:
        """What executors offered, by name; where versions differ, what the executor heard last has."""
        rows = await self._fetch(
            "select languages from executors where seen_at > now() - make_interval(days => $1) order by seen_at",
            LANGUAGE_MEMORY_DAYS,
        )
        offered = {
            language.name: language
            for row in rows
            for language in status_pb2.ListLanguagesResponse.FromString(row["languages"]).languages
        }
        return [offered[name] for name in sorted(offered)]

    async def fleet(self) -> Fleet:
        """Executors heard lately."""
        rows = await self._fetch(
            "select count(*) as executors, coalesce(sum(slots), 0) as slots from executors"
            " where connected and seen_at > now() - make_interval(secs => $1)",
            EXECUTOR_SILENCE_SECONDS,
        )
        return Fleet(rows[0]["executors"], rows[0]["slots"])

    async def ping(self) -> None:
        """Returns when the database answers. Raises Unavailable."""
        await self._fetch("select 1")

    async def _fetch(self, query: str, *args: Any) -> Sequence[asyncpg.Record]:
        try:
            rows: Sequence[asyncpg.Record] = await self._pool.fetch(query, *args)
        except CONNECTION_LOST as error:
            raise Unavailable("the database does not answer") from error
        return rows


def _record(row: asyncpg.Record) -> Record:
    verdict = row["verdict"]
    return Record(
        id=row["id"],
        language=row["language"],
        state=State(row["state"]),
        verdict=Verdict(verdict) if verdict else None,
        request=row["request"],
        attempt=row["attempt"],
        exit_code=row["exit_code"],
        signal=row["signal"],
        evidence=row["evidence"],
        stdout=row.get("stdout") or b"",
        stderr=row.get("stderr") or b"",
        compile_output=row.get("compile_output") or b"",
        timeline=unpack(row.get("timeline") or b""),
        failure_reason=row["failure_reason"],
        failure_message=row["failure_message"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        updated_at=row["updated_at"],
    )


class LanguageCatalogue:
    """The languages, read again at most every `freshness` seconds: every Submit asks."""

    def __init__(self, reader: Reader, freshness: float = 2.0) -> None:
        self._reader = reader
        self._freshness = freshness
        self._names: dict[str, status_pb2.Language] = {}
        self._read_at = float("-inf")

    async def find(self, name: str) -> status_pb2.Language | None:
        """The language with this name or alias, case ignored; None where no executor offers it."""
        await self._refresh()
        return self._names.get(name.lower())

    async def all(self) -> list[status_pb2.Language]:
        """Every language, by name. Raises Unavailable where none was ever read."""
        await self._refresh()
        by_name = {language.name: language for language in self._names.values()}
        return [by_name[name] for name in sorted(by_name)]

    async def names(self) -> list[str]:
        """Canonical names, sorted."""
        return [language.name for language in await self.all()]

    async def _refresh(self) -> None:
        if time.monotonic() - self._read_at < self._freshness:
            return
        try:
            languages = await self._reader.languages()
        except Unavailable:
            # What was known a moment ago is still the best answer; with nothing known, say so.
            if self._names:
                return
            raise
        self._names = {n.lower(): lang for lang in languages for n in (lang.name, *lang.aliases)}
        self._read_at = time.monotonic() if languages else float("-inf")
