"""From facts to a verdict. Pure; every fact comes from the kernel or from our own clock, none from the program."""

import signal
from dataclasses import dataclass
from typing import assert_never

from sentinel.v1 import evidence_pb2, executor_pb2

from services.executor.sandbox.protocol import Cause, Ending, Exited, Killed, Limits, Signalled, StreamCount, Usage

_LIMIT_OF = {
    Cause.WALL_TIME: evidence_pb2.LIMIT_WALL_TIME,
    Cause.CPU_TIME: evidence_pb2.LIMIT_CPU_TIME,
    Cause.MEMORY: evidence_pb2.LIMIT_MEMORY,
    Cause.OUTPUT: evidence_pb2.LIMIT_OUTPUT,
}
_VERDICT_OF = {
    Cause.WALL_TIME: executor_pb2.VERDICT_TIMEOUT,
    Cause.CPU_TIME: executor_pb2.VERDICT_TIMEOUT,
    Cause.MEMORY: executor_pb2.VERDICT_MEMORY_LIMIT_EXCEEDED,
    Cause.OUTPUT: executor_pb2.VERDICT_OUTPUT_LIMIT_EXCEEDED,
    Cause.CANCELLED: executor_pb2.VERDICT_CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a program did, which limit decided it, and why in one sentence."""

    verdict: executor_pb2.Verdict.ValueType
    limit: evidence_pb2.Limit.ValueType
    explanation: str


def judge(ending: Ending, usage: Usage, limits: Limits) -> Judgement:
    """The verdict of a run phase.

    In this order: a cancel; a stream past its limit; an out-of-memory event of the kernel, even one that the main
    process survived, for then a part of the program is missing; CPU time; wall time; how the program ended. A program
    that killed itself with SIGKILL, or exits with 137, has met no limit and is told so.
    """
    if cause := _cause(ending, usage, limits):
        return Judgement(
            _VERDICT_OF[cause],
            _LIMIT_OF.get(cause, evidence_pb2.LIMIT_UNSPECIFIED),
            _explain_cause(cause, usage, limits),
        )
    match ending:
        case Exited(code=0):
            return _judgement(executor_pb2.VERDICT_SUCCESS, "The program exited with code 0 within every limit.")
        case Exited(code=code):
            return _judgement(executor_pb2.VERDICT_RUNTIME_ERROR, f"The program exited with code {code}.")
        case Signalled(number=signal.SIGSYS):
            return _judgement(
                executor_pb2.VERDICT_SECURITY_VIOLATION,
                "The kernel ended the program with SIGSYS: it made a system call that the policy forbids.",
            )
        case Signalled(number=number):
            name = signal_name(number) or f"signal {number}"
            return _judgement(
                executor_pb2.VERDICT_RUNTIME_ERROR, f"The program was ended by {name}, which no limit of ours sent."
            )
        case Killed():
            raise AssertionError(ending)  # has a cause
        case _:
            assert_never(ending)


def judge_compile(ending: Ending, usage: Usage, limits: Limits) -> Judgement | None:
    """The verdict where the compile phase decides it; None where it left a program to run."""
    judgement = judge(ending, usage, limits)
    if judgement.verdict == executor_pb2.VERDICT_SUCCESS:
        return None
    if judgement.verdict == executor_pb2.VERDICT_CANCELLED:
        return judgement
    why = judgement.explanation.replace("The program", "The compiler", 1)
    return Judgement(executor_pb2.VERDICT_COMPILATION_ERROR, judgement.limit, f"Compiling failed. {why}")


def signal_name(number: int) -> str:
    """`SIGSEGV` for 11; empty for numbers without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def _cause(ending: Ending, usage: Usage, limits: Limits) -> Cause | None:
    killed_by = ending.by if isinstance(ending, Killed) else None
    if killed_by is Cause.CANCELLED:
        return killed_by
    # What was read after the end counts as well: the program wrote it.
    if killed_by is Cause.OUTPUT or _over(usage.stdout, limits) or _over(usage.stderr, limits):
        return Cause.OUTPUT
    if killed_by is Cause.MEMORY or usage.oom_events > 0:
        return Cause.MEMORY
    if killed_by is None and usage.cpu_ms >= limits.cpu_ms:
        return Cause.CPU_TIME
    # Which clock rang first is known only where we killed.
    return killed_by


def _over(count: StreamCount, limits: Limits) -> bool:
    return count.produced > limits.output_bytes


def _explain_cause(cause: Cause, usage: Usage, limits: Limits) -> str:
    match cause:
        case Cause.CANCELLED:
            return "The program was killed because its end was asked for."
        case Cause.OUTPUT:
            stream = "stdout" if _over(usage.stdout, limits) or not _over(usage.stderr, limits) else "stderr"
            return f"The program wrote more than {limits.output_bytes} bytes to {stream} and was killed."
        case Cause.MEMORY:
            return (
                f"The program needed more than {limits.memory_bytes // 1024} KiB of memory; "
                f"the kernel reported {max(1, usage.oom_events)} out-of-memory event(s)."
            )
        case Cause.CPU_TIME:
            return (
                f"The program used {usage.cpu_ms:.0f} ms of CPU time with all its processes; "
                f"the limit is {limits.cpu_ms} ms."
            )
        case Cause.WALL_TIME:
            return f"The program still ran after {usage.wall_ms:.0f} ms; the limit is {limits.wall_ms} ms."
        case _:
            assert_never(cause)


def _judgement(verdict: executor_pb2.Verdict.ValueType, explanation: str) -> Judgement:
    return Judgement(verdict, evidence_pb2.LIMIT_UNSPECIFIED, explanation)
