import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from sentinel.v1 import event_pb2, evidence_pb2, submission_pb2

from services.gateway import frames, openapi, render
from services.kit.errors import InvalidField, Unavailable

COMPONENTS = openapi.document()["components"]
SERVER = Draft202012Validator({"$ref": "#/components/schemas/ServerFrame", "components": COMPONENTS})
CLIENT = Draft202012Validator({"$ref": "#/components/schemas/ClientFrame", "components": COMPONENTS})


def event(**kind: Any) -> event_pb2.Event:
    return event_pb2.Event(sequence=1_000_002, attempt=1, **kind)


EVENTS = [
    event(snapshot=submission_pb2.Submission(status=submission_pb2.QUEUED)),
    event(status=event_pb2.StatusChanged(status=submission_pb2.RUNNING)),
    event(output=event_pb2.Output(stream=evidence_pb2.STREAM_STDERR, offset=3, data=b"ab")),
    event(output=event_pb2.Output(stream=evidence_pb2.STREAM_COMPILE, offset=0, data=b"\xff")),
    event(gap=event_pb2.Gap(from_sequence=1_000_001, to_sequence=1_000_009)),
]


@pytest.mark.parametrize("told", EVENTS, ids=lambda e: str(e.WhichOneof("kind")))
def test_every_frame_is_as_documented(told: event_pb2.Event) -> None:
    frame = frames.of_event(told)
    SERVER.validate(json.loads(render.dumps(frame)))
    assert (frame["sequence"], frame["attempt"]) == (1_000_002, 1)


def test_an_error_frame_is_as_documented() -> None:
    SERVER.validate(json.loads(render.dumps(frames.of_error(Unavailable("no")))))


def test_a_snapshot_is_told_as_the_word_it_holds() -> None:
    assert frames.of_event(EVENTS[0]) == {"type": "status", "sequence": 1_000_002, "attempt": 1, "status": "QUEUED"}


def test_a_result_holds_the_submission_as_rest_shows_it() -> None:
    submission = submission_pb2.Submission(job_id="x", status=submission_pb2.SUCCESS, exit_code=0)
    frame = frames.of_event(event(result=event_pb2.Result(submission=submission)))
    assert frame["submission"] == render.as_json(submission)


@given(st.binary(min_size=1, max_size=64))
def test_output_arrives_byte_for_byte_as_text_where_it_is_text(data: bytes) -> None:
    frame = frames.of_event(event(output=event_pb2.Output(stream=evidence_pb2.STREAM_STDOUT, data=data)))
    again = json.loads(render.dumps(frame))
    assert ("text" in again) != ("base64" in again)
    assert (again["text"].encode() if "text" in again else base64.b64decode(again["base64"])) == data


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "stdin", "text": "hello\n"},
        {"type": "stdin", "base64": "/wA="},
        {"type": "stdin_end"},
        {"type": "signal", "signal": "SIGINT"},
        {"type": "resize", "rows": 24, "columns": 80},
        {"type": "cancel"},
    ],
)
def test_what_the_contract_lets_clients_send_is_understood(frame: dict[str, Any]) -> None:
    CLIENT.validate(frame)
    assert frames.parse(json.dumps(frame)) == frame["type"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", ""),
        ("[]", ""),
        ("[" * 100_000, ""),
        ("{}", "type"),
        ('{"type":"shout"}', "type"),
        ('{"type":[]}', "type"),
        ('{"type":"stdin"}', "text"),
        ('{"type":"stdin","text":"a","base64":"YQ=="}', "text"),
        ('{"type":"stdin","text":1}', "text"),
        ('{"type":"stdin","text":""}', "text"),
        ('{"type":"stdin","text":"\\ud800"}', "text"),
        ('{"type":"stdin","base64":"?"}', "base64"),
        ('{"type":"signal","signal":"SIGSEGV"}', "signal"),
        ('{"type":"resize","rows":true,"columns":80}', "rows"),
        ('{"type":"resize","rows":24,"columns":1001}', "columns"),
        ('{"type":"cancel","now":true}', "now"),
    ],
)
def test_a_malformed_frame_is_refused_naming_the_field(text: str, field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        frames.parse(text)
    assert refused.value.violations[0].field == field


def test_a_refusal_can_always_be_told_whatever_the_client_wrote() -> None:
    with pytest.raises(InvalidField) as refused:
        frames.parse('{"type":"cancel","\\ud800' + "x" * 10_000 + '":1}')
    assert len(render.dumps(frames.of_error(refused.value)).encode()) < 1000


@given(st.text())
def test_no_text_makes_parsing_fail_otherwise(text: str) -> None:
    try:
        frames.parse(text)
    except InvalidField as refused:
        render.dumps(frames.of_error(refused)).encode()
