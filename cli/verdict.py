"""What became of a program, in one line. Pure."""

import signal

from sentinel.v1 import evidence_pb2, submission_pb2

_MEBIBYTE_KB = 1024


def status_word(submission: submission_pb2.Submission) -> str:
    """The bare word."""
    return submission_pb2.Status.Name(submission.status)


def style(status: "submission_pb2.Status.ValueType") -> str:
    """The colour that goes with a word."""
    if status == submission_pb2.SUCCESS:
        return "green"
    if status in (submission_pb2.QUEUED, submission_pb2.COMPILING, submission_pb2.RUNNING):
        return "cyan"
    if status == submission_pb2.CANCELLED:
        return "yellow"
    return "red"


def facts(submission: submission_pb2.Submission) -> str:
    """The evidence behind the word."""
    parts = [_ending(submission), _why(submission), *_usage(submission), _cut(submission.evidence)]
    if submission.attempt > 1:
        parts.append(f"attempt {submission.attempt}")
    return " · ".join(part for part in parts if part)


def signal_name(number: int) -> str:
    """Such as SIGSEGV; the number where it has no name here."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ending(submission: submission_pb2.Submission) -> str:
    if submission.HasField("exit_code"):
        return f"exit {submission.exit_code}"
    if submission.HasField("signal"):
        return submission.evidence.signal_name or signal_name(submission.signal)
    return ""


def _why(submission: submission_pb2.Submission) -> str:
    if submission.HasField("failure"):
        return f"{submission.failure.reason}: {submission.failure.message}"
    if submission.status == submission_pb2.SUCCESS:
        return ""
    return submission.evidence.explanation.rstrip(".")


def _usage(submission: submission_pb2.Submission) -> list[str]:
    parts = []
    if submission.HasField("time_used_ms"):
        parts.append(f"{submission.time_used_ms} ms wall")
    if submission.HasField("cpu_time_ms"):
        parts.append(f"{submission.cpu_time_ms} ms CPU")
    if submission.HasField("memory_used_kb"):
        parts.append(f"{submission.memory_used_kb / _MEBIBYTE_KB:.1f} MiB")
    return parts


def _cut(evidence: evidence_pb2.Evidence) -> str:
    """Names the streams that were longer than what was kept."""
    cut = [
        evidence_pb2.Stream.Name(usage.stream).removeprefix("STREAM_").lower()
        for usage in evidence.streams
        if usage.bytes_produced > usage.bytes_kept
    ]
    return f"{' and '.join(cut)} cut" if cut else ""
