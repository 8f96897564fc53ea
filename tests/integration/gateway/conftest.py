"""Real PostgreSQL and Redis of our own for the read side; see `scribe` for who plays the scheduler."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from services.kit.postgres import open_pool
from services.record.live import LiveReader, LiveWriter, Wakes, open_redis
from services.record.reader import Reader
from services.record.watch import Sources
from services.scheduler import migrate
from tests.integration.gateway.process import Gateway, running_gateway
from tests.integration.gateway.scribe import Scribe
from tests.integration.gateway.servers import Postgres, RedisServer


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    # Not pytest's own temporary folder: the postgres user cannot get there.
    made = Path(tempfile.mkdtemp(prefix="sentinel-gateway-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
async def postgres(folder: Path) -> AsyncIterator[Postgres]:
    home = folder / "postgres"
    home.mkdir()
    server = Postgres(home)
    server.start()
    try:
        connection = await asyncpg.connect(server.dsn)
        await migrate.up(connection, migrate.load())
        await connection.close()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_server(folder: Path) -> Iterator[RedisServer]:
    home = folder / "redis"
    home.mkdir()
    server = RedisServer(home)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def pool(postgres: Postgres) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(postgres.dsn, "tests")
    yield pool
    await pool.close()


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    client = open_redis(redis_server.url)
    yield client
    await client.aclose()


@pytest.fixture
async def wakes(redis_server: RedisServer) -> AsyncIterator[Wakes]:
    client = open_redis(redis_server.url, timeout=None)
    wakes = Wakes(client)
    running = asyncio.create_task(wakes.run())
    yield wakes
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await client.aclose()


@pytest.fixture
def sources(pool: asyncpg.Pool, redis: Redis, wakes: Wakes) -> Sources:
    return Sources(reader=Reader(pool), live=LiveReader(redis), wakes=wakes)


@pytest.fixture
async def scribe(pool: asyncpg.Pool, redis: Redis) -> AsyncIterator[Scribe]:
    live = LiveWriter(redis)
    running = asyncio.create_task(live.run())
    yield Scribe(pool, live)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


@pytest.fixture(scope="session")
async def gateway(postgres: Postgres, redis_server: RedisServer) -> AsyncIterator[Gateway]:
    async with running_gateway(
        postgres.dsn, redis_server.url, CORS_ORIGINS="https://friend.example", WRITE_TIMEOUT="1s"
    ) as running:
        await running.until_ready()
        yield running
