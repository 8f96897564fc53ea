"""Which bytes of a submission's output a reader has had. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self, TypeAlias

from sentinel.v1 import event_pb2, evidence_pb2, submission_pb2

Stream: TypeAlias = "evidence_pb2.Stream.ValueType"
SEQUENCE_BASE = 1_000_000
"""Sequence of an event = attempt × SEQUENCE_BASE + number."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes to show."""

    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True)
class Void:
    """The attempt was lost: what it showed no longer counts."""

    attempt: int
    next_attempt: int


@dataclass(slots=True)
class Transcript:
    """Turns events into the pieces that are new, and fills what was missed from the result."""

    _from_start: bool = True
    """False where the reader joined in the middle: what came before its first piece is not made up for."""
    _attempt: int = 0
    _have: dict[Stream, int] = field(default_factory=dict)
    _broken: bool = False
    _shown: bool = False

    @classmethod
    def after(cls, sequence: int) -> Self:
        """For a reader that has had everything up to `sequence`; 0 for nothing."""
        return cls(sequence % SEQUENCE_BASE == 0, sequence // SEQUENCE_BASE, _shown=sequence > 0)

    def feed(self, event: event_pb2.Event) -> Iterator[Piece | Void]:
        """What this event adds. Events of an attempt that is already lost add nothing."""
        kind = event.WhichOneof("kind")
        if kind == "snapshot" or event.attempt < self._attempt:
            return
        if event.attempt > self._attempt:
            yield from self._begin(event.attempt)
        match kind:
            case "gap":
                self._broken = True
            case "output" if not self._broken:
                yield from self._output(event.output)
            case "result":
                yield from self._complete(event.result.submission)

    def _begin(self, attempt: int) -> Iterator[Void]:
        if self._shown:
            yield Void(self._attempt, attempt)
        self._from_start, self._broken, self._shown = True, False, False
        self._attempt, self._have = attempt, {}

    def _output(self, output: event_pb2.Output) -> Iterator[Piece]:
        unknown = 0 if self._from_start else output.offset
        have = self._have.get(output.stream, unknown)
        if output.offset > have:
            # Something never came. Order matters more than speed: the rest waits for the result.
            self._broken = True
            return
        if data := output.data[have - output.offset :]:
            self._have[output.stream] = have + len(data)
            self._shown = True
            yield Piece(output.stream, data)

    def _complete(self, submission: submission_pb2.Submission) -> Iterator[Piece]:
        for stream, kept in outputs(submission).items():
            unknown = 0 if self._from_start else len(kept)
            if data := kept[self._have.get(stream, unknown) :]:
                yield Piece(stream, data)


def outputs(submission: submission_pb2.Submission) -> dict[Stream, bytes]:
    """The exact bytes of each stream of a terminal submission."""
    return {
        evidence_pb2.STREAM_COMPILE: _exact(submission, "compile_output"),
        evidence_pb2.STREAM_STDOUT: _exact(submission, "stdout"),
        evidence_pb2.STREAM_STDERR: _exact(submission, "stderr"),
    }


def _exact(submission: submission_pb2.Submission, name: str) -> bytes:
    if submission.HasField(f"{name}_base64"):  # type: ignore[arg-type]
        return bytes(getattr(submission, f"{name}_base64"))
    return str(getattr(submission, name)).encode()
