"""Plays the scheduler: writes rows and tells events, exactly as the record says they are written and told."""

from typing import Any
from uuid import UUID

import asyncpg
from sentinel.v1 import event_pb2, evidence_pb2, scheduler_pb2, status_pb2, submission_pb2

from services.record import convert, timeline
from services.record.live import LiveWriter
from services.record.model import RESULT_NUMBER, SEQUENCE_BASE, State, Verdict
from services.record.reader import Reader
from services.scheduler.uuid7 import UuidSource

STDOUT, STDERR, COMPILE = evidence_pb2.STREAM_STDOUT, evidence_pb2.STREAM_STDERR, evidence_pb2.STREAM_COMPILE


new_id = UuidSource().next


class Scribe:
    """Makes submissions."""

    def __init__(self, pool: asyncpg.Pool, live: LiveWriter) -> None:
        self.pool = pool
        self.live = live

    async def accept(self, *, language: str = "python", source: str = "print(1)", stdin: bytes = b"") -> "Run":
        request = scheduler_pb2.SubmitRequest(
            language=language,
            source_code=source,
            stdin_base64=stdin,
            time_limit_ms=5000,
            cpu_time_limit_ms=5000,
            memory_limit_kb=262144,
            output_limit_kb=64,
            process_limit=64,
        )
        job = new_id()
        await self.pool.execute(
            "insert into submissions (id, language, compiled, request) values ($1, $2, false, $3)",
            job,
            language,
            request.SerializeToString(),
        )
        return Run(self, job)

    async def executor(self, name: str, slots: int, *languages: status_pb2.Language) -> None:
        offered = status_pb2.ListLanguagesResponse(languages=languages).SerializeToString()
        await self.pool.execute(
            "insert into executors (id, scheduler, connected, slots, languages) values ($1, 's', true, $2, $3)",
            name,
            slots,
            offered,
        )


class Run:
    """One submission and its attempts."""

    def __init__(self, scribe: Scribe, job: UUID) -> None:
        self._scribe = scribe
        self.job = job
        self.attempt = 0
        self._begin()

    def _begin(self) -> None:
        self.kept = {STDOUT: b"", STDERR: b"", COMPILE: b""}
        self.timeline: list[int] = []
        self.events: list[event_pb2.Event] = []

    async def claim(self) -> None:
        """Begins the next attempt."""
        self.attempt += 1
        self._begin()
        await self._scribe.pool.execute(
            "update submissions set attempt = $2, lease_token = gen_random_uuid(), started_at = now() where id = $1",
            self.job,
            self.attempt,
        )

    async def status(self, status: Any, *, live: bool = True) -> None:
        self.timeline.append(timeline.mark_status(status))
        await self._scribe.pool.execute(
            # The row, as the outside, never goes back: a later attempt that compiles again leaves it RUNNING.
            "update submissions set state = $2, updated_at = now() where id = $1 and state = any($3)",
            self.job,
            submission_pb2.Status.Name(status),
            [submission_pb2.Status.Name(earlier) for earlier in range(1, int(status))],  # type: ignore[arg-type]
        )
        self._tell(live=live, status=event_pb2.StatusChanged(status=status))

    def output(self, stream: Any, data: bytes, *, live: bool = True) -> None:
        self.timeline.append(timeline.mark_output(stream, len(data)))
        offset = len(self.kept[stream])
        self.kept[stream] += data
        self._tell(live=live, output=event_pb2.Output(stream=stream, offset=offset, data=data))

    async def finish(self, *, live: bool = True, whole: bool = True, state: State = State.FINISHED) -> None:
        """Settles. The result is told `live`, with the `whole` submission in it or without, as for large outputs."""
        evidence = evidence_pb2.Evidence(
            explanation="the program ended by itself",
            wall_time_ms=12.5,
            cpu_time_ms=10.0,
            memory_peak_kb=9000,
            exit_code=0,
            phases=[evidence_pb2.PhaseTime(phase=evidence_pb2.PHASE_RUN, start_ms=1.0, duration_ms=12.5)],
        )
        finished = state is State.FINISHED
        await self._scribe.pool.execute(
            "update submissions set state = $2, verdict = $3, evidence = $4, stdout = $5, stderr = $6,"
            " compile_output = $7, timeline = $8, exit_code = $9, lease_until = null, finished_at = now(),"
            " updated_at = now() where id = $1",
            self.job,
            state,
            Verdict.SUCCESS if finished else None,
            evidence.SerializeToString() if finished else None,
            self.kept[STDOUT],
            self.kept[STDERR],
            self.kept[COMPILE],
            timeline.pack(self.timeline),
            0 if finished else None,
        )
        if live:
            await self._tell_result(whole=whole)

    async def _tell_result(self, *, whole: bool) -> None:
        event = event_pb2.Event(
            sequence=self.attempt * SEQUENCE_BASE + RESULT_NUMBER, attempt=self.attempt, result=event_pb2.Result()
        )
        if whole:
            record = await Reader(self._scribe.pool).get(self.job)
            event.result.submission.CopyFrom(convert.submission(record))
            event.result.last_sequence = self.events[-1].sequence if self.events else 0
        self._scribe.live.tell(self.job, event)

    def _tell(self, *, live: bool, **kind: Any) -> None:
        event = event_pb2.Event(
            sequence=self.attempt * SEQUENCE_BASE + len(self.timeline), attempt=self.attempt, **kind
        )
        self.events.append(event)
        if live:
            self._scribe.live.tell(self.job, event)
