"""Whether the parts that the service leans on answer, asked in the background so that telling costs nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import aio_pika
import asyncpg
from aio_pika.abc import AbstractChannel, AbstractConnection
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from sentinel.v1 import status_pb2

from services.gateway.metrics import DEPENDENCY_UP
from services.kit.errors import Unavailable
from services.kit.lifecycle import heed_cancel
from services.kit.log import get_logger
from services.record.reader import Fleet, Reader

_CADENCE_SECONDS = 1.0
_PROBE_SECONDS = 1.0
OK = "ok"
_UNKNOWN = "not asked yet"


class Probe(Protocol):
    """Asks one dependency. Returns when it answers; raises otherwise. Called again and again."""

    async def __call__(self) -> None:
        """One question."""


class BrokerProbe:
    """Keeps one connection to RabbitMQ open and asks it something harmless."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None

    async def __call__(self) -> None:
        """Declares passively an exchange that every broker has; connects first where the connection is gone."""
        try:
            if self._channel is None or self._channel.is_closed:
                await self.aclose()
                self._connection = await aio_pika.connect(self._url, client_properties={"connection_name": "gateway"})
                self._channel = await self._connection.channel()
            await self._channel.get_exchange("amq.direct", ensure=True)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Closes what is open. Safe to repeat."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            try:
                async with asyncio.timeout(0.5):
                    await connection.close()
            except Exception:
                get_logger().debug("broker_connection_dropped")


class DatabaseProbe:
    """Asks PostgreSQL who can run programs; the answer shows that it lives."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.fleet: Fleet | None = None
        """Last answer; None while there is none."""

    async def __call__(self) -> None:
        """One query."""
        self.fleet = None
        self.fleet = await self._reader.fleet()


def redis_probe(redis: Redis) -> Probe:
    """Asks Redis for a pong."""

    async def ping() -> None:
        await redis.ping()

    return ping


class Health:
    """The last answer of every dependency."""

    def __init__(self, database: DatabaseProbe, broker: Probe, redis: Probe) -> None:
        self._database = database
        self._probes: dict[str, Callable[[], Awaitable[None]]] = {
            "postgres": database,
            "rabbitmq": broker,
            "redis": redis,
        }
        self._told = dict.fromkeys(self._probes, _UNKNOWN)

    async def run(self) -> None:
        """Asks until cancelled."""
        async with asyncio.TaskGroup() as probes:
            for name, probe in self._probes.items():
                probes.create_task(self._ask_forever(name, probe), name=f"probe {name}")

    def reason(self, name: str) -> str | None:
        """None while `name` answers, else why not."""
        told = self._told[name]
        return None if told == OK else told

    def answer(self) -> status_pb2.GetHealthResponse:
        """What GetHealth says. `executors` only where it is worth telling."""
        healthy = all(told == OK for told in self._told.values())
        response = status_pb2.GetHealthResponse(
            status="ok" if healthy else "degraded", services=status_pb2.ServiceHealth(**self._told)
        )
        fleet = self._database.fleet
        if fleet is not None and (not healthy or fleet.executors == 0):
            response.executors.connected = fleet.executors
            response.executors.slots = fleet.slots
        return response

    async def _ask_forever(self, name: str, probe: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            told = await _ask(probe)
            heed_cancel()
            if told != self._told[name]:
                get_logger().info("dependency", dependency=name, told=told)
            self._told[name] = told
            DEPENDENCY_UP.labels(name).set(told == OK)
            await asyncio.sleep(max(0.0, begun + _CADENCE_SECONDS - loop.time()))


async def _ask(probe: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            await probe()
    except TimeoutError:
        return f"no answer within {_PROBE_SECONDS:g} s"
    except asyncpg.UndefinedTableError:
        return "the schema is missing: run the migrations"
    except (Unavailable, OSError, RedisConnectionError):
        return "cannot be reached"
    except Exception as error:
        # The type only: texts of drivers hold addresses and user names.
        return f"does not work ({type(error).__name__})"
    return OK
