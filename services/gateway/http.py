"""The HTTP side: WebSocket, SSE, the OpenAPI document and two small pages. Everything else is Envoy's transcoding."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import grpc
from aiohttp import web

from services.gateway import render
from services.gateway.pages import Page
from services.gateway.sse import EventsHandler
from services.gateway.websocket import StreamHandler
from services.kit.errors import SentinelError
from services.kit.log import get_logger
from services.kit.trace import current_trace, new_trace, parse_traceparent

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PLAIN_ERRORS = {
    404: (grpc.StatusCode.NOT_FOUND, "UNKNOWN_PATH", "no such path; the API is described at /docs"),
    405: (
        grpc.StatusCode.UNIMPLEMENTED,
        "METHOD_NOT_ALLOWED",
        "this path does not know that method; see the Allow header",
    ),
}
"""What the router itself refuses, in the words of the edge."""
_ROUTER_REFUSES = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "the request cannot be understood")


def make_app(
    stream: StreamHandler,
    events: EventsHandler,
    openapi: bytes,
    pages: Mapping[str, Page],
    draining: Callable[[], bool],
) -> web.Application:
    """The application. `pages` by path; `draining` is what Envoy's health check of this listener hears."""
    app = web.Application(middlewares=[_guard])
    app.router.add_get("/api/v1/submissions/{job_id}/stream", stream, allow_head=False)
    app.router.add_get("/api/v1/submissions/{job_id}/events", events, allow_head=False)
    app.router.add_get("/api/v1/openapi.json", _fixed(openapi, {"Content-Type": "application/json"}))
    for path, page in pages.items():
        app.router.add_get(path, _fixed(page.body, page.headers))
    app.router.add_get("/readyz", _ready(draining))
    return app


@asynccontextmanager
async def serve_http(app: web.Application, address: str) -> AsyncIterator[int]:
    """Listens on host:port until the block ends; yields the port. Viewers still there then are cut off."""
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(
        app,
        access_log=None,
        # Else a viewer who leaves is noticed only when there is something to tell.
        handler_cancellation=True,
        shutdown_timeout=3,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _ready(draining: Callable[[], bool]) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        # Not of what we lean on: were all gateways taken out because the database is away, nobody could say so.
        leaving = draining()
        return web.Response(text="draining\n" if leaving else "ready\n", status=503 if leaving else 200)

    return answer


def _fixed(body: bytes, headers: dict[str, str]) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={**_SAFE, **headers})

    return answer


_SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives every call its trace and every error its body. A bug's text stays in the log."""
    parent = parse_traceparent(request.headers.get("traceparent"))
    current_trace.set(parent.child() if parent else new_trace())
    try:
        return await handler(request)
    except SentinelError as error:
        return _error(error, render.http_status(error), render.http_headers(error))
    except web.HTTPException as refusal:
        code, reason, text = _PLAIN_ERRORS.get(refusal.status, _ROUTER_REFUSES)
        allow = {"Allow": refusal.headers["Allow"]} if "Allow" in refusal.headers else {}
        return _error(_plain(code, reason, text), refusal.status, allow)
    except ConnectionError:
        raise
    except Exception:
        get_logger().exception("unhandled", method=request.method, path=request.path)
        return _error(SentinelError("internal error"), 500, {})


def _plain(code: grpc.StatusCode, reason: str, text: str) -> SentinelError:
    error = SentinelError(text, reason=reason)
    error.code = code
    return error


def _error(error: SentinelError, status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(
        text=render.dumps(render.error_body(error)),
        status=status,
        headers={**_SAFE, **headers, "Content-Type": "application/json"},
    )
