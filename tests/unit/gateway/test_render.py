import json

from google.protobuf import json_format
from sentinel.v1 import evidence_pb2, status_pb2, submission_pb2

from services.gateway import render
from services.kit.errors import InvalidField, Unavailable, Violation

FULL = submission_pb2.Submission(
    job_id="0193b5a0-7c3e-7d41-9f3a-2b6c1d0e4f55",
    language="python",
    status=submission_pb2.SUCCESS,
    stdout="grün\n",
    stdout_base64=b"\xff\x00",
    exit_code=0,
    time_used_ms=12,
    env={"A": "b"},
    files=[submission_pb2.SourceFile(name="a.py", content_base64=b"\x01")],
    evidence=evidence_pb2.Evidence(
        wall_time_ms=12.5,
        cpu_time_ms=3.0,
        phases=[evidence_pb2.PhaseTime(phase=evidence_pb2.PHASE_RUN, duration_ms=12.25)],
    ),
)


def test_a_submission_looks_as_the_transcoder_prints_it() -> None:
    FULL.created_at.FromJsonString("2026-11-23T12:00:00.012Z")
    FULL.updated_at.FromJsonString("2026-11-23T12:00:00Z")
    assert render.as_json(FULL) == {
        "job_id": "0193b5a0-7c3e-7d41-9f3a-2b6c1d0e4f55",
        "language": "python",
        "source_code": "",
        "files": [{"name": "a.py", "content": "", "content_base64": "AQ=="}],
        "stdin": "",
        "args": [],
        "compile_args": [],
        "env": {"A": "b"},
        "status": "SUCCESS",
        "stdout": "grün\n",
        "stderr": "",
        "compile_output": "",
        "stdout_base64": "/wA=",
        "exit_code": 0,
        "time_used_ms": 12,
        "time_limit_ms": 0,
        "cpu_time_limit_ms": 0,
        "memory_limit_kb": 0,
        "output_limit_kb": 0,
        "process_limit": 0,
        "network": False,
        "attempt": 0,
        "created_at": "2026-11-23T12:00:00.012Z",
        "updated_at": "2026-11-23T12:00:00Z",
        "evidence": {
            "limit": "LIMIT_UNSPECIFIED",
            "explanation": "",
            "wall_time_ms": 12.5,
            "cpu_time_ms": 3.0,
            "memory_peak_kb": 0,
            "oom_events": 0,
            "peak_processes": 0,
            "signal_name": "",
            "streams": [],
            "phases": [{"phase": "PHASE_RUN", "start_ms": 0.0, "duration_ms": 12.25}],
            "syscall": "",
            "executor": "",
        },
    }


def test_what_is_unset_and_optional_is_absent() -> None:
    empty = render.as_json(submission_pb2.Submission())
    optional = {f.name for f in submission_pb2.Submission.DESCRIPTOR.fields if f.has_presence}
    assert {"exit_code", "evidence", "failure", "created_at"} <= optional
    assert not optional & set(empty)
    assert len(empty) == len(submission_pb2.Submission.DESCRIPTOR.fields) - len(optional)


def test_what_is_rendered_parses_back_to_the_same_message() -> None:
    again = json_format.ParseDict(json.loads(render.dumps(render.as_json(FULL))), submission_pb2.Submission())
    assert again == FULL


def test_healthy_is_exactly_what_scripts_compare_with() -> None:
    healthy = status_pb2.GetHealthResponse(
        status="ok", services=status_pb2.ServiceHealth(postgres="ok", rabbitmq="ok", redis="ok")
    )
    expected = '{"status":"ok","services":{"postgres":"ok","rabbitmq":"ok","redis":"ok"}}'
    assert render.dumps(render.as_json(healthy)) == expected


def test_an_error_has_sentence_code_and_details() -> None:
    body = render.error_body(InvalidField("after: no", violations=[Violation("after", "no")]))
    assert body["error"] == "after: no"
    assert body["code"] == "INVALID_ARGUMENT"
    info, request = body["details"]
    assert (info["@type"], info["reason"]) == ("type.googleapis.com/google.rpc.ErrorInfo", "INVALID_FIELD")
    assert request["field_violations"][0]["field"] == "after"


def test_an_error_that_passes_carries_the_time_to_come_back() -> None:
    error = Unavailable("no", retry_after=2.0)
    assert render.http_status(error) == 503
    assert render.http_headers(error) == {"Retry-After": "2"}
