"""How Envoy's own answers look: like everybody's, `{"error": …, "code": …, "details": […]}`."""

from typing import Any

_TYPE = "type.googleapis.com/google.rpc."

# status: (code, reason, what people read; None for what Envoy says itself)
_BY_STATUS: dict[int, tuple[str, str, str | None]] = {
    # The transcoder's parser: it names field and value, and nothing of ours.
    400: ("INVALID_ARGUMENT", "INVALID_FIELD", None),
    403: ("FAILED_PRECONDITION", "NO_UPGRADE_HERE", "this path cannot be upgraded to a WebSocket"),
    404: ("NOT_FOUND", "UNKNOWN_PATH", "no such path; the API is described at /docs"),
    405: ("UNIMPLEMENTED", "METHOD_NOT_ALLOWED", "this path does not know that method; see the Allow header"),
    408: ("DEADLINE_EXCEEDED", "REQUEST_TOO_SLOW", "the request did not arrive in time"),
    413: ("INVALID_ARGUMENT", "BODY_TOO_LARGE", "the request body is larger than 1 MiB"),
    429: ("RESOURCE_EXHAUSTED", "RATE_LIMITED", "too many calls from this address; Retry-After says when to go on"),
    431: ("INVALID_ARGUMENT", "HEADERS_TOO_LARGE", "the request headers are too large"),
    500: ("INTERNAL", "INTERNAL", "internal error"),
    502: ("UNAVAILABLE", "UNREACHABLE", "the service broke off its answer"),
    503: ("UNAVAILABLE", "UNREACHABLE", "the service cannot be reached at the moment"),
    504: ("DEADLINE_EXCEEDED", "TOO_SLOW", "the service did not answer in time"),
}
_RETRY_DELAY = {429: "%RESP(RETRY-AFTER)%s", 503: "1s"}
"""Where asking again helps. The limiter has written its Retry-After by the time the body is made."""


def local_replies() -> dict[str, Any]:
    """HttpConnectionManager.local_reply_config. The first mapper that fits decides."""
    return {
        "mappers": [_native_grpc(), _already_answered(), *(_by_status(status) for status in _BY_STATUS)],
        "body_format": _body("UNKNOWN", "UNKNOWN", "%LOCAL_REPLY_BODY%", None),
    }


def _native_grpc() -> dict[str, Any]:
    """For native gRPC the text becomes grpc-message.

    The transcoder has rewritten the content type of its requests by now; what it marked with
    x-envoy-original-path is REST all the same.
    """
    return {
        "filter": {
            "and_filter": {
                "filters": [
                    {
                        "header_filter": {
                            "header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
                        }
                    },
                    {"header_filter": {"header": {"name": "x-envoy-original-path", "present_match": False}}},
                ]
            }
        },
        "body_format_override": {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}},
    }


def _already_answered() -> dict[str, Any]:
    """What requests.lua says is complete."""
    return {
        "filter": {
            "metadata_filter": {
                "matcher": {"filter": "sentinel", "path": [{"key": "answered"}], "value": {"bool_match": True}},
                "match_if_key_not_found": False,
            }
        },
        "body_format_override": {
            "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"},
            "content_type": "application/json",
        },
    }


def _by_status(status: int) -> dict[str, Any]:
    code, reason, sentence = _BY_STATUS[status]
    mapper: dict[str, Any] = {
        "filter": {
            "status_code_filter": {
                "comparison": {"op": "EQ", "value": {"default_value": status, "runtime_key": f"reply_{status}"}}
            }
        },
        "body_format_override": _body(code, reason, sentence or "%LOCAL_REPLY_BODY%", _RETRY_DELAY.get(status)),
    }
    if status == 503:
        mapper["headers_to_add"] = [{"header": {"key": "retry-after", "value": "1"}, "append_action": "ADD_IF_ABSENT"}]
    return mapper


def _body(code: str, reason: str, sentence: str, retry_delay: str | None) -> dict[str, Any]:
    details: list[dict[str, Any]] = [{"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": "sentinel"}]
    if retry_delay:
        details.append({"@type": f"{_TYPE}RetryInfo", "retry_delay": retry_delay})
    return {"json_format": {"error": sentence, "code": code, "details": details}}
