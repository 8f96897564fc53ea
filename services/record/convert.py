"""Record → proto, and nothing else."""

import math
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from sentinel.v1 import evidence_pb2, scheduler_pb2, submission_pb2

from services.record.model import Record, status_of


def submission(record: Record, *, output: bool = True, source: bool = True) -> submission_pb2.Submission:
    """The whole submission; without output or without what was sent where a list or snapshot wants it small."""
    request = scheduler_pb2.SubmitRequest.FromString(record.request)
    message = submission_pb2.Submission(
        job_id=str(record.id),
        language=record.language,
        status=status_of(record.state, record.verdict),
        time_limit_ms=request.time_limit_ms,
        cpu_time_limit_ms=request.cpu_time_limit_ms,
        memory_limit_kb=request.memory_limit_kb,
        output_limit_kb=request.output_limit_kb,
        process_limit=request.process_limit,
        network=request.network,
        attempt=record.attempt,
        exit_code=record.exit_code,
        signal=record.signal,
        created_at=timestamp(record.created_at),
        started_at=timestamp(record.started_at),
        finished_at=timestamp(record.finished_at),
        updated_at=timestamp(record.updated_at),
    )
    if source:
        message.source_code = request.source_code
        message.files.extend(request.files)
        stdin = request.stdin_base64 or request.stdin.encode()
        message.stdin = stdin.decode(errors="replace")
        message.args.extend(request.args)
        message.compile_args.extend(request.compile_args)
        message.env.update(request.env)
    if record.evidence is not None:
        message.evidence.ParseFromString(record.evidence)
        _usage(message, message.evidence)
    if record.failure_reason is not None:
        message.failure.reason = record.failure_reason
        message.failure.message = record.failure_message or ""
    if output:
        _output(message, record)
    return message


def _usage(message: submission_pb2.Submission, evidence: evidence_pb2.Evidence) -> None:
    if not any(p.phase == evidence_pb2.PHASE_RUN for p in evidence.phases):
        return
    message.time_used_ms = math.ceil(evidence.wall_time_ms)
    message.cpu_time_ms = math.ceil(evidence.cpu_time_ms)
    message.memory_used_kb = evidence.memory_peak_kb


def _output(message: submission_pb2.Submission, record: Record) -> None:
    for field, kept in (
        ("stdout", record.stdout),
        ("stderr", record.stderr),
        ("compile_output", record.compile_output),
    ):
        try:
            setattr(message, field, kept.decode())
        except UnicodeDecodeError:
            setattr(message, field, kept.decode(errors="replace"))
            setattr(message, f"{field}_base64", kept)


def timestamp(moment: datetime | None) -> Timestamp | None:
    """The moment as proto, None as unset."""
    if moment is None:
        return None
    # Faster than Timestamp.FromDatetime by half; microseconds are all that PostgreSQL keeps.
    seconds = int(moment.timestamp() // 1)
    return Timestamp(seconds=seconds, nanos=moment.microsecond * 1000)
