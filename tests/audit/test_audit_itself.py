"""An audit that passes when nothing runs must be impossible: it meets services that lie, and hosts with leftovers."""

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable, Sequence

import pytest
from sentinel.v1 import evidence_pb2, scheduler_pb2, submission_pb2

from audit import campaign
from audit.case import ANY_ENDING, Case, Expectation, Program, Refusal, exited, kept, limit, peak_processes, signalled
from audit.cases import CATALOGUE
from audit.door import Refused
from audit.invariants import ExecutorSight, Process, Sight, broken
from audit.neighbours import Neighbours
from audit.report import WHOLE, Report, merged
from audit.runner import Runner, waves
from audit.stage import Kind, Record
from audit.target import Target

SLOTS, EXECUTORS = 2, 2
TARGET = Target(
    edge="",
    database_url="",
    amqp_url="",
    cgroup="",
    first_user_id=0,
    user_ids=0,
    slots=SLOTS,
    executors=EXECUTORS,
    pids=dict,
    ports=(),
    secret_words=("hunter2",),
)
QUIET = Sight(
    groups=frozenset(f"{owner}/{jail}" for owner in range(EXECUTORS) for jail in range(SLOTS)),
    processes=tuple(Process(pid, init=True, name="init") for pid in range(100, 100 + SLOTS * EXECUTORS)),
    executors={
        f"executor-{n}": ExecutorSight(pid=n + 10, descriptors=40, threads=5, memory_kib=50_000, mounts="/")
        for n in range(EXECUTORS)
    },
    canary="tree",
    calls=0,
    files="ours",
    settings="core",
    keys=0,
    complaints=0,
)
CASE = Case(
    id="S01",
    name="an attack",
    claim="It is refused.",
    layer="seccomp",
    program=Program(source="attack"),
    expect=Expectation(verdicts=("SUCCESS",), says=("call=1",), never=("survived",)),
)
REFUSED = dataclasses.replace(CASE, id="Q04", expect=Refusal(mentions="args"))

Behaviour = Callable[[scheduler_pb2.SubmitRequest, submission_pb2.Submission], None]


class FakeDoor:
    """A service that behaves as told, and well towards control programs unless told otherwise."""

    def __init__(self, attack: Behaviour, control: Behaviour | None = None) -> None:
        self.attack = attack
        self.control = control or honest
        self.jobs: list[str] = []

    async def run(self, request: scheduler_pb2.SubmitRequest) -> submission_pb2.Submission:
        seen = submission_pb2.Submission(job_id=f"job-{len(self.jobs)}", status=submission_pb2.SUCCESS, attempt=1)
        self.jobs.append(seen.job_id)
        (self.attack if request.source_code == "attack" else self.control)(request, seen)
        return seen


class FakeRows:
    """A record with as many rows per job as told."""

    def __init__(self, copies: int = 1, *, terminal: bool = True) -> None:
        self.copies = copies
        self.terminal = terminal

    async def of(self, jobs: Sequence[str]) -> list[tuple[str, bool, int]]:
        return [(job, self.terminal, 1) for job in jobs for _ in range(self.copies)]

    async def pending(self) -> int:
        return 0


class FakeHost:
    """A host that looks as told once the attack has run."""

    def __init__(self, door: FakeDoor, after: Sight = QUIET) -> None:
        self.door = door
        self.after = after
        self.attacked = False

    def look(self) -> Sight:
        return self.after if self.attacked else QUIET


def honest(request: scheduler_pb2.SubmitRequest, seen: submission_pb2.Submission) -> None:
    seen.stdout = f"begun {request.args[0]}\ncontrol True\n"


def defended(request: scheduler_pb2.SubmitRequest, seen: submission_pb2.Submission) -> None:
    seen.stdout = f"begun {request.args[0]}\ncall=1\n"


def never_started(_: scheduler_pb2.SubmitRequest, seen: submission_pb2.Submission) -> None:
    seen.status = submission_pb2.RUNTIME_ERROR
    seen.exit_code = 255


def silent(_: scheduler_pb2.SubmitRequest, seen: submission_pb2.Submission) -> None:
    """Says SUCCESS and nothing more."""


def parrot(_: scheduler_pb2.SubmitRequest, seen: submission_pb2.Submission) -> None:
    seen.stdout = "begun with somebody else's nonce\ncall=1\n"


def mute(request: scheduler_pb2.SubmitRequest, seen: submission_pb2.Submission) -> None:
    seen.stdout = f"begun {request.args[0]}\n"


def open_sandbox(request: scheduler_pb2.SubmitRequest, seen: submission_pb2.Submission) -> None:
    seen.stdout = f"begun {request.args[0]}\ncall=0\nsurvived\n"


def leaking(request: scheduler_pb2.SubmitRequest, seen: submission_pb2.Submission) -> None:
    defended(request, seen)
    seen.stderr = "PASSWORD=hunter2"


def internal(request: scheduler_pb2.SubmitRequest, seen: submission_pb2.Submission) -> None:
    defended(request, seen)
    seen.status = submission_pb2.INTERNAL_ERROR


def refuses(code: str, text: str) -> Behaviour:
    def refuse(_: scheduler_pb2.SubmitRequest, __: submission_pb2.Submission) -> None:
        raise Refused(code, text)

    return refuse


def explodes(_: scheduler_pb2.SubmitRequest, __: submission_pb2.Submission) -> None:
    raise ZeroDivisionError


async def audited(
    attack: Behaviour,
    *,
    case: Case = CASE,
    after: Sight = QUIET,
    rows: FakeRows | None = None,
    control: Behaviour | None = None,
    languages: frozenset[str] = frozenset({"c", "python"}),
) -> Report:
    """A whole run of one case."""
    door = FakeDoor(attack, control)
    host = FakeHost(door, after)
    runner = Runner(
        target=TARGET,
        door=door,
        host=host,
        rows=rows or FakeRows(),
        environment={},
        languages=set(languages),
        quiet_within=0.05,
    )
    report = Report(began=dt.datetime.now(dt.UTC), cases={case.id: case}, whole=False)
    report.troubles += await runner.prepare()
    host.attacked = True
    report.records += await runner.wave([case])
    report.controls = runner.controls
    return report


def kinds(report: Report) -> set[Kind]:
    return {problem.kind for record in report.records for problem in record.problems}


async def test_a_sandbox_that_defends_itself_passes() -> None:
    report = await audited(defended)

    assert report.verdict() == []
    assert report.held


@pytest.mark.parametrize(
    ("sandbox", "kind"),
    [
        (never_started, Kind.NEVER_BEGAN),
        (silent, Kind.NEVER_BEGAN),
        (parrot, Kind.NEVER_BEGAN),
        (mute, Kind.OBSERVABLE),
        (open_sandbox, Kind.ESCAPE),
        (leaking, Kind.ESCAPE),
        (internal, Kind.VERDICT),
        (refuses("UNAVAILABLE", "down"), Kind.NEVER_BEGAN),
        (explodes, Kind.BROKEN),
    ],
)
async def test_a_broken_sandbox_fails(sandbox: Behaviour, kind: Kind) -> None:
    report = await audited(sandbox)

    assert kind in kinds(report)
    assert report.verdict()
    assert not report.held


async def test_a_service_where_nothing_runs_fails_even_where_attacks_are_refused() -> None:
    report = await audited(refuses("INVALID_ARGUMENT", "args: no"), case=REFUSED, control=never_started)

    assert Kind.CONTROL in kinds(report)
    assert "no control program ran" in report.verdict()


async def test_the_right_refusal_passes() -> None:
    assert (await audited(refuses("INVALID_ARGUMENT", "args: no NUL"), case=REFUSED)).verdict() == []


@pytest.mark.parametrize(
    "sandbox", [refuses("UNAVAILABLE", "args"), refuses("INVALID_ARGUMENT", "language: unknown"), defended]
)
async def test_another_refusal_or_none_fails(sandbox: Behaviour) -> None:
    assert (await audited(sandbox, case=REFUSED)).verdict()


async def test_a_case_that_was_skipped_is_not_held() -> None:
    report = await audited(defended, languages=frozenset({"python"}))

    assert report.records[0].skipped
    assert "no case was proved to hold" in report.verdict()


async def test_a_scenario_that_does_nothing_fails() -> None:
    async def nothing(_: object) -> None:
        """Shows nothing."""

    report = await audited(defended, case=dataclasses.replace(CASE, program=None, expect=None, scenario=nothing))

    assert kinds(report) == {Kind.NEVER_BEGAN}


@pytest.mark.parametrize("rows", [FakeRows(copies=0), FakeRows(copies=2), FakeRows(terminal=False)])
async def test_every_job_has_one_terminal_row(rows: FakeRows) -> None:
    assert kinds(await audited(defended, rows=rows)) == {Kind.LEFTOVER}


def executor(**changes: object) -> dict[str, ExecutorSight]:
    return {**QUIET.executors, "executor-0": dataclasses.replace(QUIET.executors["executor-0"], **changes)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "letter"),
    [
        ({"groups": QUIET.groups | {"0/left"}}, "a"),
        ({"groups": frozenset()}, "a"),
        ({"processes": (*QUIET.processes, Process(7, init=False, name="sh"))}, "b"),
        ({"processes": (*QUIET.processes, Process(7, init=True, name="init"))}, "b"),
        ({"processes": ()}, "b"),
        ({"executors": executor(descriptors=41)}, "c"),
        ({"executors": executor(threads=6)}, "c"),
        ({"executors": executor(mounts="/ /x")}, "c"),
        ({"executors": executor(pid=99)}, "c"),
        ({"executors": executor(memory_kib=500_000)}, "c"),
        ({"executors": {}}, "c"),
        ({"canary": "trodden"}, "d"),
        ({"calls": 1}, "d"),
        ({"files": "other"}, "d"),
        ({"settings": "|/evil"}, "d"),
        ({"keys": 1}, "d"),
        ({"complaints": 1}, "d"),
    ],
)
async def test_what_an_attack_leaves_is_seen(change: dict[str, object], letter: str) -> None:
    after = dataclasses.replace(QUIET, **change)  # type: ignore[arg-type]

    assert letter in {one.letter for one in broken(QUIET, after, SLOTS)}
    assert Kind.LEFTOVER in kinds(await audited(defended, after=after))


def test_a_host_without_executors_proves_nothing() -> None:
    empty = dataclasses.replace(QUIET, executors={}, groups=frozenset(), processes=())

    assert broken(empty, empty, SLOTS)


def test_the_catalogue_can_fail_and_is_whole() -> None:
    assert {case.id: case.faults() for case in CATALOGUE if case.faults()} == {}
    assert len({case.id for case in CATALOGUE}) == len(CATALOGUE)
    assert len({case.entry for case in CATALOGUE}) >= WHOLE
    assert sum(case.classic for case in CATALOGUE) == 22
    assert 35 <= sum(case.fast for case in CATALOGUE) <= 75


def test_no_source_is_too_long_to_be_sent() -> None:
    for case in CATALOGUE:
        if case.program is not None and isinstance(case.expect, Expectation):
            assert len(case.program.source.encode()) <= 65_536, case.id


@pytest.mark.parametrize(
    "changes",
    [
        {"expect": Expectation(verdicts=())},
        {"expect": Expectation(verdicts=("INTERNAL_ERROR",), says=("x",))},
        {"expect": Expectation(verdicts=ANY_ENDING)},
        {"expect": Expectation(verdicts=ANY_ENDING, begins=False)},
        {"expect": Refusal()},
        {"expect": None},
        {"id": "Z99"},
        {"claim": "no full stop"},
    ],
)
def test_a_case_that_could_not_fail_is_no_case(changes: dict[str, object]) -> None:
    assert dataclasses.replace(CASE, **changes).faults()  # type: ignore[arg-type]


def test_a_run_of_nothing_fails() -> None:
    report = Report(began=dt.datetime.now(dt.UTC), cases={CASE.id: CASE}, whole=True)

    assert {"no case was proved to hold", "no control program ran", "never run: S01"} <= set(report.verdict())


def test_a_case_that_failed_once_in_three_runs_has_failed() -> None:
    def one(*, failed: bool) -> Report:
        record = Record("S01", proofs=1)
        if failed:
            record.problem(Kind.ESCAPE, "out")
        return Report(began=dt.datetime.now(dt.UTC), cases={"S01": CASE}, whole=False, records=[record], controls=1)

    assert merged([one(failed=False), one(failed=False)]).verdict() == []
    assert merged([one(failed=False), one(failed=True), one(failed=False)]).verdict()


def test_facts_are_looked_for_in_the_evidence() -> None:
    seen = submission_pb2.Submission(
        signal=31,
        attempt=1,
        stdout="abc",
        evidence=evidence_pb2.Evidence(
            limit=evidence_pb2.LIMIT_MEMORY,
            peak_processes=3,
            streams=[evidence_pb2.StreamUsage(stream=evidence_pb2.STREAM_STDOUT, bytes_produced=4, bytes_kept=3)],
        ),
    )

    for holds in (signalled(31), limit("MEMORY"), peak_processes(3), kept("STDOUT", 3)):
        assert holds(seen) is None
    for fails in (signalled(9), limit("OUTPUT"), peak_processes(4), kept("STDOUT", 4), kept("STDERR", 3), exited(0)):
        assert fails(seen)


def test_alone_is_alone_and_the_destructive_come_last() -> None:
    alone = dataclasses.replace(CASE, id="T03", alone=True)
    last = dataclasses.replace(alone, id="K11", renews_executors=True)
    planned = waves([last, alone, *(dataclasses.replace(CASE, id=f"S0{n}") for n in range(1, 6))], 4)

    assert [len(wave) for wave in planned] == [4, 1, 1, 1]
    assert [case.id for wave in planned[-2:] for case in wave] == ["T03", "K11"]


def test_cases_are_chosen_by_entry_or_variant() -> None:
    assert {case.entry for case in campaign.chosen(CATALOGUE, "S01,P01*")} == {"S01", "P01"}
    assert campaign.chosen(CATALOGUE, "none") == []


async def test_a_neighbour_with_a_wrong_answer_is_told() -> None:
    def wrong(request: scheduler_pb2.SubmitRequest, seen: submission_pb2.Submission) -> None:
        seen.stdout = f"begun {request.args[0]}\n{hashlib.sha256(b'x').hexdigest()}\n"

    async def attack() -> None:
        """Harmless."""

    record = Record("S01")
    neighbours = Neighbours(FakeDoor(defended, wrong), TARGET, {}, 1)
    await neighbours.beside(attack, [record])

    assert {problem.kind for problem in record.problems} == {Kind.NEIGHBOUR}
