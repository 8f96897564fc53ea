import grpc
import pytest
from google.rpc import error_details_pb2

from services.kit.errors import BacklogFull, InvalidField, KeyReused, SentinelError, Unavailable, UnknownJob, Violation


def details(error: SentinelError) -> dict[str, object]:
    unpacked: dict[str, object] = {}
    for packed in error.status().details:
        name = packed.type_url.rpartition(".")[2]
        message = getattr(error_details_pb2, name)()
        assert packed.Unpack(message)
        unpacked[name] = message
    return unpacked


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (InvalidField("x"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        (UnknownJob("x"), grpc.StatusCode.NOT_FOUND, "UNKNOWN_JOB"),
        (KeyReused("x"), grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED"),
        (Unavailable("x"), grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_DOWN"),
        (Unavailable("x", reason="DRAINING"), grpc.StatusCode.UNAVAILABLE, "DRAINING"),
        (BacklogFull("x"), grpc.StatusCode.RESOURCE_EXHAUSTED, "BACKLOG_FULL"),
    ],
)
def test_every_error_names_its_code_reason_and_domain(error: SentinelError, code: grpc.StatusCode, reason: str) -> None:
    assert error.status().code == code.value[0]
    info = details(error)["ErrorInfo"]
    assert info == error_details_pb2.ErrorInfo(reason=reason, domain="sentinel")


def test_a_wrong_field_is_named_with_what_to_change() -> None:
    error = InvalidField("bad", violations=[Violation("files[0].name", "must not be empty")])
    request = details(error)["BadRequest"]
    assert isinstance(request, error_details_pb2.BadRequest)
    assert [(v.field, v.description) for v in request.field_violations] == [("files[0].name", "must not be empty")]


def test_asking_again_later_is_offered_only_where_it_helps() -> None:
    retry = details(Unavailable("x", retry_after=1.5))["RetryInfo"]
    assert isinstance(retry, error_details_pb2.RetryInfo)
    assert (retry.retry_delay.seconds, retry.retry_delay.nanos) == (1, 500_000_000)
    assert "RetryInfo" not in details(InvalidField("x"))
