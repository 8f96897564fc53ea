"""What one case has at hand while it runs, and what was seen of it."""

import re
import secrets
import socket
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import aiohttp
from sentinel.v1 import scheduler_pb2, submission_pb2
from yarl import URL

from audit.case import Program, Submission, output_of
from audit.door import Door, Edge, Refused, submit_request
from audit.invariants import LocalHost
from audit.target import Target

if TYPE_CHECKING:
    from audit.door import Scheduler, Status


class Kind(StrEnum):
    """What kind of thing went wrong."""

    NEVER_BEGAN = "never began"
    VERDICT = "wrong verdict"
    OBSERVABLE = "not observed"
    ESCAPE = "escape"
    LEFTOVER = "leftover"
    CONTROL = "control failed"
    NEIGHBOUR = "neighbour harmed"
    BROKEN = "audit broken"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it must be."""

    kind: Kind
    text: str


@dataclass(slots=True)
class Record:
    """What was seen of one case."""

    case_id: str
    verdicts: list[str] = field(default_factory=list)
    jobs: dict[str, int] = field(default_factory=dict)
    """Every job it made, and the attempts that it took."""
    problems: list[Problem] = field(default_factory=list)
    proofs: int = 0
    """Programs that showed that they began, and refusals that were the right ones. None: nothing was proved."""
    seconds: float = 0.0
    wall_ms: float = 0.0
    refusals: int = 0
    skipped: str = ""

    def problem(self, kind: Kind, text: str) -> None:
        """Notes one."""
        self.problems.append(Problem(kind, text[:600]))

    @property
    def held(self) -> bool:
        """It ran, it proved something, and nothing is wrong."""
        return not self.skipped and not self.problems and self.proofs > 0


class Stage:
    """One case's own. What it finds wrong goes to its record; only failures of the audit itself raise."""

    def __init__(
        self, record: Record, door: Door, environment: dict[str, str], target: Target, host: LocalHost | None = None
    ) -> None:
        self.record = record
        self.target = target
        self._door = door
        self._host = host
        self._environment = environment
        self._nonces: dict[str, str] = {}

    @property
    def host(self) -> LocalHost:
        """The auditor's hands on the host, for the few cases that need them."""
        if self._host is None:
            raise TypeError("this stage has no host")
        return self._host

    @property
    def scheduler(self) -> "Scheduler":
        """For calls that are more than submitting."""
        return self._edge().scheduler

    @property
    def status(self) -> "Status":
        """Likewise."""
        return self._edge().status

    def _edge(self) -> Edge:
        if not isinstance(self._door, Edge):
            raise TypeError("this stage has no edge")
        return self._door

    def secret(self) -> str:
        """Nobody else's."""
        return secrets.token_hex(12)

    def free_port(self) -> int:
        """One that nobody listens on."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def request(self, program: Program) -> scheduler_pb2.SubmitRequest:
        """As it is sent."""
        nonce = self.secret()
        request = submit_request(program, nonce, self._environment)
        self._nonces[nonce] = ""
        return request

    async def run(self, program: Program) -> Submission:
        """Runs it to its end. A refusal is noted, and raised."""
        request = self.request(program)
        try:
            seen = await self._door.run(request)
        except Refused as refused:
            self.record.refusals += 1
            raise refused from None
        return self.note(seen, request.args[0])

    async def await_end(self, job_id: str) -> Submission:
        """A job that was submitted by hand, finished."""
        seen = await self._edge().await_end(job_id)
        return self.note(seen, seen.args[0] if seen.args else "")

    def note(self, seen: Submission, nonce: str) -> Submission:
        """Remembers a job and looks for what no output may hold."""
        self._nonces[nonce] = seen.job_id
        self.record.jobs[seen.job_id] = seen.attempt
        name = submission_pb2.Status.Name(seen.status)
        self.record.verdicts.append(name)
        self.record.wall_ms = max(self.record.wall_ms, seen.evidence.wall_time_ms)
        if name == "INTERNAL_ERROR":
            self.record.problem(Kind.VERDICT, f"INTERNAL_ERROR: {seen.failure.reason} {seen.failure.message}")
        for stream in ("STDOUT", "STDERR", "COMPILE"):
            output = output_of(seen, stream)
            for word in self.target.secret_words:
                if word.encode() in output:
                    self.record.problem(Kind.ESCAPE, f"{stream} holds a secret of the host: {word[:10]}…")
        return seen

    def began(self, seen: Submission) -> bool:
        """Whether the program said its nonce first: nothing but the program itself knows to say it."""
        first = output_of(seen, "STDOUT").partition(b"\n")[0].decode("utf-8", "replace")
        nonce = first.removeprefix("begun ")
        return first.startswith("begun ") and self._nonces.get(nonce) == seen.job_id

    def require(self, seen: Submission, verdicts: str | tuple[str, ...], *lines: str, begun: bool = True) -> str:
        """The program began, ended so, and said these lines. Returns how it ended."""
        wanted = (verdicts,) if isinstance(verdicts, str) else verdicts
        name = submission_pb2.Status.Name(seen.status)
        if begun:
            if self.began(seen):
                self.prove()
            else:
                heard = (seen.stdout + seen.stderr + seen.compile_output)[:300]
                self.record.problem(Kind.NEVER_BEGAN, f"{name}; the program never said that it began: {heard!r}")
        if name not in wanted:
            why = f"{seen.evidence.explanation} stderr {seen.stderr[:200]!r} compiler {seen.compile_output[:200]!r}"
            self.record.problem(Kind.VERDICT, f"{name}, not {' or '.join(wanted)}: {why}")
        said = seen.stdout.splitlines()
        for pattern in lines:
            if not any(re.fullmatch(pattern, line) for line in said):
                self.record.problem(Kind.OBSERVABLE, f"no line {pattern!r} in {seen.stdout[:400]!r}")
        return name

    def check(self, holds: bool, text: str) -> None:  # noqa: FBT001 - reads as an assertion
        """Notes `text` unless it holds."""
        if not holds:
            self.record.problem(Kind.OBSERVABLE, text)

    def prove(self) -> None:
        """One thing was shown that a dead service could not have shown."""
        self.record.proofs += 1

    async def rest(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One HTTP call through Envoy: status and body."""
        url = URL(f"http://{self.target.edge}{path}", encoded=True)
        sent = {"Content-Type": "application/json", **(headers or {})}
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
            session.request(method, url, data=body, headers=sent) as answer,
        ):
            return answer.status, await answer.read()
