"""JSON as REST and the WebSocket show it: snake_case names, defaults printed, bare status words."""

import base64
import json
from typing import Any

from google.protobuf import json_format, message
from sentinel.v1 import event_pb2, evidence_pb2, submission_pb2


def as_dict(proto: message.Message) -> dict[str, Any]:
    """The message as Envoy's transcoder would print it."""
    return json_format.MessageToDict(proto, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def document(body: dict[str, Any]) -> str:
    """One JSON document for one line."""
    return json.dumps(body, ensure_ascii=False)


def frame(event: event_pb2.Event) -> dict[str, Any]:
    """The event as a WebSocket frame. A snapshot is told as the status word it holds, and says which job it is."""
    head = {"type": event.WhichOneof("kind"), "sequence": event.sequence, "attempt": event.attempt}
    match head["type"]:
        case "snapshot":
            word = submission_pb2.Status.Name(event.snapshot.status)
            return head | {"type": "status", "status": word, "job_id": event.snapshot.job_id}
        case "status":
            return head | {"status": submission_pb2.Status.Name(event.status.status)}
        case "output":
            return head | _output(event.output)
        case "result":
            return head | {"submission": as_dict(event.result.submission)}
        case "gap":
            return head | as_dict(event.gap)
        case _:
            return head


def _output(output: event_pb2.Output) -> dict[str, Any]:
    stream = evidence_pb2.Stream.Name(output.stream).removeprefix("STREAM_").lower()
    body: dict[str, Any] = {"stream": stream, "offset": output.offset}
    try:
        return body | {"text": output.data.decode()}
    except UnicodeDecodeError:
        return body | {"base64": base64.b64encode(output.data).decode()}
