"""Every way a call can fail that is not a bug, and how it looks as a google.rpc.Status."""

from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "sentinel"


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is wrong: its path as the caller wrote it, and what to change."""

    field: str
    description: str


class SentinelError(Exception):
    """A call was refused. Subclasses fix `code` and `reason`; the text is for people.

    `retry_after` (seconds) is set where asking again later helps. `http_code` is set where REST callers should see
    another code than the one that gRPC's maps to.
    """

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL
    reason: str = "INTERNAL"
    http_code: int | None = None

    def __init__(
        self,
        text: str,
        *,
        violations: Iterable[Violation] = (),
        retry_after: float | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(text)
        self.text = text
        self.violations = tuple(violations)
        self.retry_after = retry_after
        if reason is not None:
            self.reason = reason

    def status(self) -> status_pb2.Status:
        """This error as it goes over the wire."""
        details: list[message.Message] = [error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN)]
        if self.violations:
            details.append(
                error_details_pb2.BadRequest(
                    field_violations=[
                        error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
                        for v in self.violations
                    ]
                )
            )
        if self.retry_after is not None:
            seconds = int(self.retry_after)
            nanos = round((self.retry_after - seconds) * 1e9)
            delay = duration_pb2.Duration(seconds=seconds, nanos=nanos)
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        return status_pb2.Status(code=self.code.value[0], message=self.text, details=[_pack(d) for d in details])


def _pack(detail: message.Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


class InvalidField(SentinelError):
    """A field is wrong and will stay wrong until the caller changes it."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_FIELD"


class UnknownJob(SentinelError):
    """There is no submission with this id."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "UNKNOWN_JOB"


class KeyReused(SentinelError):
    """The idempotency key belongs to another body."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "IDEMPOTENCY_KEY_REUSED"


class Unavailable(SentinelError):
    """Something we lean on is down or full; asking again later helps."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "DEPENDENCY_DOWN"

    def __init__(self, text: str, *, retry_after: float = 2.0, reason: str | None = None) -> None:
        super().__init__(text, retry_after=retry_after, reason=reason)


class BacklogFull(SentinelError):
    """More waits to be queued than this deployment allows. The deployment's fault, hence 503 and not 429."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "BACKLOG_FULL"
    http_code = 503

    def __init__(self, text: str, *, retry_after: float = 5.0) -> None:
        super().__init__(text, retry_after=retry_after)


class Forbidden(SentinelError):
    """The caller may not do this here."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "FORBIDDEN"


class Unimplemented(SentinelError):
    """This version does not do this."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = "UNIMPLEMENTED"
