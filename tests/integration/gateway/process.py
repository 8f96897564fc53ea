"""The gateway as the operating system runs it, with a scheduler in the test's hands."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sentinel.v1 import scheduler_pb2, scheduler_pb2_grpc, status_pb2_grpc

from tests.integration.gateway.servers import free_port

_START_SECONDS = 20


class Scheduler(scheduler_pb2_grpc.SchedulerServiceServicer):
    """Remembers what it was asked to cancel."""

    Submit = SubmitBatch = Run = RunToCompletion = Interact = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.cancelled: asyncio.Queue[str] = asyncio.Queue()

    async def Cancel(self, request: Any, context: Any) -> scheduler_pb2.CancelResponse:  # noqa: N802
        self.cancelled.put_nowait(request.job_id)
        return scheduler_pb2.CancelResponse()


@dataclass
class Gateway:
    """A running process and ways to it."""

    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession
    channel: grpc.aio.Channel
    scheduler: Scheduler
    grpc_port: int
    http_port: int
    admin_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def status(self) -> Any:
        return status_pb2_grpc.StatusServiceStub(self.channel)

    async def health(self) -> Any:
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        return await stub.Check(health_pb2.HealthCheckRequest())

    async def metrics(self) -> str:
        async with self.session.get(f"http://127.0.0.1:{self.admin_port}/metrics") as response:
            return await response.text()

    async def ready(self) -> str:
        async with self.session.get(f"http://127.0.0.1:{self.admin_port}/readyz") as response:
            return (await response.text()).strip()

    async def until_ready(self, expected: str = "ready") -> None:
        async with asyncio.timeout(_START_SECONDS):
            while True:
                try:
                    if expected in await self.ready():
                        return
                except aiohttp.ClientConnectionError:
                    if self.process.returncode is not None:
                        raise
                await asyncio.sleep(0.05)


@asynccontextmanager
async def running_gateway(database_url: str, redis_url: str, **environment: str) -> AsyncIterator[Gateway]:
    """Starts the process at once, whether or not what it leans on is there. Ends it at the end of the block."""
    scheduler = Scheduler()
    server = grpc.aio.server()
    scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server(scheduler, server)
    scheduler_port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ports = [free_port() for _ in range(4)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.gateway.main",
        env={
            **os.environ,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "RABBITMQ_URL": f"amqp://127.0.0.1:{ports[3]}/",
            "GRPC_ADDRESS": f"127.0.0.1:{ports[0]}",
            "HTTP_ADDRESS": f"127.0.0.1:{ports[1]}",
            "METRICS_PORT": str(ports[2]),
            # The first one is not there: calls have to find the second.
            "SCHEDULER_ADDRESS": f"127.0.0.1:{ports[3]},127.0.0.1:{scheduler_port}",
            "HEALTH_NOTICE": "300ms",
            "DRAIN_GRACE": "2s",
            **environment,
        },
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with (
            aiohttp.ClientSession() as session,
            grpc.aio.insecure_channel(f"127.0.0.1:{ports[0]}") as channel,
        ):
            yield Gateway(process, session, channel, scheduler, *ports[:3])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await server.stop(0)
