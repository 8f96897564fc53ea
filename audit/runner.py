"""Runs cases in waves; after each wave the host must be as it was before, and jails must still work."""

import asyncio
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from sentinel.v1 import submission_pb2

from audit.case import Case, Expectation, Program, Refusal, Submission, output_of
from audit.door import Door, Refused
from audit.invariants import Broken, Host, LocalHost, Sight, broken
from audit.neighbours import Neighbours
from audit.programs import c, python
from audit.stage import Kind, Record, Stage
from audit.target import Target

QUIET_WITHIN = 8.0
"""Seconds for the host to be as before after the last program of a wave ended."""
CONTROL_WITHIN = 10.0
"""Seconds for a trivial program; on an idle machine it takes 0.1."""
_POLL = 0.05

CONTROLS: Mapping[str, str] = {
    "python": python('print("control", sys.argv[0] != "")'),
    "c": c('ATTACK { say("control", 1); return 0; }'),
    "cpp": (
        '#include <cstdio>\nint main(int c, char **v) { std::printf("begun %s\\ncontrol 1\\n", c > 1 ? v[1] : ""); }\n'
    ),
}


class Rows(Protocol):
    """The record of submissions."""

    async def of(self, jobs: Sequence[str]) -> list[tuple[str, bool, int]]:
        """Id, whether terminal, and attempt of every row with one of these ids."""

    async def pending(self) -> int:
        """Rows and messages that are not done with."""


class Runner:
    """Runs cases against one mesh. Nothing passes by silence: see Record.held."""

    def __init__(
        self,
        *,
        target: Target,
        door: Door,
        host: Host,
        rows: Rows,
        environment: dict[str, str],
        languages: set[str],
        neighbours: Neighbours | None = None,
        quiet_within: float = QUIET_WITHIN,
    ) -> None:
        self._target = target
        self._door = door
        self._host = host
        self._rows = rows
        self._environment = environment
        self._languages = languages
        self._neighbours = neighbours
        self._quiet_within = quiet_within
        self._before: Sight | None = None
        self.controls = 0
        """Control programs that returned their nonce."""

    async def prepare(self) -> list[str]:
        """Warms everything up, proves that programs run, and takes the host's picture. Says what is wrong."""
        record = Record("before")
        for _ in range(3):
            await self._control(record, ["python", "c"] * self._target.slots * self._target.executors)
        self._before = await self._settled()
        if self.controls == 0:
            record.problem(Kind.CONTROL, "no control program ran")
        found = broken(self._before, self._before, self._target.slots)
        return [problem.text for problem in record.problems] + [f"({one.letter}) {one.text}" for one in found]

    async def wave(self, cases: Sequence[Case]) -> list[Record]:
        """Runs these beside each other, then looks at the host."""
        records = [Record(case.id) for case in cases]
        if self._neighbours is not None:
            crowd = any(case.crowd for case in cases)
            await self._neighbours.beside(lambda: self._all(cases, records), records, judged=not crowd)
        else:
            await self._all(cases, records)
        renewed = any(case.renews_executors for case in cases)
        if renewed and self._before is not None:
            # Another process under the same name, on purpose. Everything else must be as before.
            now = await self._settled()
            self._before = replace(self._before, executors=now.executors, files=now.files)
        for one in await self._unrest():
            for record in records:
                record.problem(Kind.LEFTOVER, f"({one.letter}) {one.text}")
        ran = [case.program.language for case in cases if case.program is not None]
        control = Record("control")
        spread = ["python"] * (self._target.slots * self._target.executors)
        await self._control(control, [*{name for name in ran if name in CONTROLS and name in self._languages}, *spread])
        for record in records:
            record.problems += control.problems
        await self._count(records)
        return records

    async def _all(self, cases: Sequence[Case], records: Sequence[Record]) -> None:
        await asyncio.gather(*(self._one(case, record) for case, record in zip(cases, records, strict=True)))

    async def _one(self, case: Case, record: Record) -> None:
        begun = time.monotonic()
        host = self._host if isinstance(self._host, LocalHost) else None
        stage = Stage(record, self._door, self._environment, self._target, host)
        missing = case.languages - self._languages
        if missing:
            record.skipped = f"this deployment has no {', '.join(sorted(missing))}"
            return
        try:
            if case.scenario is not None:
                await case.scenario(stage)
            else:
                await self._attack(stage, case)
        except Refused as refused:
            record.problem(Kind.NEVER_BEGAN, f"refused: {refused}")
        except Exception as error:
            # A case that breaks the audit has shown nothing, whatever it did.
            record.problem(Kind.BROKEN, f"{type(error).__name__}: {error}")
        record.seconds = time.monotonic() - begun
        if record.proofs == 0 and not record.problems:
            record.problem(Kind.NEVER_BEGAN, "nothing was shown: no program began and nothing was refused")

    async def _attack(self, stage: Stage, case: Case) -> None:
        if case.program is None or case.expect is None:
            raise ValueError(f"{case.id} has nothing to run")
        if isinstance(case.expect, Refusal):
            await self._refusal(stage, case.program, case.expect)
            return
        judge(stage, await stage.run(case.program), case.expect)

    async def _refusal(self, stage: Stage, program: Program, expect: Refusal) -> None:
        record = stage.record
        try:
            seen = await stage.run(program)
        except Refused as refused:
            record.verdicts.append(f"refused {refused.code}")
            if refused.code not in expect.codes:
                record.problem(
                    Kind.VERDICT, f"refused as {refused.code}, not {' or '.join(expect.codes)}: {refused.text}"
                )
            elif not re.search(expect.mentions, refused.text):
                record.problem(Kind.OBSERVABLE, f"refused for another reason: {refused.text}")
            else:
                stage.prove()
        else:
            record.problem(Kind.VERDICT, f"taken, and ended as {submission_pb2.Status.Name(seen.status)}")

    async def _control(self, record: Record, languages: Iterable[str]) -> None:
        """Trivial programs, one for each slot at least: each must return its nonce in time."""

        async def one(language: str) -> None:
            own = Record("control")
            stage = Stage(own, self._door, self._environment, self._target)
            program = Program(language=language, source=CONTROLS[language])
            try:
                async with asyncio.timeout(CONTROL_WITHIN):
                    stage.require(await stage.run(program), "SUCCESS", "control.*")
            except (Refused, TimeoutError) as error:
                own.problem(Kind.CONTROL, f"a trivial {language} program: {error or 'too late'}")
            if own.held:
                self.controls += 1
            for problem in own.problems:
                record.problem(Kind.CONTROL, f"(e) a trivial {language} program afterwards: {problem.text}")
            record.jobs |= own.jobs

        await asyncio.gather(*(one(language) for language in languages))

    async def _count(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.jobs:
                rows = await self._rows.of(list(record.jobs))
                if sorted(job for job, _, _ in rows) != sorted(record.jobs):
                    record.problem(Kind.LEFTOVER, f"(f) {len(rows)} rows for {len(record.jobs)} jobs")
                if not all(terminal for _, terminal, _ in rows):
                    record.problem(Kind.LEFTOVER, "(f) a row is not terminal")

    async def _settled(self) -> Sight:
        """The host once it has not changed for a while."""
        last = await self._look()
        deadline = time.monotonic() + self._quiet_within
        same = 0
        while same < 3 and time.monotonic() < deadline:
            await asyncio.sleep(_POLL * 3)
            now = await self._look()
            calm = not broken(last, now, self._target.slots)
            same = same + 1 if calm else 0
            last = now
        return last

    async def _unrest(self) -> list[Broken]:
        """What does not hold, after the time that cleaning up may take."""
        if self._before is None:
            return [Broken("g", "the audit took no picture of the host before")]
        deadline = time.monotonic() + self._quiet_within
        while found := broken(self._before, await self._look(), self._target.slots):
            if time.monotonic() > deadline:
                return found
            await asyncio.sleep(_POLL)
        return []

    async def _look(self) -> Sight:
        return await asyncio.get_running_loop().run_in_executor(None, self._host.look)


def judge(stage: Stage, seen: Submission, expect: Expectation) -> None:
    """Holds one finished program against what must be seen of it."""
    record = stage.record
    stage.require(seen, expect.verdicts, *expect.says, begun=expect.begins)
    outputs = {stream: output_of(seen, stream).decode("utf-8", "replace") for stream in ("STDOUT", "STDERR", "COMPILE")}
    for pattern in expect.never:
        for stream, text in outputs.items():
            if re.search(pattern, text, re.MULTILINE):
                record.problem(Kind.ESCAPE, f"{stream} shows {pattern!r}: {text[:300]!r}")
    for pattern in expect.compiler_says:
        if not re.search(pattern, outputs["COMPILE"]):
            record.problem(Kind.OBSERVABLE, f"the compiler does not say {pattern!r}: {outputs['COMPILE'][:300]!r}")
    for fact in expect.facts:
        if wrong := fact(seen):
            record.problem(Kind.OBSERVABLE, wrong)
    if not expect.begins and seen.evidence.wall_time_ms + len(seen.evidence.explanation) > 0:
        # A compiler that was attacked shows that it ran by its own output, time and limits, which were judged above.
        stage.prove()


def waves(cases: Sequence[Case], width: int) -> list[list[Case]]:
    """Cases that may run beside each other, in order; one that must be alone is."""
    planned: list[list[Case]] = []
    together = sorted((case for case in cases if not case.alone), key=_seconds)
    planned += [together[at : at + width] for at in range(0, len(together), width)]
    planned += [
        [case] for case in sorted((case for case in cases if case.alone), key=lambda case: case.renews_executors)
    ]
    return planned


def _seconds(case: Case) -> float:
    """About how long it takes, so that long ones run beside long ones."""
    if case.scenario is not None:
        return 1500
    program, expect = case.program, case.expect
    if program is None or isinstance(expect, Refusal):
        return 0
    late = isinstance(expect, Expectation) and "TIMEOUT" in expect.verdicts
    return (min(program.wall_ms, program.cpu_ms or program.wall_ms) if late else 100) + 200 * (
        program.language != "python"
    )
