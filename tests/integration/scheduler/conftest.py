"""Real PostgreSQL, RabbitMQ and Redis; schedulers in this process; executors that do what a test says."""

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import grpc
import pytest
from rich.console import Console
from sentinel.v1 import scheduler_pb2_grpc

from deploy.local.down import delete_data, take_down
from deploy.local.mesh import Mesh
from deploy.local.progress import Progress
from deploy.local.supervisor import Supervisor
from deploy.local.up import Bringup, migrate
from services.scheduler.main import serve
from services.scheduler.settings import Settings
from tests.mesh import free_stretch


@pytest.fixture(scope="session")
def infra() -> Iterator[Mesh]:
    """Infrastructure of its own, so that nobody else's executors take this suite's work."""
    # Not /tmp: where that is memory, the broker would find no disk.
    state = Path(tempfile.mkdtemp(prefix="sentinel-test-", dir="/var/tmp"))
    state.chmod(0o755)
    mesh = Mesh.from_environment(free_stretch(state))
    progress = Progress(Console(quiet=True))
    try:
        Bringup(mesh, progress).infrastructure()
        migrate(mesh, "up")
        yield mesh
    finally:
        take_down(mesh, progress)
        delete_data(mesh)


def free_port() -> int:
    """A loopback port that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(slots=True)
class RunningScheduler:
    """One scheduler in this process."""

    stub: "scheduler_pb2_grpc.SchedulerServiceAsyncStub"
    sessions: str
    """Where executors dial."""
    stop: asyncio.Event
    task: "asyncio.Task[None]"


StartScheduler = Callable[..., Awaitable[RunningScheduler]]


@pytest.fixture
async def start_scheduler(infra: Mesh) -> AsyncIterator[StartScheduler]:
    """Starts schedulers; all are drained at the end."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**overrides: object) -> RunningScheduler:
            clients, sessions = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
            settings = Settings(
                database_url=infra.database_url,
                rabbitmq_url=infra.rabbitmq_url,
                redis_url=infra.redis_url,
                grpc_address=clients,
                executor_address=sessions,
                metrics_port=0,
                **{
                    "scheduler_id": clients,
                    "lease_term_ms": 1500,
                    "heartbeat_interval_ms": 400,
                    "health_notice": "0s",
                    "drain_grace": "3s",
                    **overrides,
                },  # type: ignore[arg-type]
            )
            stop = asyncio.Event()
            task = asyncio.create_task(serve(settings, stop))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(clients))
            await channel.channel_ready()

            async def leave() -> None:
                stop.set()
                await asyncio.wait_for(task, 10)

            stack.push_async_callback(leave)
            return RunningScheduler(scheduler_pb2_grpc.SchedulerServiceStub(channel), sessions, stop, task)

        yield start


@pytest.fixture
async def database(infra: Mesh) -> AsyncIterator[asyncpg.Connection]:
    """A connection, and after the test empty tables."""
    connection = await asyncpg.connect(infra.database_url)
    yield connection
    connection.terminate()
    # A fresh one: the test may have restarted the server.
    connection = await asyncpg.connect(infra.database_url)
    await connection.execute("truncate submissions, outbox, idempotency_keys, executors")
    await connection.close()


@pytest.fixture
def restart(infra: Mesh) -> Callable[[str], None]:
    """Stops and starts one part of the infrastructure."""

    def again(name: str) -> None:
        supervisor = Supervisor(infra)
        supervisor.stop(name)
        supervisor.start(name)

    return again
