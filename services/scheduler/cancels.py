"""Cancels reach the session that holds the submission through the database: it is there whenever a lease is."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg

from services.kit.backoff import full_jitter
from services.kit.batch import CONNECTION_LOST
from services.kit.log import get_logger

CHANNEL = "sentinel_cancel"
_PROBE_SECONDS = 2.0
"""A listening connection says nothing when its server is gone; asking finds out."""


async def hear_cancels(
    connect: Callable[[str], Awaitable[asyncpg.Connection]], on_cancel: Callable[[UUID], None]
) -> None:
    """Calls `on_cancel` for every cancel of a leased submission, until cancelled itself.

    What is missed while the connection is down comes with the next lease extension.
    """

    def on_notify(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        on_cancel(UUID(str(payload)))

    delays = full_jitter(0.1, 1.0)
    while True:
        try:
            connection = await connect("sentinel-scheduler cancels")
            try:
                await connection.add_listener(CHANNEL, on_notify)
                delays = full_jitter(0.1, 1.0)
                while True:
                    await asyncio.sleep(_PROBE_SECONDS)
                    await connection.execute("select 1")
            finally:
                connection.terminate()
        except CONNECTION_LOST as error:
            get_logger().warning("cancel_listener_lost", error=repr(error))
            await asyncio.sleep(next(delays))
