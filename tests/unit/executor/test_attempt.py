"""The story of one attempt, told by its reports; the box is a fake that keeps the real promises."""

import asyncio
from pathlib import Path

import pytest
from sentinel.v1 import evidence_pb2, executor_pb2, submission_pb2

from services.executor import languages
from services.executor.attempt import STDIN_MOST, Attempt
from services.executor.languages import load_languages
from services.executor.sandbox.protocol import Exited, SandboxError, Signalled
from tests.unit.executor.fakes import FakePool, Script, assignment, until

LANGUAGES = {language.name: language for language in load_languages(Path(languages.__file__).parent / "languages")}


def attempt(pool: FakePool, given: executor_pb2.Assignment) -> Attempt:
    made = Attempt(
        given,
        pool=pool,
        languages=LANGUAGES,
        slots=asyncio.Semaphore(1),
        executor_id="e1",
        changed=lambda _may_wait: None,
    )
    made.reports.begin_session(1 << 20)
    return made


async def told(pool: FakePool, given: executor_pb2.Assignment) -> list[executor_pb2.Report]:
    made = attempt(pool, given)
    await asyncio.wait_for(made.run(), 10)
    return said(made)


def said(made: Attempt) -> list[executor_pb2.Report]:
    found = []
    while (report := made.reports.next_nowait()) is not None:
        found.append(report)
    return found


async def test_an_interpreted_program_runs_at_once() -> None:
    pool = FakePool()
    reports = await told(pool, assignment())

    assert [report.WhichOneof("kind") for report in reports] == ["phase", "output", "finished"]
    assert reports[0].phase.phase == evidence_pb2.PHASE_RUN
    assert reports[-1].finished.verdict == executor_pb2.VERDICT_SUCCESS
    assert pool.boxes[0].files == {"main.py": b"print(1)"}
    assert pool.lent == 0


async def test_a_compiled_program_is_compiled_and_run_in_one_box() -> None:
    pool = FakePool(Script(output=b""))
    reports = await told(pool, assignment(language="c", source_code="int main(){}"))

    assert [report.phase.phase for report in reports[:2]] == [evidence_pb2.PHASE_COMPILE, evidence_pb2.PHASE_RUN]
    assert len(pool.boxes) == 1
    (compile_command, compile_limits), (run_command, run_limits) = pool.boxes[0].commands
    assert compile_command.argv[0].endswith("gcc")
    assert compile_command.merge_output
    assert compile_limits.processes > run_limits.processes
    assert run_command.argv == ["/tmp/program"]


async def test_a_refused_source_ends_as_a_compilation_error_with_evidence() -> None:
    reports = await told(FakePool(Script([Exited(1)], b"error: x")), assignment(language="cpp", source_code="x"))
    finished = reports[-1].finished

    assert finished.verdict == executor_pb2.VERDICT_COMPILATION_ERROR
    assert reports[1].output.stream == evidence_pb2.STREAM_COMPILE
    assert finished.evidence.exit_code == 1
    assert [phase.phase for phase in finished.evidence.phases] == [
        evidence_pb2.PHASE_PREPARE,
        evidence_pb2.PHASE_COMPILE,
    ]


async def test_the_evidence_names_the_signal() -> None:
    reports = await told(FakePool(Script([Signalled(11)])), assignment())
    evidence = reports[-1].finished.evidence

    assert (evidence.signal, evidence.signal_name) == (11, "SIGSEGV")
    assert not evidence.HasField("exit_code")
    assert evidence.executor == "e1"
    assert [usage.stream for usage in evidence.streams] == [evidence_pb2.STREAM_STDOUT, evidence_pb2.STREAM_STDERR]


async def test_a_sandbox_that_fails_abandons_the_attempt_and_judges_nobody() -> None:
    reports = await told(FakePool(Script([SandboxError("JAIL_DIED", "why")])), assignment())

    assert reports[-1].abandoned.failure.reason == "SANDBOX_FAILED"
    assert "JAIL_DIED" in reports[-1].abandoned.failure.message


async def test_a_language_that_is_not_here_is_our_failure() -> None:
    reports = await told(FakePool(), assignment(language="cobol"))

    assert reports[-1].abandoned.failure.reason == "LANGUAGE_UNAVAILABLE"


async def test_files_that_cannot_exist_together_are_told_without_running_anything() -> None:
    pool = FakePool()
    files = [
        submission_pb2.SourceFile(name="a", content="1"),
        submission_pb2.SourceFile(name="a/b.py", content="2"),
    ]
    reports = await told(pool, assignment(files=files))

    assert reports[-1].finished.verdict == executor_pb2.VERDICT_COMPILATION_ERROR
    assert "a is used both" in reports[-1].finished.evidence.explanation
    assert pool.boxes == []


async def test_the_first_file_is_the_entry_and_bytes_win_over_text() -> None:
    pool = FakePool()
    files = [
        submission_pb2.SourceFile(name="pkg/start.py", content="x", content_base64=b"\xff"),
        submission_pb2.SourceFile(name="lib.py", content="y"),
    ]
    await told(pool, assignment(files=files, args=["one"], env={"NAME": "value", "PATH": "/mine"}))
    command = pool.boxes[0].commands[0][0]

    assert pool.boxes[0].files == {"pkg/start.py": b"\xff", "lib.py": b"y"}
    assert list(command.argv)[-2:] == ["pkg/start.py", "one"]
    assert command.env["NAME"] == "value"
    assert command.env["PATH"] == "/mine"
    assert command.env["HOME"] == "/work"


async def test_a_cancel_before_the_start_is_kept() -> None:
    made = attempt(FakePool(Script(gate=asyncio.Event())), assignment())
    made.cancel()
    await asyncio.wait_for(made.run(), 10)

    assert said(made)[-1].finished.verdict == executor_pb2.VERDICT_CANCELLED


async def test_a_cancel_while_it_runs_kills_it() -> None:
    pool = FakePool(Script(gate=asyncio.Event()))
    made = attempt(pool, assignment())
    running = asyncio.ensure_future(made.run())
    await until(lambda: bool(pool.boxes and pool.boxes[0].commands))
    made.cancel()
    await asyncio.wait_for(running, 10)

    assert said(made)[-1].finished.verdict == executor_pb2.VERDICT_CANCELLED


async def test_no_more_attempts_run_than_there_are_slots() -> None:
    gate = asyncio.Event()
    pool, slots = FakePool(Script(gate=gate)), asyncio.Semaphore(2)
    made = [
        Attempt(
            assignment(), pool=pool, languages=LANGUAGES, slots=slots, executor_id="e", changed=lambda _may_wait: None
        )
        for _ in range(5)
    ]
    running = [asyncio.ensure_future(one.run()) for one in made]
    await until(lambda: pool.lent == 2)
    await asyncio.sleep(0.02)
    assert pool.lent == 2
    gate.set()
    await asyncio.gather(*running)


async def test_repeated_input_is_taken_once_and_input_after_a_gap_not_at_all() -> None:
    gate = asyncio.Event()
    pool = FakePool(Script(gate=gate))
    given = assignment(stdin="0")
    given.interactive = True
    made = attempt(pool, given)
    running = asyncio.ensure_future(made.run())
    await until(lambda: bool(pool.boxes and pool.boxes[0].stdin))
    stdin = pool.boxes[0].stdin
    assert stdin is not None
    for offset, data in ((0, b"ab"), (0, b"ab"), (1, b"bc"), (9, b"zz")):
        made.feed(executor_pb2.StdinChunk(offset=offset, data=data))
    made.signal(15)
    made.signal(0)

    assert stdin.peek(100) == b"0abc"
    assert not stdin.ended
    made.feed(executor_pb2.StdinChunk(offset=3, data=b"d", end=True))
    assert stdin.ended
    assert pool.boxes[0].signals == [15]
    gate.set()
    await running


async def test_input_for_a_program_that_never_reads_is_bounded() -> None:
    given = assignment()
    given.interactive = True
    made = attempt(FakePool(), given)
    for turn in range(64):
        made.feed(executor_pb2.StdinChunk(offset=turn * 65536, data=b"x" * 65536))

    assert made._stdin.pending <= STDIN_MOST


async def test_a_bug_of_ours_abandons_one_attempt_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = FakePool()
    monkeypatch.setattr(pool, "checkout", lambda: 1 / 0)
    reports = await told(pool, assignment())

    assert reports[-1].abandoned.failure.message == "internal: ZeroDivisionError"
