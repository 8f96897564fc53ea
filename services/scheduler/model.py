"""What passes between the scheduler's parts. Plain values."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sentinel.v1 import submission_pb2

from services.record.model import Record, State, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A submission that is valid and complete but not yet accepted."""

    id: UUID
    tenant: str
    language: str
    compiled: bool
    interactive: bool
    request: bytes
    """Serialized SubmitRequest with every default filled in."""
    traceparent: str
    key: str
    """Idempotency key, or empty."""
    digest: bytes
    """Of what the caller sent; tells a repeat from a reuse of its key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One outbox entry: something the broker has yet to be told."""

    id: int
    submission: UUID
    kind: str
    """`execute` or `dead_letter`."""
    reason: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A committed submission. `posting` is None where an earlier Submit with the same key had made it."""

    id: UUID
    status: "submission_pb2.Status.ValueType"
    posting: Posting | None
    record: Record | None = None
    """The row as it was written just now; None where it is an earlier one."""


@dataclass(frozen=True, slots=True)
class KeyTaken:
    """The idempotency key belongs to another body."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """Who wants to run what, under which fresh token."""

    id: UUID
    token: UUID
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A lease that was granted."""

    id: UUID
    token: UUID
    attempt: int
    request: bytes
    traceparent: str
    interactive: bool
    compiled: bool
    language: str
    created_at: datetime
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an attempt ended in, to be written once under its lease."""

    id: UUID
    token: UUID
    state: State
    verdict: Verdict | None
    exit_code: int | None
    signal: int | None
    evidence: bytes
    stdout: bytes
    stderr: bytes
    compile_output: bytes
    timeline: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """An attempt that ended without a verdict, and why."""

    id: UUID
    token: UUID
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What became of a submission whose attempt was lost."""

    id: UUID
    attempt: int
    state: State
    language: str
    reason: str
    posting: Posting | None


@dataclass(frozen=True, slots=True)
class Extension:
    """A lease that still stands."""

    token: UUID
    cancel_requested: bool
