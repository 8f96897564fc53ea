"""Builds a gRPC server the way every Sentinel process wants it: validated, traced, counted, without leaks."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import protovalidate
from buf.validate import validate_pb2
from google.protobuf import message
from grpc.aio import ServicerContext
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection
from grpc_status.rpc_status import to_status

from services.kit.errors import InvalidField, SentinelError, Violation
from services.kit.log import get_logger
from services.kit.rpc_metrics import RPC_SECONDS, RPC_TOTAL
from services.kit.trace import current_trace, new_trace, parse_traceparent

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Above Envoy's body limit (1 MiB), so that the edge answers 413 before a server answers anything."""

SERVER_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    # One port, one process: otherwise Envoy's single connection pins everything to whoever accepted it.
    ("grpc.so_reuseport", 0),
    # Envoy and executors ping idle streams; the default answers that with GOAWAY "too many pings".
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
    # Past about a thousand calls that wait to be picked up, the defaults cancel some at random: 59 of a burst of 1,500
    # were lost. Envoy's limits and the backlog's bound are the ones that refuse, with a reason.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
)

_VALIDATOR = protovalidate.Validator()


def validate(request: message.Message) -> None:
    """Checks the rules written in the proto. Raises InvalidField naming every field that breaks one."""
    # Rules about every item cost for every item, on the event loop: 10,000 files took seconds, and then the budget
    # of the rule engine. So what is too many is refused before it is looked at.
    violations = list(_too_many(request, "")) or [
        Violation(_path(v.proto.field), v.proto.message or v.proto.rule_id)
        for v in _VALIDATOR.collect_violations(request)
    ]
    if not violations:
        return
    first = violations[0]
    text = f"{first.field}: {first.description}" if first.field else first.description
    raise InvalidField(text, violations=violations)


def _too_many(request: message.Message, prefix: str) -> Iterator[Violation]:
    """Lists and maps longer than their rule allows, here and in messages below, not in lists of messages."""
    for field, value in request.ListFields():
        rules = field.GetOptions().Extensions[validate_pb2.field]
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        most = rules.map.max_pairs if is_map else rules.repeated.max_items
        if most and len(value) > most:
            yield Violation(prefix + field.name, f"must contain no more than {most} item(s)")
        elif not field.is_repeated and isinstance(value, message.Message):
            yield from _too_many(value, f"{prefix}{field.name}.")


def _path(field: Any) -> str:
    parts: list[str] = []
    for element in field.elements if field is not None else ():
        subscript = element.subscript
        suffix = f"[{subscript.value}]" if subscript is not None else ""
        parts.append(f"{element.field_name}{suffix}")
    return ".".join(parts)


class Guard(grpc.aio.ServerInterceptor):
    """Stands before every handler: reads the trace, checks the request, counts, and turns errors into statuses.

    An exception that is not a SentinelError is a bug: it is logged whole and told as `INTERNAL "internal error"`,
    since gRPC would otherwise send its text to the caller.

    Streams named in `bare` are passed through untouched: an interceptor costs on every message.
    """

    def __init__(self, bare: Iterable[str] = ()) -> None:
        self._bare = frozenset(bare)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps the handler of one call."""
        handler: Any = await continuation(details)
        method = details.method
        if handler is None or method in self._bare or not method.startswith("/sentinel."):
            return handler
        wrap = functools.partial(self._call, method)
        if handler.unary_unary:
            inner = handler.unary_unary

            async def unary(request: Any, context: Any) -> Any:
                async with wrap(context):
                    validate(request)
                    return await inner(request, context)

            return grpc.unary_unary_rpc_method_handler(unary, handler.request_deserializer, handler.response_serializer)
        if handler.unary_stream:
            stream_inner = handler.unary_stream

            async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
                async with wrap(context):
                    validate(request)
                    async with aclosing(stream_inner(request, context)) as responses:
                        async for response in responses:
                            yield response

            return grpc.unary_stream_rpc_method_handler(
                stream, handler.request_deserializer, handler.response_serializer
            )
        bidi_inner = handler.stream_stream

        async def bidi(requests: Any, context: Any) -> AsyncIterator[Any]:
            async with wrap(context), aclosing(bidi_inner(requests, context)) as responses:
                async for response in responses:
                    yield response

        return grpc.stream_stream_rpc_method_handler(bidi, handler.request_deserializer, handler.response_serializer)

    @asynccontextmanager
    async def _call(self, method: str, context: ServicerContext[Any, Any]) -> AsyncIterator[None]:
        metadata: dict[str, Any] = dict(context.invocation_metadata() or ())
        parent = parse_traceparent(metadata.get("traceparent"))
        # Never reset: a call is a task with a context of its own, and an abandoned stream may be closed in another.
        current_trace.set(parent.child() if parent else new_trace())
        begun = time.perf_counter()
        code = "OK"
        try:
            yield
        except SentinelError as error:
            code = error.code.name
            await abort(context, error)
        except (asyncio.CancelledError, GeneratorExit):
            code = "CANCELLED"
            raise
        except grpc.aio.AbortError:
            code = "ABORTED"
            raise
        except Exception:
            # A handler awaiting a write when its caller leaves gets an internal gRPC error instead of a cancel.
            code = "CANCELLED" if context.done() else "INTERNAL"
            if code == "CANCELLED":
                return
            get_logger().exception("unhandled", method=method, request_id=metadata.get("x-request-id"))
            await abort(context, SentinelError("internal error"))
        finally:
            RPC_SECONDS.labels(method).observe(time.perf_counter() - begun)
            RPC_TOTAL.labels(method, code).inc()


async def abort(context: ServicerContext[Any, Any], error: SentinelError) -> None:
    """Ends the call with this error: google.rpc.Status with its details, and `retry-after` for REST callers."""
    status: Any = to_status(error.status())
    trailing = list(status.trailing_metadata)
    if error.retry_after is not None:
        trailing.append(("retry-after", str(max(1, round(error.retry_after)))))
    if error.http_code is not None:
        trailing.append(("x-http-code", str(error.http_code)))
    # Annotated as Metadata, accepted only as a tuple.
    await context.abort(error.code, error.text, tuple(trailing))


@asynccontextmanager
async def serve_grpc(
    address: str,
    register: Callable[[grpc.aio.Server], None],
    services: Sequence[str],
    *,
    grace: float,
    bare: Iterable[str] = (),
) -> AsyncIterator[HealthServicer]:
    """Serves `services` with health and reflection until the block ends, then lets calls finish for `grace` seconds.

    Yields the health servicer; the caller sets SERVING when it is ready and NOT_SERVING before it leaves,
    with enough time in between for Envoy to notice.
    """
    server = grpc.aio.server(interceptors=[Guard(bare)], options=list(SERVER_OPTIONS))
    register(server)
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection([*services, "grpc.health.v1.Health", reflection.SERVICE_NAME], server)
    if server.add_insecure_port(address) == 0:
        raise OSError(f"cannot listen on {address}")
    await server.start()
    try:
        yield health
    finally:
        await server.stop(grace)
