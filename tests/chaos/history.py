"""What the clients of a chaos run saw, written down as it happened."""

import time
from dataclasses import dataclass, field

from sentinel.v1 import event_pb2, submission_pb2


@dataclass(slots=True, kw_only=True)
class Seen:
    """One event as one client got it."""

    at: float
    """Monotonic seconds."""
    sequence: int
    attempt: int
    kind: str
    status: int = 0
    stream: int = 0
    offset: int = 0
    data: bytes = b""


@dataclass(slots=True, kw_only=True)
class Story:
    """One program, from the wish to the end."""

    key: str
    expected_stdout: bytes
    job_id: str = ""
    """Empty until some answer said that it was accepted."""
    refused: str = ""
    """Why it was never accepted, where it was not."""
    seen: list[Seen] = field(default_factory=list)
    result: submission_pb2.Submission | None = None
    ended_at: float = 0.0
    reconnects: int = 0

    def tell(self, event: event_pb2.Event) -> None:
        """Writes one event down."""
        kind = event.WhichOneof("kind") or ""
        seen = Seen(at=time.monotonic(), sequence=event.sequence, attempt=event.attempt, kind=kind)
        if kind == "status":
            seen.status = event.status.status
        elif kind == "snapshot":
            seen.status = event.snapshot.status
        elif kind == "output":
            seen.stream, seen.offset, seen.data = event.output.stream, event.output.offset, event.output.data
        elif kind == "result":
            seen.status = event.result.submission.status
            self.result = event.result.submission
            self.ended_at = seen.at
        self.seen.append(seen)

    @property
    def last_sequence(self) -> int:
        """Where to resume."""
        return max((s.sequence for s in self.seen if s.kind in {"status", "output"}), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One submission as the database has it at the end."""

    job_id: str
    state: str
    attempt: int
    lease_standing: bool
    stdout: bytes
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AtRest:
    """What is left when nothing is under way."""

    rows: dict[str, Row]
    queue_ready: int
    queue_unacked: int
    dead_letters: int
    outbox: int
    leases: int
    leftovers: list[str]
    """Processes, cgroups and the like that no job should have left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything the checker reads."""

    stories: list[Story]
    fault_ended_at: float
    early_rows: dict[str, str]
    """Fingerprint of each row when its client first knew it to be terminal."""
    at_rest: AtRest
    expected_dead_letters: int = 0
