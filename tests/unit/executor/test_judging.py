"""From facts to verdicts: the order, the ties, and that no fact a program controls can buy a better verdict."""

import dataclasses
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentinel.v1 import evidence_pb2, executor_pb2

from services.executor.judging import judge, judge_compile, signal_name
from services.executor.sandbox.protocol import Cause, Ending, Exited, Killed, Limits, Signalled, StreamCount, Usage

LIMITS = Limits(wall_ms=1000, cpu_ms=800, memory_bytes=64 << 20, processes=16, output_bytes=100)
QUIET = Usage(wall_ms=10, cpu_ms=5, memory_peak_bytes=1 << 20, oom_events=0, peak_processes=1)
FLOOD = StreamCount(101, 100)

counts = st.integers(0, 101).map(lambda n: StreamCount(n, min(n, 100)))
usages = st.builds(
    Usage,
    wall_ms=st.floats(0, 2000),
    cpu_ms=st.floats(0, 2000),
    memory_peak_bytes=st.integers(0, 64 << 20),
    oom_events=st.integers(0, 3),
    peak_processes=st.integers(0, 16),
    stdout=counts,
    stderr=counts,
)
endings: st.SearchStrategy[Ending] = st.one_of(
    st.builds(Exited, st.integers(0, 255)),
    st.builds(Signalled, st.integers(1, 64)),
    st.builds(Killed, st.sampled_from(Cause)),
)


@pytest.mark.parametrize(
    ("ending", "usage", "verdict", "limit"),
    [
        (Exited(0), QUIET, executor_pb2.VERDICT_SUCCESS, evidence_pb2.LIMIT_UNSPECIFIED),
        (Exited(1), QUIET, executor_pb2.VERDICT_RUNTIME_ERROR, evidence_pb2.LIMIT_UNSPECIFIED),
        (Exited(137), QUIET, executor_pb2.VERDICT_RUNTIME_ERROR, evidence_pb2.LIMIT_UNSPECIFIED),
        (Signalled(9), QUIET, executor_pb2.VERDICT_RUNTIME_ERROR, evidence_pb2.LIMIT_UNSPECIFIED),
        (Signalled(11), QUIET, executor_pb2.VERDICT_RUNTIME_ERROR, evidence_pb2.LIMIT_UNSPECIFIED),
        (Signalled(31), QUIET, executor_pb2.VERDICT_SECURITY_VIOLATION, evidence_pb2.LIMIT_UNSPECIFIED),
        (Killed(Cause.WALL_TIME), QUIET, executor_pb2.VERDICT_TIMEOUT, evidence_pb2.LIMIT_WALL_TIME),
        (Killed(Cause.CPU_TIME), QUIET, executor_pb2.VERDICT_TIMEOUT, evidence_pb2.LIMIT_CPU_TIME),
        (Killed(Cause.MEMORY), QUIET, executor_pb2.VERDICT_MEMORY_LIMIT_EXCEEDED, evidence_pb2.LIMIT_MEMORY),
        (Killed(Cause.OUTPUT), QUIET, executor_pb2.VERDICT_OUTPUT_LIMIT_EXCEEDED, evidence_pb2.LIMIT_OUTPUT),
        (Killed(Cause.CANCELLED), QUIET, executor_pb2.VERDICT_CANCELLED, evidence_pb2.LIMIT_UNSPECIFIED),
    ],
)
def test_each_ending_has_its_verdict(
    ending: Ending, usage: Usage, verdict: executor_pb2.Verdict.ValueType, limit: evidence_pb2.Limit.ValueType
) -> None:
    judgement = judge(ending, usage, LIMITS)

    assert judgement.verdict == verdict
    assert judgement.limit == limit


def test_a_parent_that_survives_the_oom_of_its_child_has_still_met_the_memory_limit() -> None:
    judgement = judge(Exited(0), dataclasses.replace(QUIET, oom_events=1), LIMITS)

    assert judgement.verdict == executor_pb2.VERDICT_MEMORY_LIMIT_EXCEEDED


def test_a_peak_at_the_limit_without_an_event_is_no_memory_verdict() -> None:
    """Page cache fills whatever it is given (security.md, fact 5)."""
    judgement = judge(Exited(0), dataclasses.replace(QUIET, memory_peak_bytes=LIMITS.memory_bytes), LIMITS)

    assert judgement.verdict == executor_pb2.VERDICT_SUCCESS


def test_output_found_after_the_exit_counts() -> None:
    judgement = judge(Exited(0), dataclasses.replace(QUIET, stderr=FLOOD), LIMITS)

    assert judgement.verdict == executor_pb2.VERDICT_OUTPUT_LIMIT_EXCEEDED
    assert "stderr" in judgement.explanation


def test_cpu_hidden_until_the_end_is_a_timeout() -> None:
    judgement = judge(Exited(0), dataclasses.replace(QUIET, cpu_ms=800), LIMITS)

    assert judgement.limit == evidence_pb2.LIMIT_CPU_TIME


def test_the_clock_that_rang_first_stands() -> None:
    judgement = judge(Killed(Cause.WALL_TIME), dataclasses.replace(QUIET, cpu_ms=900, wall_ms=1001), LIMITS)

    assert judgement.limit == evidence_pb2.LIMIT_WALL_TIME


def test_a_cancel_is_told_as_such_whatever_else_happened() -> None:
    usage = dataclasses.replace(QUIET, oom_events=1, stdout=FLOOD, cpu_ms=2000)

    assert judge(Killed(Cause.CANCELLED), usage, LIMITS).verdict == executor_pb2.VERDICT_CANCELLED


@given(endings, usages)
def test_every_case_has_a_verdict_and_one_sentence(ending: Ending, usage: Usage) -> None:
    judgement = judge(ending, usage, LIMITS)

    assert judgement.verdict != executor_pb2.VERDICT_UNSPECIFIED
    assert judgement.verdict != executor_pb2.VERDICT_COMPILATION_ERROR
    assert judgement.explanation.startswith("The ")
    assert judgement.explanation.endswith(".")
    assert "\n" not in judgement.explanation


@given(endings, usages)
def test_success_means_exit_0_within_every_limit(ending: Ending, usage: Usage) -> None:
    clean = (
        ending == Exited(0)
        and usage.oom_events == 0
        and usage.cpu_ms < LIMITS.cpu_ms
        and usage.stdout.produced <= LIMITS.output_bytes
        and usage.stderr.produced <= LIMITS.output_bytes
    )

    assert (judge(ending, usage, LIMITS).verdict == executor_pb2.VERDICT_SUCCESS) == clean


@given(endings, usages)
def test_a_limit_is_named_exactly_where_the_verdict_is_a_limit(ending: Ending, usage: Usage) -> None:
    judgement = judge(ending, usage, LIMITS)
    by_limit = {
        executor_pb2.VERDICT_TIMEOUT: {evidence_pb2.LIMIT_WALL_TIME, evidence_pb2.LIMIT_CPU_TIME},
        executor_pb2.VERDICT_MEMORY_LIMIT_EXCEEDED: {evidence_pb2.LIMIT_MEMORY},
        executor_pb2.VERDICT_OUTPUT_LIMIT_EXCEEDED: {evidence_pb2.LIMIT_OUTPUT},
    }

    assert judgement.limit in by_limit.get(judgement.verdict, {evidence_pb2.LIMIT_UNSPECIFIED})


@given(st.integers(0, 255).map(Exited), usages)
def test_no_exit_code_looks_like_a_signal_or_a_limit(ending: Exited, usage: Usage) -> None:
    """137 and 159 are numbers like any other; what decides is never the exit code."""
    at_zero = judge(Exited(1), usage, LIMITS).verdict

    if ending.code != 0:
        assert judge(ending, usage, LIMITS).verdict == at_zero


@given(endings, usages)
def test_compiling_ends_in_a_program_an_error_or_a_cancel(ending: Ending, usage: Usage) -> None:
    judgement = judge_compile(ending, usage, LIMITS)
    run = judge(ending, usage, LIMITS)

    if run.verdict == executor_pb2.VERDICT_SUCCESS:
        assert judgement is None
    else:
        assert judgement is not None
        assert judgement.limit == run.limit
        assert judgement.verdict in {executor_pb2.VERDICT_COMPILATION_ERROR, executor_pb2.VERDICT_CANCELLED}


def test_signals_have_names_where_they_have_any() -> None:
    assert signal_name(signal.SIGSEGV) == "SIGSEGV"
    assert not signal_name(63)
