"""Stand-ins for scheduler and gateway: the generated servicers with answers that a test chooses.

Built with the kit's own guard and server options, so that what the tests show of Envoy holds for the real ones.
"""

# ruff: noqa: N802  methods have the names of the protos

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from ratelimit.v3 import rls_pb2, rls_pb2_grpc
from sentinel.v1 import (
    event_pb2,
    evidence_pb2,
    scheduler_pb2,
    scheduler_pb2_grpc,
    status_pb2,
    status_pb2_grpc,
    submission_pb2,
)

from services.kit.grpc_server import SERVER_OPTIONS, Guard

JOB = "01938f5e-7a10-7000-8000-000000000001"

# From 1,000 calls that Python has not picked up yet, gRPC cancels more of them at random.
_PATIENT = (("grpc.server.max_pending_requests", 100_000), ("grpc.server.max_pending_requests_hard_limit", 100_000))

Behaviour = Callable[[Any, Any], Awaitable[Any]]


def submission(**fields: Any) -> submission_pb2.Submission:
    return submission_pb2.Submission(job_id=JOB, language="python", status=submission_pb2.SUCCESS, **fields)


def output(sequence: int, data: bytes) -> event_pb2.Event:
    chunk = event_pb2.Output(stream=evidence_pb2.STREAM_STDOUT, data=data)
    return event_pb2.Event(sequence=sequence, attempt=1, output=chunk)


class Scheduler(scheduler_pb2_grpc.SchedulerServiceServicer):
    """Accepts everything; `submit` may be replaced."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.requests: list[scheduler_pb2.SubmitRequest] = []
        self.metadata: dict[str, str] = {}
        self.submit: Behaviour = self.accept
        self.interactions_open = 0
        self.run_cancelled = asyncio.Event()

    async def accept(self, request: Any, context: Any) -> scheduler_pb2.SubmitResponse:
        await context.send_initial_metadata((("x-http-code", "202"),))
        return scheduler_pb2.SubmitResponse(job_id=JOB, status=submission_pb2.QUEUED)

    async def Submit(self, request: scheduler_pb2.SubmitRequest, context: Any) -> scheduler_pb2.SubmitResponse:
        self.calls.append("Submit")
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        answer: scheduler_pb2.SubmitResponse = await self.submit(request, context)
        return answer

    async def SubmitBatch(self, request: Any, context: Any) -> scheduler_pb2.SubmitBatchResponse:
        self.calls.append("SubmitBatch")
        await context.send_initial_metadata((("x-http-code", "202"),))
        item = scheduler_pb2.BatchItem(job_id=JOB, status=submission_pb2.QUEUED)
        return scheduler_pb2.SubmitBatchResponse(items=[item] * len(request.submissions))

    async def Cancel(self, request: Any, context: Any) -> scheduler_pb2.CancelResponse:
        self.calls.append("Cancel")
        return scheduler_pb2.CancelResponse(submission=submission())

    async def Run(self, request: Any, context: Any) -> AsyncIterator[scheduler_pb2.RunResponse]:
        self.calls.append("Run")
        yield scheduler_pb2.RunResponse(event=output(1, b"hello"))

    async def RunToCompletion(self, request: Any, context: Any) -> scheduler_pb2.RunToCompletionResponse:
        self.calls.append("RunToCompletion")
        if request.submission.args:
            try:
                await asyncio.sleep(float(request.submission.args[0]))
            except asyncio.CancelledError:
                self.run_cancelled.set()
                raise
        return scheduler_pb2.RunToCompletionResponse(submission=submission(stdout="done\n"))

    async def Interact(self, requests: Any, context: Any) -> AsyncIterator[scheduler_pb2.InteractResponse]:
        self.calls.append("Interact")
        self.interactions_open += 1
        try:
            sequence = 0
            async for request in requests:
                sequence += 1
                yield scheduler_pb2.InteractResponse(event=output(sequence, request.stdin or b"."))
        finally:
            self.interactions_open -= 1


class Status(status_pb2_grpc.StatusServiceServicer):
    """Knows one submission."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.submission = submission(stdout="hello\n", exit_code=0)
        self.get: Behaviour = self.found
        self.watch: Callable[[Any, Any], AsyncIterator[event_pb2.Event]] = self.two_events
        self.health: Behaviour = self.well

    async def found(self, request: Any, context: Any) -> status_pb2.GetSubmissionResponse:
        return status_pb2.GetSubmissionResponse(submission=self.submission)

    async def well(self, request: Any, context: Any) -> status_pb2.GetHealthResponse:
        services = status_pb2.ServiceHealth(postgres="ok", rabbitmq="ok", redis="ok")
        return status_pb2.GetHealthResponse(status="ok", services=services)

    async def two_events(self, request: Any, context: Any) -> AsyncIterator[event_pb2.Event]:
        yield output(1, b"hello")
        yield event_pb2.Event(sequence=2, attempt=1, result=event_pb2.Result(submission=self.submission))

    async def GetSubmission(self, request: Any, context: Any) -> status_pb2.GetSubmissionResponse:
        self.calls.append("GetSubmission")
        answer: status_pb2.GetSubmissionResponse = await self.get(request, context)
        return answer

    async def ListSubmissions(self, request: Any, context: Any) -> status_pb2.ListSubmissionsResponse:
        self.calls.append("ListSubmissions")
        return status_pb2.ListSubmissionsResponse(submissions=[self.submission])

    async def WatchSubmission(self, request: Any, context: Any) -> AsyncIterator[status_pb2.WatchSubmissionResponse]:
        self.calls.append("WatchSubmission")
        async for event in self.watch(request, context):
            yield status_pb2.WatchSubmissionResponse(event=event)

    async def ListLanguages(self, request: Any, context: Any) -> status_pb2.ListLanguagesResponse:
        self.calls.append("ListLanguages")
        return status_pb2.ListLanguagesResponse(languages=[status_pb2.Language(name="python", version="3.11.2")])

    async def GetHealth(self, request: Any, context: Any) -> status_pb2.GetHealthResponse:
        self.calls.append("GetHealth")
        answer: status_pb2.GetHealthResponse = await self.health(request, context)
        return answer


class RateLimits(rls_pb2_grpc.RateLimitServiceServicer):
    """Lets `allowance` calls of each class pass."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.allowance = 10**9
        self.hangs = False

    async def ShouldRateLimit(self, request: rls_pb2.RateLimitRequest, context: Any) -> rls_pb2.RateLimitResponse:
        if self.hangs:
            await asyncio.sleep(5)
        entries = {entry.key: entry.value for entry in request.descriptors[0].entries}
        assert request.domain == "sentinel"
        self.asked.append(entries)
        used = sum(asked["class"] == entries["class"] for asked in self.asked)
        passes = used <= self.allowance
        code = rls_pb2.RateLimitResponse.OK if passes else rls_pb2.RateLimitResponse.OVER_LIMIT
        limit = rls_pb2.RateLimitResponse.RateLimit(
            requests_per_unit=self.allowance % 2**31, unit=rls_pb2.RateLimitResponse.RateLimit.MINUTE
        )
        status = rls_pb2.RateLimitResponse.DescriptorStatus(
            code=code, current_limit=limit, limit_remaining=max(0, self.allowance - used) % 2**31
        )
        status.duration_until_reset.seconds = 42
        headers = [] if passes else [rls_pb2.HeaderValue(key="retry-after", value="42")]
        return rls_pb2.RateLimitResponse(overall_code=code, statuses=[status], response_headers_to_add=headers)


class GrpcProcess:
    """One gRPC server on a port of its own, with health."""

    def __init__(self, port: int, register: Callable[[grpc.aio.Server], None]) -> None:
        self.port = port
        self._register = register
        self.health = HealthServicer()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self.health = HealthServicer()
        self._server = grpc.aio.server(interceptors=[Guard()], options=[*SERVER_OPTIONS, *_PATIENT])
        self._register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        assert self._server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        await self._server.start()

    async def serving(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        await self.health.set("", status.SERVING if serving else status.NOT_SERVING)

    async def stop(self, grace: float | None = None) -> None:
        if self._server is not None:
            await self._server.stop(grace)
            self._server = None


class GatewayHttp:
    """WebSocket echo, an event stream, a page."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.release = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        app = web.Application()
        app.add_routes(
            [
                web.get("/readyz", self._text("ready")),
                web.get("/", self._text("the page")),
                web.get("/docs", self._text("the docs")),
                web.get("/api/v1/openapi.json", self._text("{}")),
                web.get("/api/v1/submissions/{job_id}/stream", self._echo),
                web.get("/api/v1/submissions/{job_id}/events", self._events),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        try:
            yield
        finally:
            await runner.cleanup()

    def _text(self, text: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(text=text)

        return answer

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """One event, then nothing until the test lets go, then another."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'id: 1\ndata: {"type":"status"}\n\n')
        await self.release.wait()
        await response.write(b'id: 2\ndata: {"type":"result"}\n\n')
        return response
