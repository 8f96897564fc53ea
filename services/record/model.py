"""What a submission's record can be, and which way it may move. Pure; the database holds the same arrows (0001)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sentinel.v1 import executor_pb2, submission_pb2

MAX_ATTEMPTS = 3
SEQUENCE_BASE = 1_000_000
"""Sequence of an event = attempt × SEQUENCE_BASE + number."""
RESULT_NUMBER = SEQUENCE_BASE - 1
"""Number of every result, so that it follows whatever its attempt told."""


class State(StrEnum):
    """Lifecycle of *our* record. It never says what the program did."""

    QUEUED = "QUEUED"
    COMPILING = "COMPILING"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    """Terminal: there is a verdict."""
    CANCELLED = "CANCELLED"
    """Terminal: somebody asked."""
    FAILED = "FAILED"
    """Terminal: there is a failure, ours."""

    @property
    def terminal(self) -> bool:
        """Whether the row is immutable from here on."""
        return self in _TERMINAL


_TERMINAL = frozenset({State.FINISHED, State.CANCELLED, State.FAILED})
_ORDER = (State.QUEUED, State.COMPILING, State.RUNNING)


def may_follow(before: State, after: State) -> bool:
    """Whether a record may go from `before` to `after`: forward only, and never out of a terminal state."""
    if before.terminal:
        return False
    if after.terminal:
        return True
    return _ORDER.index(after) > _ORDER.index(before)


class Verdict(StrEnum):
    """What the *program* did."""

    SUCCESS = "SUCCESS"
    COMPILATION_ERROR = "COMPILATION_ERROR"
    RUNTIME_ERROR = "RUNTIME_ERROR"
    TIMEOUT = "TIMEOUT"
    MEMORY_LIMIT_EXCEEDED = "MEMORY_LIMIT_EXCEEDED"
    OUTPUT_LIMIT_EXCEEDED = "OUTPUT_LIMIT_EXCEEDED"
    SECURITY_VIOLATION = "SECURITY_VIOLATION"


def verdict_from_wire(value: "executor_pb2.Verdict.ValueType") -> Verdict | None:
    """The verdict an executor reported; None for VERDICT_CANCELLED, which is a state and no verdict."""
    name = executor_pb2.Verdict.Name(value).removeprefix("VERDICT_")
    return None if name == "CANCELLED" else Verdict(name)


def status_of(state: State, verdict: Verdict | None) -> "submission_pb2.Status.ValueType":
    """The one word for REST users. The only place where it is derived."""
    if state is State.FAILED:
        return submission_pb2.INTERNAL_ERROR
    if state is State.FINISHED and verdict is not None:
        return submission_pb2.Status.Value(verdict.value)
    return submission_pb2.Status.Value(state.value)


def state_and_verdict(status: "submission_pb2.Status.ValueType") -> tuple[State, Verdict | None]:
    """The inverse of `status_of`, for filters."""
    name = submission_pb2.Status.Name(status)
    if name == "INTERNAL_ERROR":
        return State.FAILED, None
    if name in State.__members__:
        return State(name), None
    return State.FINISHED, Verdict(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row of `submissions`, as read."""

    id: UUID
    language: str
    state: State
    verdict: Verdict | None
    request: bytes
    """Serialized SubmitRequest with every default filled in."""
    attempt: int
    exit_code: int | None
    signal: int | None
    evidence: bytes | None
    """Serialized Evidence."""
    stdout: bytes
    stderr: bytes
    compile_output: bytes
    timeline: tuple[int, ...]
    """What the settled attempt told, in order: see `services.record.timeline`."""
    failure_reason: str | None
    failure_message: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
