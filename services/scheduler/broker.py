"""The connection to RabbitMQ: one publisher channel, one consumer channel per executor session, re-made when lost.

Speaks through aiormq, the layer under aio-pika: every submission passes here three times, and aio-pika's objects per
message cost more than the wire does.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from aiormq.exceptions import AMQPError, ChannelInvalidStateError, DeliveryError
from pamqp.commands import Basic

from services.kit.backoff import full_jitter
from services.kit.log import get_logger
from services.scheduler import metrics
from services.scheduler.model import Posting
from services.scheduler.topology import DEAD_LETTER_EXCHANGE, DIRECT_EXCHANGE, EXECUTE_KEY, EXECUTION_QUEUE, declare

_LOST = (AMQPError, ChannelInvalidStateError, DeliveryError, OSError, TimeoutError, RuntimeError)
"""What aiormq raises when the broker went away, refuses, or does not answer. RuntimeError: a closed channel."""

_HEARTBEAT_SECONDS = 5
_CONFIRM_SECONDS = 10.0
_PERSISTENT = 2


class BrokerDown(Exception):
    """The broker cannot take or give anything at present."""


class Delivery:
    """One message in our hands. Exactly one of its methods is called once; a lost channel does the same by itself.

    None of them fails: what the broker does not hear it gives out again, and the row tells what to do then.
    """

    def __init__(self, message: DeliveredMessage) -> None:
        self._message = message

    @property
    def job(self) -> UUID | None:
        """The submission it speaks of; None where it is not one of our messages."""
        try:
            return UUID(bytes=self._message.body)
        except ValueError:
            return None

    @property
    def redelivered(self) -> bool:
        """Whether somebody had it before."""
        return bool(self._message.redelivered)

    async def settle(self) -> None:
        """Done with; it does not come again."""
        with contextlib.suppress(*_LOST):
            await self._message.channel.basic_ack(self._tag, wait=False)

    async def give_back(self) -> None:
        """Not now: somebody else may have it. Not counted as a failed delivery by RabbitMQ 4.3."""
        with contextlib.suppress(*_LOST):
            await self._message.channel.basic_nack(self._tag, requeue=True)

    async def refuse(self) -> None:
        """Never: to the dead letters."""
        with contextlib.suppress(*_LOST):
            await self._message.channel.basic_reject(self._tag, requeue=False)

    @property
    def _tag(self) -> int:
        return self._message.delivery_tag or 0


class Broker:
    """Keeps a connection while `run` runs. Everything else raises BrokerDown while there is none."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AbstractConnection | None = None
        self._publisher: AbstractChannel | None = None
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
            except _LOST as error:
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
        channel = self._publisher
        if channel is None or not self.up:
            raise BrokerDown("no channel")
        dead = posting.kind == "dead_letter"
        properties = Basic.Properties(
            delivery_mode=_PERSISTENT,
            message_id=str(posting.submission),
            headers={"traceparent": posting.traceparent, "reason": posting.reason},
        )
        try:
            await channel.basic_publish(
                posting.submission.bytes,
                exchange=DEAD_LETTER_EXCHANGE if dead else DIRECT_EXCHANGE,
                routing_key="" if dead else EXECUTE_KEY,
                properties=properties,
                mandatory=True,
                timeout=_CONFIRM_SECONDS,
            )
        except _LOST as error:
            raise BrokerDown(repr(error)) from error
        metrics.PUBLISHED.labels(posting.kind).inc()

    async def waiting(self) -> int:
        """Messages ready in the execution queue. Raises BrokerDown."""
        async with self._channel() as channel:
            declared = await channel.queue_declare(EXECUTION_QUEUE, passive=True, timeout=5)
        return (declared.message_count if declared else 0) or 0

    @contextlib.asynccontextmanager
    async def consume(
        self, prefetch: int, on_delivery: Callable[[Delivery], Awaitable[None]]
    ) -> AsyncIterator[asyncio.Event]:
        """Hands out at most `prefetch` unsettled messages. Yields an event that is set when the channel is lost.

        Leaving the block closes the channel: the broker gives unsettled messages to somebody else at once.
        Raises BrokerDown.
        """

        async def on_message(message: DeliveredMessage) -> None:
            await on_delivery(Delivery(message))

        lost = asyncio.Event()
        async with self._channel() as channel:
            channel.closing.add_done_callback(lambda _: lost.set())
            await channel.basic_qos(prefetch_count=prefetch)
            await channel.basic_consume(EXECUTION_QUEUE, on_message)
            yield lost

    @contextlib.asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        """A channel without confirms, closed at the end. Whatever the broker does in between is BrokerDown."""
        if self._connection is None or not self.up:
            raise BrokerDown("no channel")
        channel: AbstractChannel | None = None
        try:
            channel = await self._connection.channel(publisher_confirms=False)
            yield channel
        except _LOST as error:
            raise BrokerDown(repr(error)) from error
        finally:
            if channel is not None:
                await _closed(channel)

    async def _connect(self) -> None:
        self._lost.clear()
        separator = "&" if "?" in self._url else "?"
        async with asyncio.timeout(5):
            self._connection = await aiormq.connect(f"{self._url}{separator}heartbeat={_HEARTBEAT_SECONDS}")
            self._connection.closing.add_done_callback(lambda _: self._lost.set())
            self._publisher = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            self._publisher.closing.add_done_callback(lambda _: self._lost.set())
            await declare(self._publisher)

    async def _close(self) -> None:
        connection, self._connection, self._publisher = self._connection, None, None
        if connection is not None:
            await _closed(connection)


async def _closed(what: AbstractChannel | AbstractConnection) -> None:
    with contextlib.suppress(*_LOST, asyncio.CancelledError):
        async with asyncio.timeout(2):
            await what.close()
