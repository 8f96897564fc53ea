"""A real Envoy, started from the very configuration that `make up` renders."""

import asyncio
import json
import random
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from ratelimit.v3 import rls_pb2_grpc
from sentinel.v1 import scheduler_pb2_grpc, status_pb2_grpc

from deploy.envoy.render import Edge, Endpoint, render
from deploy.local.edge import BINARY
from tests.edge.upstream import GatewayHttp, GrpcProcess, RateLimits, Scheduler, Status


def free_port() -> int:
    """Below the range of outgoing connections, which could otherwise take it before we do."""
    while True:
        port = random.randrange(24000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@dataclass
class TestEdge:
    """An edge with its upstreams, all in a test's hands."""

    __test__ = False

    url: str
    admin: str
    schedulers: list[Scheduler]
    scheduler_processes: list[GrpcProcess]
    status: Status
    gateway_process: GrpcProcess
    rate_limits: RateLimits
    http: GatewayHttp
    session: aiohttp.ClientSession
    channel: grpc.aio.Channel
    envoy: subprocess.Popen[bytes]

    @property
    def scheduler(self) -> Scheduler:
        return self.schedulers[0]

    @property
    def target(self) -> str:
        return self.url.removeprefix("http://")

    def stub(self) -> "scheduler_pb2_grpc.SchedulerServiceAsyncStub":
        return scheduler_pb2_grpc.SchedulerServiceStub(self.channel)

    def status_stub(self) -> "status_pb2_grpc.StatusServiceAsyncStub":
        return status_pb2_grpc.StatusServiceStub(self.channel)

    async def post(self, path: str, body: Any = None, **options: Any) -> "Answer":
        return await self.call("POST", path, json=body, **options)

    async def get(self, path: str, **options: Any) -> "Answer":
        return await self.call("GET", path, **options)

    async def call(self, method: str, path: str, **options: Any) -> "Answer":
        async with self.session.request(method, self.url + path, **options) as response:
            text = await response.text()
            is_json = response.headers.get("Content-Type", "").startswith("application/json")
            return Answer(response.status, dict(response.headers), text, json.loads(text) if is_json and text else None)

    async def stat(self, name: str) -> int:
        async with self.session.get(f"{self.admin}/stats", params={"filter": f"^{name}$"}) as response:
            text = await response.text()
        return int(text.rpartition(":")[2])


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str
    json: Any

    def header(self, name: str) -> str | None:
        return {key.lower(): value for key, value in self.headers.items()}.get(name)


@asynccontextmanager
async def running_edge(
    folder: Path,
    *,
    schedulers: int = 1,
    change: Callable[[dict[str, Any]], None] = lambda _: None,
    **settings: Any,
) -> AsyncIterator[TestEdge]:
    """Upstreams first, then Envoy, so that it finds them healthy at once. `change` may edit what was rendered."""
    settings.setdefault("rate_limit", 0)
    fakes = [Scheduler() for _ in range(schedulers)]
    status, limits = Status(), RateLimits()

    def scheduler_process(fake: Scheduler) -> GrpcProcess:
        return GrpcProcess(
            free_port(), lambda server: scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server(fake, server)
        )

    def register_gateway(server: grpc.aio.Server) -> None:
        status_pb2_grpc.add_StatusServiceServicer_to_server(status, server)
        rls_pb2_grpc.add_RateLimitServiceServicer_to_server(limits, server)

    processes = [scheduler_process(fake) for fake in fakes]
    gateway = GrpcProcess(free_port(), register_gateway)
    http = GatewayHttp(free_port())
    listen, admin = Endpoint("127.0.0.1", free_port()), Endpoint("127.0.0.1", free_port())
    path = render(
        Edge(
            listen=listen,
            admin=admin,
            schedulers=[Endpoint("127.0.0.1", process.port) for process in processes],
            gateways=[Endpoint("127.0.0.1", gateway.port)],
            gateways_http=[Endpoint("127.0.0.1", http.port)],
            **settings,
        ),
        folder,
    )
    configuration = json.loads(path.read_text())
    change(configuration)
    path.write_text(json.dumps(configuration))
    async with AsyncExitStack() as stack:
        for process in (*processes, gateway):
            await process.start()
            stack.push_async_callback(process.stop)
        await stack.enter_async_context(http.running())
        log = stack.enter_context((folder / "envoy.log").open("wb"))
        envoy = subprocess.Popen(  # noqa: ASYNC220  Envoy dies with the thread that started it; it must be this one
            [str(BINARY), "-c", str(path), "--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"],
            stdout=log,
            stderr=log,
        )
        stack.callback(envoy.wait)
        stack.callback(envoy.kill)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=30))
        )
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(
                f"127.0.0.1:{listen.port}",
                options=[("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)],
            )
        )
        edge = TestEdge(
            f"http://127.0.0.1:{listen.port}", f"http://127.0.0.1:{admin.port}",
            fakes, processes, status, gateway, limits, http, session, channel, envoy,
        )  # fmt: skip
        await _ready(edge, folder)
        yield edge


async def _ready(edge: TestEdge, folder: Path) -> None:
    for _ in range(100):
        assert edge.envoy.poll() is None, (folder / "envoy.log").read_text()
        try:
            async with edge.session.get(f"{edge.admin}/ready") as response:
                if response.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.05)
    raise AssertionError((folder / "envoy.log").read_text())
