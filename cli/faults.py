"""Everything that can go wrong between this command and the service, told in one sentence with an exit code."""

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import json_format, message
from google.rpc import error_details_pb2, status_pb2

from cli import exits

_DETAILS_KEY = "grpc-status-details-bin"


class Fault(Exception):
    """The command cannot do what was asked. The text is for people, `body` for machines (as REST answers)."""

    def __init__(
        self,
        text: str,
        exit_code: int,
        *,
        code: str = "INVALID_ARGUMENT",
        details: Iterable[dict[str, Any]] = (),
    ) -> None:
        super().__init__(text)
        self.text = text
        self.exit_code = exit_code
        self.code = code
        self.details = list(details)

    @property
    def body(self) -> dict[str, Any]:
        """As REST answers."""
        return {"error": self.text, "code": self.code, "details": self.details}


def fault(error: grpc.aio.AioRpcError) -> Fault:
    """What the service's error means for whoever asked."""
    status = _status(error)
    text = error.details() or error.code().name.lower()
    match error.code():
        case grpc.StatusCode.INVALID_ARGUMENT:
            text, exit_code = _violations(status, text), exits.REFUSED
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            limited = reason(error) in ("", "RATE_LIMITED")
            text = f"rate limited: {text}" if limited else text
            text, exit_code = f"{text}{_retry(error, text)}", exits.TRY_LATER
        case grpc.StatusCode.UNAVAILABLE if _detail(status, error_details_pb2.RetryInfo):
            text, exit_code = f"{text}{_retry(error, text)}", exits.TRY_LATER
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
            exit_code = exits.UNAVAILABLE
        case grpc.StatusCode.INTERNAL | grpc.StatusCode.UNKNOWN:
            exit_code = exits.INTERNAL_ERROR
        case _:
            exit_code = exits.REFUSED
    details = [json_format.MessageToDict(d, preserving_proto_field_name=True) for d in status.details]
    return Fault(text, exit_code, code=error.code().name, details=details)


def reason(error: grpc.aio.AioRpcError) -> str:
    """The stable word of the service for this error; empty where something on the way made the error."""
    info = _detail(_status(error), error_details_pb2.ErrorInfo)
    return info.reason if isinstance(info, error_details_pb2.ErrorInfo) else ""


def retry_seconds(error: grpc.aio.AioRpcError) -> float | None:
    """When asking again helps, as the service or the edge says; None where neither does."""
    info = _detail(_status(error), error_details_pb2.RetryInfo)
    if isinstance(info, error_details_pb2.RetryInfo):
        return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    for metadata in (error.trailing_metadata(), error.initial_metadata()):
        for key, value in metadata or ():
            if key == "retry-after" and str(value).isdigit():
                return float(str(value))
    return None


def _retry(error: grpc.aio.AioRpcError, text: str) -> str:
    if " again in " in text:
        return ""
    seconds = retry_seconds(error)
    if seconds is None:
        return "; try again later"
    return f"; try again in {seconds:.3g} s"


def _violations(status: status_pb2.Status, text: str) -> str:
    bad = _detail(status, error_details_pb2.BadRequest)
    if not isinstance(bad, error_details_pb2.BadRequest) or not bad.field_violations:
        return text
    return "; ".join(f"{v.field}: {v.description}" if v.field else v.description for v in bad.field_violations)


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()


def _detail(status: status_pb2.Status, kind: type[message.Message]) -> message.Message | None:
    wanted = kind()
    for detail in status.details:
        if detail.Unpack(wanted):
            return wanted
    return None
