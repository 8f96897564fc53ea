"""Composition root of the gateway: what it is made of, in which order it starts, and how it leaves.

Starts while PostgreSQL, RabbitMQ and Redis are down, says so, and works when they are back.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass

import grpc
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from ratelimit.v3 import rls_pb2_grpc
from sentinel.v1 import status_pb2_grpc

from services.gateway import metrics, openapi, pages, rls, status
from services.gateway.health import BrokerProbe, DatabaseProbe, Health, redis_probe
from services.gateway.http import make_app, serve_http
from services.gateway.ratelimit import Limiter
from services.gateway.schedulers import Schedulers, open_schedulers
from services.gateway.settings import Settings
from services.gateway.sse import EventsHandler
from services.gateway.viewer import Timeouts
from services.gateway.websocket import StreamHandler
from services.kit.admin import serve_admin
from services.kit.grpc_server import serve_grpc
from services.kit.lifecycle import Drained, run_until_signal
from services.kit.log import configure_logging, get_logger
from services.kit.postgres import open_pool
from services.record.live import LiveReader, Wakes, open_redis
from services.record.reader import LanguageCatalogue, Reader
from services.record.watch import Sources

_LIMITER_SECONDS = 0.15
"""Below the 0.2 s that Envoy waits for a decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What the servers stand on."""

    sources: Sources
    languages: LanguageCatalogue
    health: Health
    limiter: Limiter
    schedulers: Schedulers


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[_Parts]:
    """Opens every dependency lazily; closes them in reverse order."""
    async with AsyncExitStack() as opened:
        pool = await open_pool(settings.database_url, "sentinel-gateway", most=6)
        # Nothing is written here, so there is nothing to wait for.
        opened.callback(pool.terminate)
        # Of its own, so that a pool that is busy is not taken for a database that is down.
        probe_pool = await open_pool(settings.database_url, "sentinel-gateway probe", most=1)
        opened.callback(probe_pool.terminate)
        commands = await opened.enter_async_context(open_redis(settings.redis_url))
        blocking = await opened.enter_async_context(open_redis(settings.redis_url, timeout=None))
        counting = await opened.enter_async_context(open_redis(settings.redis_url, timeout=_LIMITER_SECONDS))
        broker = await opened.enter_async_context(aclosing(BrokerProbe(settings.rabbitmq_url)))
        reader = Reader(pool)
        yield _Parts(
            sources=Sources(reader=reader, live=LiveReader(commands), wakes=Wakes(blocking)),
            languages=LanguageCatalogue(reader),
            health=Health(DatabaseProbe(Reader(probe_pool)), broker, redis_probe(commands)),
            limiter=Limiter(counting, settings.rate_limit),
            schedulers=await opened.enter_async_context(open_schedulers(settings.scheduler_address)),
        )


@asynccontextmanager
async def _serve(settings: Settings, parts: _Parts, stop: asyncio.Event) -> AsyncIterator[HealthServicer]:
    """Listens for Envoy and for Prometheus until the block ends. From `stop` on, says that it leaves."""
    sources = parts.sources

    def register(server: grpc.aio.Server) -> None:
        service = status.StatusService(sources, parts.languages, parts.health)
        status_pb2_grpc.add_StatusServiceServicer_to_server(service, server)
        rls_pb2_grpc.add_RateLimitServiceServicer_to_server(rls.RateLimitService(parts.limiter), server)

    def ready() -> str | None:
        if stop.is_set():
            return "draining"
        reason = parts.health.reason("postgres")
        return f"postgres: {reason}" if reason else None

    document = openapi.document()
    timeouts = Timeouts(read=settings.read_timeout, write=settings.write_timeout)
    app = make_app(
        StreamHandler(sources, parts.schedulers, timeouts, origins=settings.cors_origins),
        EventsHandler(sources, timeouts),
        json.dumps(document, ensure_ascii=False).encode(),
        {"/": pages.landing(), "/docs": pages.docs(document)},
        draining=stop.is_set,
    )
    async with AsyncExitStack() as servers:
        await servers.enter_async_context(serve_admin(settings.admin_host, settings.metrics_port, ready))
        await servers.enter_async_context(serve_http(app, settings.http_address))
        yield await servers.enter_async_context(
            serve_grpc(
                settings.grpc_address,
                register,
                # For reflection: the edge sends it here, and clients ask it for all that they may call.
                [status.SERVICE, "sentinel.v1.SchedulerService"],
                grace=settings.drain_grace.total_seconds(),
            )
        )


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serves until `stop`; then tells Envoy, tells the watchers, and leaves."""
    metrics.begin(settings.revision)
    async with _open(settings) as parts:
        try:
            async with asyncio.TaskGroup() as siblings:
                siblings.create_task(parts.sources.wakes.run(), name="wakes")
                siblings.create_task(parts.health.run(), name="health")
                async with _serve(settings, parts, stop) as health:
                    await health.set("", HealthCheckResponse.SERVING)
                    await health.set(status.SERVICE, HealthCheckResponse.SERVING)
                    get_logger().info("serving", grpc=settings.grpc_address, http=settings.http_address)
                    await stop.wait()
                    await _drain(settings, parts, health)
                raise Drained
        except* Drained:
            get_logger().info("stopped")


async def _drain(settings: Settings, parts: _Parts, health: HealthServicer) -> None:
    get_logger().info("draining", watchers=len(parts.sources.wakes))
    await health.enter_graceful_shutdown()
    # First Envoy, then the watchers: they come back at once, and must not come back here.
    await asyncio.sleep(settings.health_notice.total_seconds())
    parts.sources.wakes.drain()


def main() -> None:
    """The process."""
    settings = Settings()
    configure_logging("gateway", settings.log_level)
    run_until_signal(lambda stop: serve(settings, stop))


if __name__ == "__main__":
    main()
