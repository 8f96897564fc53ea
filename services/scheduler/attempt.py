"""One attempt as its scheduler follows it: what it told so far, in order, and what it ends in."""

import time
from datetime import datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from sentinel.v1 import event_pb2, evidence_pb2, executor_pb2, submission_pb2

from services.kit.errors import InvalidField
from services.record import convert
from services.record.model import RESULT_NUMBER, SEQUENCE_BASE, Record, State, verdict_from_wire
from services.record.timeline import mark_output, mark_status, pack
from services.scheduler.broker import Delivery
from services.scheduler.model import Claim, Outcome

_STATUS_OF_PHASE = {
    evidence_pb2.PHASE_COMPILE: submission_pb2.COMPILING,
    evidence_pb2.PHASE_RUN: submission_pb2.RUNNING,
}
_MOST_OUTPUT_BYTES = 64 * 1024 * 1024
"""No honest executor sends so much for one attempt; limits allow at most 3 × 8 MiB."""

_MOST_SHOWN_BYTES = 64 * 1024
"""Of output in a result event: a watcher then needs no look at the row, and Redis holds little twice."""


class Attempt:
    """Gathers reports. Numbers must come in order; repeats are known by their number and skipped."""

    def __init__(self, claim: Claim, delivery: Delivery | None, *, now: float) -> None:
        self.claim = claim
        self.delivery = delivery
        """The broker's message; None where the attempt came with a reconnecting executor."""
        self.extended_at = now
        """Monotonic time at which the lease was last known to be good for a whole term."""
        self.ending = False
        """The end was reported and is being written."""
        self.untold: list[event_pb2.Event] = []
        """Events not shown yet. What comes in one message with the end is shown together with the result."""
        self._number = 0
        self._timeline: list[int] = []
        self._kept = {stream: bytearray() for stream in _STREAMS}
        self._received = 0
        self._uncredited = 0

    @property
    def job(self) -> UUID:
        """The submission."""
        return self.claim.id

    @property
    def token(self) -> UUID:
        """The lease."""
        return self.claim.token

    def admit(self, report: executor_pb2.Report) -> bool:
        """Whether this report is the next one. False for a repeat. Raises InvalidField when one is missing."""
        if report.number <= self._number:
            return False
        if report.number != self._number + 1:
            raise InvalidField(f"report {report.number} of {self.job} came after {self._number}")
        self._number = report.number
        return True

    def phase(self, phase: evidence_pb2.Phase.ValueType) -> None:
        """A phase began. Raises InvalidField where it is none that anybody is told of."""
        status = _STATUS_OF_PHASE.get(phase)
        if status is None:
            raise InvalidField(f"phase {phase} of {self.job} is not reported")
        self._timeline.append(mark_status(status))
        event = self._event()
        event.status.status = status
        self.untold.append(event)

    def output(self, report: executor_pb2.Report) -> None:
        """Output came. Raises InvalidField on a gap or an overlap."""
        chunk = report.output
        kept = self._kept.get(chunk.stream)
        if kept is None or not 0 < len(chunk.data) <= 65536 or chunk.offset != len(kept):
            raise InvalidField(f"output of {self.job}: stream {chunk.stream} at {chunk.offset} does not continue")
        self._received += len(chunk.data)
        if self._received > _MOST_OUTPUT_BYTES:
            raise InvalidField(f"output of {self.job}: more than any limit allows")
        kept += chunk.data
        self._uncredited += len(chunk.data)
        self._timeline.append(mark_output(chunk.stream, len(chunk.data)))
        event = self._event()
        event.output.stream = chunk.stream
        event.output.offset = chunk.offset
        event.output.data = chunk.data
        self.untold.append(event)

    def take_credit(self, window: int) -> int:
        """Bytes to give back to the executor; 0 until half a window was used."""
        if self._uncredited * 2 < window:
            return 0
        credit, self._uncredited = self._uncredited, 0
        return credit

    def outcome(self, finished: executor_pb2.Finished) -> Outcome:
        """What is to be written for a reported end."""
        verdict = verdict_from_wire(finished.verdict)
        evidence = finished.evidence
        ran = verdict is not None and verdict != "COMPILATION_ERROR"
        return Outcome(
            id=self.job,
            token=self.token,
            state=State.CANCELLED if verdict is None else State.FINISHED,
            verdict=verdict,
            exit_code=evidence.exit_code if ran and evidence.HasField("exit_code") else None,
            signal=evidence.signal if ran and evidence.HasField("signal") else None,
            evidence=evidence.SerializeToString(),
            stdout=bytes(self._kept[evidence_pb2.STREAM_STDOUT]),
            stderr=bytes(self._kept[evidence_pb2.STREAM_STDERR]),
            compile_output=bytes(self._kept[evidence_pb2.STREAM_COMPILE]),
            timeline=pack(self._timeline),
        )

    def result(self, outcome: Outcome, finished_at: datetime) -> event_pb2.Event:
        """The last event, after `outcome` was written. It carries the submission, unless its output is large."""
        claim = self.claim
        event = result_event(claim.attempt)
        event.result.last_sequence = claim.attempt * SEQUENCE_BASE + len(self._timeline) if self._timeline else 0
        if self._received <= _MOST_SHOWN_BYTES:
            record = Record(
                id=claim.id,
                language=claim.language,
                state=outcome.state,
                verdict=outcome.verdict,
                request=claim.request,
                attempt=claim.attempt,
                exit_code=outcome.exit_code,
                signal=outcome.signal,
                evidence=outcome.evidence,
                stdout=outcome.stdout,
                stderr=outcome.stderr,
                compile_output=outcome.compile_output,
                timeline=tuple(self._timeline),
                failure_reason=None,
                failure_message=None,
                created_at=claim.created_at,
                started_at=claim.started_at,
                finished_at=finished_at,
                updated_at=finished_at,
            )
            event.result.submission.CopyFrom(convert.submission(record))
        return event

    def _event(self) -> event_pb2.Event:
        return event_pb2.Event(
            sequence=self.claim.attempt * SEQUENCE_BASE + self._number, attempt=self.claim.attempt, time=_now()
        )


_STREAMS = (evidence_pb2.STREAM_STDOUT, evidence_pb2.STREAM_STDERR, evidence_pb2.STREAM_COMPILE)


def result_event(attempt: int) -> event_pb2.Event:
    """Tells that the row is terminal. Without a submission in it, whoever reads it takes that from the row."""
    return event_pb2.Event(
        sequence=attempt * SEQUENCE_BASE + RESULT_NUMBER, attempt=attempt, time=_now(), result=event_pb2.Result()
    )


def _now() -> Timestamp:
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    return Timestamp(seconds=seconds, nanos=nanos)
