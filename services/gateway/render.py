"""Proto → JSON exactly as the edge's transcoder prints it, for what does not pass through the transcoder.

Field names as in the proto, defaults printed, unset optional fields absent, enums by name, 32-bit integers as
numbers, bytes as base64, times RFC 3339 UTC.
"""

import json
from typing import Any

import grpc
from google.protobuf import json_format, message
from google.rpc import error_details_pb2

from services.kit.errors import SentinelError

# Any in an error's details is printed by its type, which therefore has to be known here.
_DETAIL_TYPES = (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)

HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
}
"""As the transcoder maps them."""


def as_json(value: message.Message) -> dict[str, Any]:
    """The message as plain JSON values."""
    rendered: dict[str, Any] = json_format.MessageToDict(
        value, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return rendered


def dumps(value: Any) -> str:
    """Compact JSON text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def error_body(error: SentinelError) -> dict[str, Any]:
    """The body of every error over HTTP: `error`, `code`, `details`."""
    return {"error": error.text, "code": error.code.name, "details": as_json(error.status())["details"]}


def http_status(error: SentinelError) -> int:
    """The HTTP code that goes with it."""
    return error.http_code or HTTP_STATUS.get(error.code, 500)


def http_headers(error: SentinelError) -> dict[str, str]:
    """`Retry-After` where asking again later helps."""
    return {} if error.retry_after is None else {"Retry-After": str(max(1, round(error.retry_after)))}
