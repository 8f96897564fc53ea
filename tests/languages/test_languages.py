"""Each language does what its cases say, in a real jail."""

from pathlib import Path

import pytest
from sentinel.v1 import evidence_pb2, executor_pb2

from services.executor import languages
from services.executor.languages import load_languages
from tests.languages.case import HERE, REQUIRED, Case, cases
from tests.languages.conftest import Workshop

LANGUAGES = load_languages(Path(languages.__file__).parent / "languages")
DEFAULTS = {
    "time_limit_ms": 15_000,
    "cpu_time_limit_ms": 15_000,
    "memory_limit_kb": 262_144,
    "output_limit_kb": 64,
    "process_limit": 64,
}
"""What a deployment gives, but for time: the machine that tests is busy."""


def test_every_language_file_has_its_cases_and_every_case_its_language() -> None:
    assert sorted(path.parent.name for path in HERE.glob("*/cases.toml")) == sorted(item.name for item in LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)
def test_no_language_goes_without_the_cases_that_all_have(language: languages.Language) -> None:
    assert set(REQUIRED) <= {case.name for case in cases() if case.language == language.name}


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)
def test_this_machine_has_the_language(workshop: Workshop, language: languages.Language) -> None:
    assert language.name in workshop.languages, f"make languages LANGUAGES={language.name}"


@pytest.mark.parametrize("case", cases(), ids=str)
async def test_a_program_does_what_it_should(workshop: Workshop, case: Case) -> None:
    fitting = workshop.languages[case.language].limits
    limits = {
        **DEFAULTS,
        "memory_limit_kb": fitting.memory_kb or DEFAULTS["memory_limit_kb"],
        "process_limit": fitting.processes or DEFAULTS["process_limit"],
    }
    reports = await workshop.run(case.request(limits))

    assert reports[-1].HasField("finished"), reports[-1]
    finished = reports[-1].finished
    stdout, stderr, compiled = (
        _said(reports, stream)
        for stream in (evidence_pb2.STREAM_STDOUT, evidence_pb2.STREAM_STDERR, evidence_pb2.STREAM_COMPILE)
    )
    verdict = executor_pb2.Verdict.Name(finished.verdict).removeprefix("VERDICT_")
    assert verdict == case.verdict, f"{finished.evidence}\n{compiled}\n{stdout}\n{stderr}"
    if case.stdout is not None:
        assert stdout == case.stdout, stderr
    assert case.stderr_has in stderr
    assert case.compile_has in compiled
    if case.verdict == "SUCCESS":
        assert stderr == ""
    if case.exit_code is not None:
        assert finished.evidence.exit_code == case.exit_code
    if case.signal is not None:
        assert finished.evidence.signal == case.signal


def _said(reports: list[executor_pb2.Report], stream: evidence_pb2.Stream.ValueType) -> str:
    return b"".join(
        report.output.data for report in reports if report.HasField("output") and report.output.stream == stream
    ).decode()
