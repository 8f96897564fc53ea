"""What goes over a WebSocket, and as `data` over SSE: one JSON object per frame, both ways.

Server: status, output, gap, result, error. Client: stdin, stdin_end, signal, resize, cancel.
"""

import base64
import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from sentinel.v1 import event_pb2, evidence_pb2, submission_pb2

from services.gateway import render
from services.kit.errors import InvalidField, SentinelError, Violation

Frame = dict[str, Any]

_STREAM_NAMES = {
    evidence_pb2.STREAM_STDOUT: "stdout",
    evidence_pb2.STREAM_STDERR: "stderr",
    evidence_pb2.STREAM_COMPILE: "compile",
}


def of_event(event: event_pb2.Event) -> Frame:
    """The frame that tells `event`. A snapshot is told as the status word it holds."""
    kind = event.WhichOneof("kind")
    position = {"sequence": event.sequence, "attempt": event.attempt}
    match kind:
        case "snapshot":
            return {"type": "status", **position, "status": _word(event.snapshot.status)}
        case "status":
            return {"type": "status", **position, "status": _word(event.status.status)}
        case "output":
            return {"type": "output", **position, **_output(event.output)}
        case "result":
            return {"type": "result", **position, "submission": render.as_json(event.result.submission)}
        case "gap":
            span = {"from_sequence": event.gap.from_sequence, "to_sequence": event.gap.to_sequence}
            return {"type": "gap", **position, **span}
        case None:
            raise ValueError("an event without a kind")


def of_error(error: SentinelError) -> Frame:
    """The frame that tells `error`: the body of the same error over HTTP."""
    return {"type": "error", **render.error_body(error)}


def _word(status: "submission_pb2.Status.ValueType") -> str:
    return submission_pb2.Status.Name(status)


def _output(output: event_pb2.Output) -> Frame:
    where = {"stream": _STREAM_NAMES[output.stream], "offset": output.offset}
    try:
        return {**where, "text": output.data.decode()}
    except UnicodeDecodeError:
        return {**where, "base64": base64.b64encode(output.data).decode()}


class Action(StrEnum):
    """What a client may ask of a program while it is watched."""

    STDIN = "stdin"
    STDIN_END = "stdin_end"
    SIGNAL = "signal"
    RESIZE = "resize"
    CANCEL = "cancel"


SIGNALS = ("SIGINT", "SIGTERM", "SIGKILL")
MOST_STDIN_BYTES = 65536
MOST_ROWS = 1000


def parse(text: str) -> Action:
    """What a client's frame asks for. Raises InvalidField, naming what is wrong with it."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        raise _malformed("", "is not JSON") from None
    if not isinstance(frame, dict):
        raise _malformed("", "is not a JSON object")
    try:
        action = Action(str(frame.get("type")))
    except ValueError:
        raise _malformed("type", f"must be one of {', '.join(Action)}") from None
    check, fields = _RULES[action]
    if unknown := sorted(set(frame) - fields - {"type"}):
        raise _malformed(unknown[0], f"is not a field of {action}")
    check(frame)
    return action


def _malformed(field: str, description: str) -> InvalidField:
    # A caller's own word: it may be long, and hold halves of surrogate pairs, which no proto string takes.
    field = field[:64].encode(errors="replace").decode()
    return InvalidField(f"{field or 'frame'}: {description}", violations=[Violation(field, description)])


def _check_nothing(_frame: Mapping[str, Any]) -> None:
    return


def _check_stdin(frame: Mapping[str, Any]) -> None:
    if ("text" in frame) == ("base64" in frame):
        raise _malformed("text", "give text or base64, and not both")
    field = "text" if "text" in frame else "base64"
    if not isinstance(frame[field], str):
        raise _malformed(field, "must be a string")
    try:
        data = frame[field].encode() if field == "text" else base64.b64decode(frame[field], validate=True)
    except ValueError:
        raise _malformed(field, "must be UTF-8" if field == "text" else "must be base64") from None
    if not 1 <= len(data) <= MOST_STDIN_BYTES:
        raise _malformed(field, f"must be 1 to {MOST_STDIN_BYTES} bytes")


def _check_signal(frame: Mapping[str, Any]) -> None:
    if frame.get("signal") not in SIGNALS:
        raise _malformed("signal", f"must be one of {', '.join(SIGNALS)}")


def _check_resize(frame: Mapping[str, Any]) -> None:
    for field in ("rows", "columns"):
        value = frame.get(field)
        if type(value) is not int or not 1 <= value <= MOST_ROWS:
            raise _malformed(field, f"must be a whole number from 1 to {MOST_ROWS}")


_RULES: dict[Action, tuple[Callable[[Mapping[str, Any]], None], frozenset[str]]] = {
    Action.STDIN: (_check_stdin, frozenset({"text", "base64"})),
    Action.STDIN_END: (_check_nothing, frozenset()),
    Action.SIGNAL: (_check_signal, frozenset({"signal"})),
    Action.RESIZE: (_check_resize, frozenset({"rows", "columns"})),
    Action.CANCEL: (_check_nothing, frozenset()),
}
