"""Ways to break a mesh. Each returns when the fault has ended: what was stopped has been started again."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import redis.asyncio

from deploy.local import postgres as local_postgres
from deploy.local.mesh import Mesh
from deploy.local.supervisor import Supervisor

LEASE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to the mesh, while work is under way."""

    name: str
    strike: Callable[[Mesh], Awaitable[None]]


def _pid(mesh: Mesh, name: str) -> int:
    return Supervisor(mesh).pids()[name]


async def _kill(mesh: Mesh, name: str) -> None:
    """SIGKILL; the supervisor starts it again, as a cluster would."""
    pid = await asyncio.to_thread(_pid, mesh, name)
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while (await asyncio.to_thread(Supervisor(mesh).pids)).get(name, pid) == pid:
            await asyncio.sleep(0.05)


async def kill_executor(mesh: Mesh) -> None:
    """With everything it runs."""
    await _kill(mesh, "executor-0")


async def kill_scheduler(mesh: Mesh) -> None:
    """Its sessions, its unacked messages and its batches die with it."""
    await _kill(mesh, "scheduler-0")


async def kill_gateway(mesh: Mesh) -> None:
    """Every watch through it breaks."""
    await _kill(mesh, "gateway-0")


async def freeze_executor(mesh: Mesh) -> None:
    """Past its lease; then it wakes and offers what nobody wants any more."""
    pid = await asyncio.to_thread(_pid, mesh, "executor-0")
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(LEASE_SECONDS + 3)
    finally:
        os.kill(pid, signal.SIGCONT)


async def restart_rabbitmq(mesh: Mesh) -> None:
    """Politely, as an upgrade would."""
    supervisor = Supervisor(mesh)
    await asyncio.to_thread(supervisor.stop, "rabbitmq")
    await asyncio.sleep(1)
    await asyncio.to_thread(supervisor.start, "rabbitmq")
    await _until_listening(mesh.ports.rabbitmq.number)


async def crash_postgres(mesh: Mesh) -> None:
    """As `pg_ctl stop -m immediate`: no checkpoint, every connection cut; then crash recovery."""
    supervisor = Supervisor(mesh)
    pid = int((local_postgres.data(mesh) / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    async with asyncio.timeout(20):
        while (await asyncio.to_thread(supervisor.pids)).get("postgres", pid) == pid:
            await asyncio.sleep(0.05)
    await _until_listening(mesh.ports.postgres.number)


async def lose_redis(mesh: Mesh) -> None:
    """Everything in it, and a moment later it itself."""
    async with redis.asyncio.Redis.from_url(mesh.redis_url) as client:
        await client.flushall()
    await asyncio.sleep(0.3)
    await _kill(mesh, "redis")


async def _until_listening(port: int) -> None:
    deadline = time.monotonic() + 40
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return


ALL = (
    Fault("an executor is killed", kill_executor),
    Fault("a scheduler is killed", kill_scheduler),
    Fault("an executor is frozen past its lease and wakes", freeze_executor),
    Fault("RabbitMQ is stopped and started", restart_rabbitmq),
    Fault("PostgreSQL crashes and recovers", crash_postgres),
    Fault("Redis is flushed and then killed", lose_redis),
    Fault("a gateway is killed", kill_gateway),
)
