"""What waits: asked of PostgreSQL, which knows, and of RabbitMQ, which holds it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import aio_pika
import asyncpg

from deploy.local.mesh import Mesh

_QUEUE = "execution_tasks"


class Backlog:
    """Looks at both. Costs a statement and a passive declaration per look."""

    def __init__(self, database: "asyncpg.Connection", channel: aio_pika.abc.AbstractChannel) -> None:
        self._database = database
        self._channel = channel

    async def accepted(self) -> int:
        """Submissions on record, ended ones included."""
        return int(await self._database.fetchval("select count(*) from submissions"))

    async def ended(self) -> int:
        """Submissions that are terminal."""
        return int(await self._database.fetchval("select count(*) from submissions where finished_at is not null"))

    async def queued(self) -> int:
        """Submissions that no executor has begun."""
        return int(await self._database.fetchval("select count(*) from submissions where state = 'QUEUED'"))

    async def unpublished(self) -> int:
        """Entries that the broker has not confirmed yet."""
        return int(await self._database.fetchval("select count(*) from outbox"))

    async def messages(self) -> int:
        """Messages in the queue that no executor holds. A submission may have more than one."""
        queue = await self._channel.declare_queue(_QUEUE, passive=True)
        return queue.declaration_result.message_count or 0

    async def settle(self, seconds: float) -> None:
        """Returns once everything accepted is published. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while await self.unpublished():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the outbox is not empty after {seconds:g} s")
            await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def backlog(mesh: Mesh) -> AsyncIterator[Backlog]:
    """Connections of its own, closed at the end."""
    database = await asyncpg.connect(mesh.database_url)
    try:
        async with await aio_pika.connect(mesh.rabbitmq_url) as connection:
            yield Backlog(database, await connection.channel())
    finally:
        await database.close()
