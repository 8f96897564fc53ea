"""What an attack is: a program, what it must show, and what it must not. Data; nothing here runs anything."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

from sentinel.v1 import evidence_pb2, submission_pb2

if TYPE_CHECKING:
    from audit.stage import Stage

SECTIONS: Mapping[str, str] = {
    "S": "System calls",
    "F": "Files",
    "N": "Network",
    "P": "Processes",
    "R": "Resources",
    "T": "Time",
    "C": "Compiling",
    "X": "Across jobs",
    "Q": "Protocol",
    "K": "Platform",
}
"""First letter of a case's id, and what it is about."""

ANY_ENDING = ("SUCCESS", "RUNTIME_ERROR", "TIMEOUT", "MEMORY_LIMIT_EXCEEDED", "SECURITY_VIOLATION")
"""Every verdict on a program; INTERNAL_ERROR never is one."""

Submission = submission_pb2.Submission
Fact = Callable[[Submission], str | None]
"""Looks at a finished submission; returns what is wrong with it, or None."""


class Marks(TypedDict, total=False):
    """How a case is run, beside what it is."""

    alone: bool
    classic: bool
    fast: bool


class Sizes(TypedDict, total=False):
    """Limits of a program."""

    wall_ms: int
    cpu_ms: int
    memory_kb: int
    output_kb: int
    processes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is submitted. The runner puts a nonce before `args`, which every started program says first."""

    language: str = "c"
    source: str = ""
    files: tuple[tuple[str, bytes], ...] = ()
    """Instead of `source`; the first is started."""
    stdin: bytes = b""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    wall_ms: int = 10_000
    cpu_ms: int | None = None
    memory_kb: int = 65_536
    output_kb: int = 64
    processes: int = 32
    network: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What must be seen of a program. Patterns must match whole lines."""

    verdicts: tuple[str, ...]
    says: tuple[str, ...] = ()
    """Patterns of lines on standard output; all must be there."""
    never: tuple[str, ...] = ()
    """Patterns that no output may contain anywhere."""
    compiler_says: tuple[str, ...] = ()
    """Patterns that the compiler's output must contain; its proof that it ran."""
    facts: tuple[Fact, ...] = ()
    begins: bool = True
    """The program itself must have started. False where the compiler is the one attacked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The service must refuse the submission before anything runs."""

    codes: tuple[str, ...] = ("INVALID_ARGUMENT",)
    mentions: str = ""
    """Pattern that the refusal's text must contain: a refusal for another reason proves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One entry of the catalogue, or one variant of it (`P01-perl`)."""

    id: str
    name: str
    claim: str
    """One sentence: what holds, whatever the program does."""
    layer: str
    """What makes it hold."""
    program: Program | None = None
    expect: Expectation | Refusal | None = None
    scenario: "Callable[[Stage], Awaitable[None]] | None" = None
    """Instead of one program: several, or what happens beside them."""
    alone: bool = False
    """Runs with no other attack beside it: it measures time, or disturbs the mesh."""
    classic: bool = False
    """One of the 22 of the seed guide."""
    fast: bool = False
    """Part of the subset that `make test` runs."""
    crowd: bool = False
    """So many submissions that others wait for a slot: neighbours' answers are judged, and their time is not."""
    renews_executors: bool = False
    """Ends an executor on purpose, so the host's picture is taken anew afterwards."""

    @property
    def entry(self) -> str:
        """The catalogue's id, without the variant."""
        return self.id.partition("-")[0]

    @property
    def section(self) -> str:
        """Title of its part of the catalogue."""
        return SECTIONS[self.id[0]]

    @property
    def languages(self) -> frozenset[str]:
        """What the deployment must offer for it."""
        if isinstance(self.expect, Refusal) or self.program is None:
            return frozenset({"python", "c"})
        return frozenset({self.program.language})

    def faults(self) -> list[str]:  # noqa: C901 - a list, not a branching
        """Why it would prove nothing, if it would: a case must be able to fail."""
        found = []
        if not re.fullmatch(r"[SFNPRTCXQK]\d\d(-[a-z0-9-]+)?", self.id):
            found.append("its id is none")
        if not self.claim.endswith(".") or not self.layer or not self.name:
            found.append("it has no name, claim or layer")
        if (self.scenario is None) == (self.program is None or self.expect is None):
            found.append("it needs a program with an expectation, or a scenario")
        match self.expect:
            case Expectation() as expect:
                if not expect.verdicts or "INTERNAL_ERROR" in expect.verdicts:
                    found.append("it expects no verdict, or our failure")
                if expect.begins is False and not expect.compiler_says and not expect.facts:
                    found.append("nothing would show that the compiler ran")
                if expect.begins and not expect.says and not expect.facts and not expect.never:
                    found.append("a program that did nothing would pass")
            case Refusal() as refusal:
                if not refusal.codes or not refusal.mentions:
                    found.append("any refusal would pass")
            case None:
                pass
        return found


# What a finished submission must show beside its verdict.


def limit(name: str) -> Fact:
    """That limit fired: WALL_TIME, CPU_TIME, MEMORY, OUTPUT, UNSPECIFIED."""
    wanted = evidence_pb2.Limit.Value(f"LIMIT_{name}")

    def check(seen: Submission) -> str | None:
        got = evidence_pb2.Limit.Name(seen.evidence.limit)
        return None if seen.evidence.limit == wanted else f"{got} fired, not LIMIT_{name}"

    return check


def signalled(number: int) -> Fact:
    """That signal ended the program."""
    return lambda seen: (
        None
        if seen.HasField("signal") and seen.signal == number
        else f"ended by signal {seen.signal if seen.HasField('signal') else 'none'}, not {number}"
    )


def exited(code: int) -> Fact:
    """It exited so by itself, at the first attempt."""
    return lambda seen: (
        None
        if seen.HasField("exit_code") and seen.exit_code == code and seen.attempt == 1
        else f"exit code {seen.exit_code if seen.HasField('exit_code') else 'none'} at attempt {seen.attempt}"
    )


def wall_between(least_ms: float, most_ms: float) -> Fact:
    """Wall time of the deciding phase."""
    return lambda seen: (
        None
        if least_ms <= seen.evidence.wall_time_ms <= most_ms
        else f"took {seen.evidence.wall_time_ms:.0f} ms, not {least_ms:.0f} to {most_ms:.0f}"
    )


def cpu_at_most(most_ms: float) -> Fact:
    """CPU time of the deciding phase, all processes."""
    return lambda seen: (
        None if seen.evidence.cpu_time_ms <= most_ms else f"used {seen.evidence.cpu_time_ms:.0f} ms of CPU"
    )


def oom_events(least: int, most: int = 1_000_000) -> Fact:
    """What the kernel reported."""
    return lambda seen: (
        None if least <= seen.evidence.oom_events <= most else f"{seen.evidence.oom_events} out-of-memory events"
    )


def memory_at_most(kib: int) -> Fact:
    """Peak memory of the deciding phase."""
    return lambda seen: (
        None if seen.evidence.memory_peak_kb <= kib else f"peak of {seen.evidence.memory_peak_kb} KiB, limit {kib}"
    )


def peak_processes(count: int) -> Fact:
    """Most processes at one time: exactly so many, or 0 where the kernel does not tell."""
    return lambda seen: (
        None if seen.evidence.peak_processes in {0, count} else f"{seen.evidence.peak_processes} processes at one time"
    )


def kept(stream: str, count: int) -> Fact:
    """Bytes kept of STDOUT, STDERR or COMPILE, as told and as given."""
    wanted = evidence_pb2.Stream.Value(f"STREAM_{stream}")

    def check(seen: Submission) -> str | None:
        told = [usage.bytes_kept for usage in seen.evidence.streams if usage.stream == wanted]
        given = len(output_of(seen, stream))
        return None if told == [count] and given == count else f"{stream} kept {told}, gave {given}, not {count}"

    return check


def at_most(stream: str, count: int) -> Fact:
    """Bytes given of a stream."""

    def check(seen: Submission) -> str | None:
        given = len(output_of(seen, stream))
        return None if given <= count else f"{stream} gave {given} bytes"

    return check


def exactly(stream: str, wanted: bytes) -> Fact:
    """A stream, byte for byte, behind the line that says that the program began."""

    def check(seen: Submission) -> str | None:
        given = output_of(seen, stream)
        body = given.partition(b"\n")[2] if stream == "STDOUT" else given
        return None if body == wanted else f"{stream} is {body[:60]!r}, not {wanted[:60]!r}"

    return check


def output_of(seen: Submission, stream: str) -> bytes:
    """Exact bytes of STDOUT, STDERR or COMPILE."""
    text, exact = {
        "STDOUT": (seen.stdout, seen.stdout_base64),
        "STDERR": (seen.stderr, seen.stderr_base64),
        "COMPILE": (seen.compile_output, seen.compile_output_base64),
    }[stream]
    return exact or text.encode()
