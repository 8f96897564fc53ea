"""The connection to RabbitMQ: one publisher channel, one consumer channel per executor session, re-made when lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, DeliveryError

from services.kit.backoff import full_jitter
from services.kit.log import get_logger
from services.scheduler import metrics
from services.scheduler.model import Posting
from services.scheduler.topology import EXECUTE_KEY, EXECUTION_QUEUE, Topology, declare

BROKER_LOST = (AMQPError, ChannelInvalidStateError, DeliveryError, OSError, TimeoutError, RuntimeError)
"""What aio-pika raises when the broker went away, refuses, or does not answer. RuntimeError: a closed channel."""

_HEARTBEAT_SECONDS = 5
_CONFIRM_SECONDS = 10.0

OnMessage = Callable[[AbstractIncomingMessage], Awaitable[None]]


class BrokerDown(Exception):
    """The broker cannot take or give anything at present."""


class Broker:
    """Keeps a connection while `run` runs. Everything else raises BrokerDown while there is none."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AbstractConnection | None = None
        self._topology: Topology | None = None
        self._up = asyncio.Event()
        self._lost = asyncio.Event()

    @property
    def up(self) -> bool:
        """Whether there is a channel."""
        return self._up.is_set()

    async def wait_up(self) -> None:
        """Returns when there is a connection."""
        await self._up.wait()

    async def run(self) -> None:
        """Connects, and connects again, until cancelled."""
        delays = full_jitter(0.1, 1.0)
        while True:
            try:
                await self._connect()
            except BROKER_LOST as error:
                get_logger().warning("broker_unreachable", error=repr(error))
                await self._close()
                await asyncio.sleep(next(delays))
                continue
            except asyncio.CancelledError:
                await self._close()
                raise
            delays = full_jitter(0.1, 1.0)
            metrics.BROKER_UP.set(1)
            self._up.set()
            try:
                await self._lost.wait()
                get_logger().warning("broker_lost")
            finally:
                self._up.clear()
                metrics.BROKER_UP.set(0)
                await self._close()

    async def publish(self, posting: Posting) -> None:
        """Returns when the broker has confirmed. Raises BrokerDown; whether it was taken is then unknown."""
        topology = self._topology
        if topology is None or not self.up:
            raise BrokerDown("no channel")
        message = aio_pika.Message(
            posting.submission.bytes,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=str(posting.submission),
            headers={"traceparent": posting.traceparent, "reason": posting.reason},
        )
        dead = posting.kind == "dead_letter"
        exchange = topology.dead_letters if dead else topology.direct
        try:
            await exchange.publish(message, "" if dead else EXECUTE_KEY, mandatory=True, timeout=_CONFIRM_SECONDS)
        except BROKER_LOST as error:
            raise BrokerDown(repr(error)) from error
        metrics.PUBLISHED.labels(posting.kind).inc()

    async def waiting(self) -> int:
        """Messages ready in the execution queue. Raises BrokerDown."""
        if self._connection is None or not self.up:
            raise BrokerDown("no channel")
        try:
            async with self._connection.channel() as channel:
                queue = await channel.declare_queue(EXECUTION_QUEUE, passive=True, timeout=5)
                return queue.declaration_result.message_count or 0
        except BROKER_LOST as error:
            raise BrokerDown(repr(error)) from error

    @contextlib.asynccontextmanager
    async def consume(self, prefetch: int, on_message: OnMessage) -> AsyncIterator[asyncio.Event]:
        """Hands out at most `prefetch` unacked messages. Yields an event that is set when the channel is lost.

        Leaving the block closes the channel: the broker gives unacked messages to somebody else at once.
        Raises BrokerDown.
        """
        if self._connection is None or not self.up:
            raise BrokerDown("no channel")
        lost = asyncio.Event()
        try:
            channel = await self._connection.channel(publisher_confirms=False)
            channel.close_callbacks.add(lambda *_: lost.set())
            await channel.set_qos(prefetch_count=prefetch)
            queue = await channel.declare_queue(EXECUTION_QUEUE, passive=True)
            await queue.consume(on_message, no_ack=False)
        except BROKER_LOST as error:
            raise BrokerDown(repr(error)) from error
        try:
            yield lost
        finally:
            with contextlib.suppress(*BROKER_LOST):
                async with asyncio.timeout(2):
                    await channel.close()

    async def _connect(self) -> None:
        self._lost.clear()
        separator = "&" if "?" in self._url else "?"
        connection = await aio_pika.connect(f"{self._url}{separator}heartbeat={_HEARTBEAT_SECONDS}", timeout=5)
        self._connection = connection
        connection.close_callbacks.add(lambda *_: self._lost.set())
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        channel.close_callbacks.add(lambda *_: self._lost.set())
        self._topology = await declare(channel)

    async def _close(self) -> None:
        connection, self._connection, self._topology = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(*BROKER_LOST, asyncio.CancelledError):
                async with asyncio.timeout(2):
                    await connection.close()
