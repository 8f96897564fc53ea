"""What the OpenAPI document says about the parts that are no RPC: WebSocket, SSE, and the document itself."""

from collections.abc import Callable
from typing import Any

from services.gateway.frames import MOST_ROWS, SIGNALS

TAG = "Streams"
_MOST_SEQUENCE = 2**31 - 1
_STREAM = "/api/v1/submissions/{job_id}/stream"
_EVENTS = "/api/v1/submissions/{job_id}/events"

_POSITION = {
    "sequence": {
        "type": "integer",
        "format": "int32",
        "description": "attempt × 1,000,000 + number; pass the last one seen to resume.",
    },
    "attempt": {"type": "integer", "format": "int32", "description": "Attempt it belongs to; 0 before the first."},
}


def _frame(kind: str, description: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "required": ["type", *required],
        "properties": {"type": {"const": kind}, **properties},
        "additionalProperties": False,
    }


def _told(kind: str, description: str, properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    required = ["sequence", "attempt", *(name for name in properties if name not in optional)]
    return _frame(kind, description, {**_POSITION, **properties}, required)


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_TEXT = {"type": "string", "description": "The bytes, where they are UTF-8. A code point is never split."}
_BASE64 = {"type": "string", "contentEncoding": "base64", "description": "The bytes, where they are not UTF-8."}

SCHEMAS: dict[str, Any] = {
    "StatusFrame": _told(
        "status", "Where the submission stands. The first frame of every stream is one.", {"status": _ref("Status")}
    ),
    "OutputFrame": {
        **_told(
            "output",
            "A run of output bytes. Within one attempt and stream, offsets have no gap and no overlap.",
            {
                "stream": {"type": "string", "enum": ["stdout", "stderr", "compile"]},
                "offset": {"type": "integer", "format": "int32", "description": "Of the first byte in its stream."},
                "text": _TEXT,
                "base64": _BASE64,
            },
            "text",
            "base64",
        ),
        "oneOf": [{"required": ["text"]}, {"required": ["base64"]}],
    },
    "GapFrame": _told(
        "gap",
        "Events that could not be shown live. What was missed comes before the result.",
        {
            "from_sequence": {"type": "integer", "format": "int32", "description": "First sequence missed."},
            "to_sequence": {"type": "integer", "format": "int32", "description": "Last one; 0 where not known yet."},
        },
    ),
    "ResultFrame": _told("result", "The end: the last frame.", {"submission": _ref("Submission")}),
    "ErrorFrame": _frame(
        "error",
        "A client's frame was refused, or the stream breaks off: the close reason then says where to resume.",
        {
            "error": {"type": "string"},
            "code": {"type": "string"},
            "details": {"type": "array", "items": _ref("ErrorDetail")},
        },
        ["error", "code", "details"],
    ),
    "ServerFrame": {
        "description": "What a WebSocket viewer gets, one JSON object per text frame.",
        "oneOf": [_ref(f"{kind}Frame") for kind in ("Status", "Output", "Gap", "Result", "Error")],
        "discriminator": {
            "propertyName": "type",
            "mapping": {
                kind.lower(): f"#/components/schemas/{kind}Frame"
                for kind in ("Status", "Output", "Gap", "Result", "Error")
            },
        },
    },
    "ClientFrame": {
        "description": "What a WebSocket viewer may send, one JSON object per text frame.",
        "oneOf": [
            {
                **_frame("stdin", "Bytes for standard input, 1 to 65536.", {"text": _TEXT, "base64": _BASE64}, []),
                "oneOf": [{"required": ["text"]}, {"required": ["base64"]}],
            },
            _frame("stdin_end", "No more standard input.", {}, []),
            _frame("signal", "A signal for the program.", {"signal": {"enum": list(SIGNALS)}}, ["signal"]),
            _frame(
                "resize",
                "The terminal changed size.",
                {name: {"type": "integer", "minimum": 1, "maximum": MOST_ROWS} for name in ("rows", "columns")},
                ["rows", "columns"],
            ),
            _frame("cancel", "End the submission.", {}, []),
        ],
    },
}


def operations(errors: Callable[..., dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Path → its GET. `errors` gives references to error answers."""
    return {
        _STREAM: {
            "operationId": "Stream",
            "tags": [TAG],
            "summary": "Watches a submission over WebSocket, and talks to it.",
            "description": "Text frames of JSON both ways: ServerFrame comes, ClientFrame may go. Closes with 1000 "
            "after the result, 1012 when this server leaves, 1013 when the viewer is too slow or a dependency is down; "
            "the close reason then names the sequence to resume after.",
            "parameters": [_job_id(), _after()],
            "responses": {
                "101": {
                    "description": "The connection is a WebSocket from here on.",
                    "content": {"application/json": {"schema": _ref("ServerFrame")}},
                },
                "403": {
                    "description": "A page of a foreign origin asked.",
                    "content": {"application/json": {"schema": _ref("Error")}},
                },
                **errors("400", "404"),
            },
            "x-client-frame": _ref("ClientFrame"),
        },
        _EVENTS: {
            "operationId": "Events",
            "tags": [TAG],
            "summary": "Watches a submission as server-sent events.",
            "description": "`id` is the sequence, `event` the frame's type (status, output, gap, result), `data` the "
            "same JSON as over WebSocket. Ends after the result. A comment comes every 15 seconds.",
            "parameters": [_job_id(), _after(), _last_event_id()],
            "responses": {
                "200": {
                    "description": "The events.",
                    "content": {"text/event-stream": {"schema": {"type": "string"}}},
                },
                "204": {"description": "Last-Event-ID is the result's: there is nothing more to come."},
                **errors("400", "404"),
            },
        },
        "/api/v1/openapi.json": {
            "operationId": "OpenApi",
            "tags": [TAG],
            "summary": "This document.",
            "responses": {
                "200": {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}},
                **errors(),
            },
        },
    }


def _job_id() -> dict[str, Any]:
    schema = {"type": "string", "format": "uuid"}
    return {"name": "job_id", "in": "path", "required": True, "description": "Its UUID.", "schema": schema}


def _sequence() -> dict[str, Any]:
    return {"type": "integer", "format": "int32", "minimum": 0, "maximum": _MOST_SEQUENCE}


def _after() -> dict[str, Any]:
    description = "Only events after this sequence. Default 0: from the beginning."
    return {"name": "after", "in": "query", "description": description, "schema": _sequence()}


def _last_event_id() -> dict[str, Any]:
    description = "As browsers send it when they reconnect; wins over `after`."
    return {"name": "Last-Event-ID", "in": "header", "description": description, "schema": _sequence()}
