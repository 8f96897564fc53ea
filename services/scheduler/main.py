"""The scheduler process: `python -m services.scheduler.main`. The only file that knows every class."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import asyncpg
from grpc.aio import Server
from grpc_health.v1 import health_pb2
from sentinel.v1 import executor_pb2_grpc, scheduler_pb2_grpc

from services.kit.admin import serve_admin
from services.kit.grpc_server import serve_grpc
from services.kit.lifecycle import Drained, run_until_signal
from services.kit.log import configure_logging, get_logger
from services.kit.postgres import connect_hot, open_pool
from services.record.live import LiveReader, LiveWriter, Wakes, open_redis
from services.record.reader import LanguageCatalogue, Reader
from services.record.watch import Sources
from services.scheduler import metrics
from services.scheduler.broker import Broker
from services.scheduler.cancels import hear_cancels
from services.scheduler.desk import Desk, Terms
from services.scheduler.intake import Defaults, Intake
from services.scheduler.keeper import gauge_forever, maintain_forever, reap_forever
from services.scheduler.relay import Relay
from services.scheduler.servicers import ExecutorServicer, SchedulerServicer
from services.scheduler.settings import Settings
from services.scheduler.store import Store
from services.scheduler.uuid7 import UuidSource

CLIENT_SERVICE = "sentinel.v1.SchedulerService"
EXECUTOR_SERVICE = "sentinel.v1.ExecutorService"
SESSION_METHOD = f"/{EXECUTOR_SERVICE}/Session"


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Runs until `stop`, then drains: leaves Envoy's rotation, sends executors elsewhere, lets calls finish."""

    async def connect(name: str) -> asyncpg.Connection:
        return await connect_hot(settings.database_url, name)

    grace = settings.drain_grace.total_seconds()
    try:
        async with AsyncExitStack() as deps, asyncio.TaskGroup() as siblings:
            pool = await deps.enter_async_context(await open_pool(settings.database_url, "sentinel-scheduler"))
            redis = await deps.enter_async_context(open_redis(settings.redis_url))
            blocking = await deps.enter_async_context(open_redis(settings.redis_url, timeout=None))
            term = timedelta(milliseconds=settings.lease_term_ms)
            store = Store(connect, pool, lease_term=term)
            broker = Broker(settings.rabbitmq_url)
            relay = Relay(store, broker)
            wakes, reader = Wakes(blocking), Reader(pool)
            live = LiveWriter(redis, wakes)
            desk = Desk(
                scheduler_id=settings.scheduler_id,
                store=store,
                broker=broker,
                relay=relay,
                live=live,
                terms=Terms(
                    lease_term_seconds=term.total_seconds(),
                    heartbeat_seconds=settings.heartbeat_interval_ms / 1000,
                    credit_bytes=settings.initial_credit_bytes,
                ),
                draining=asyncio.Event(),
            )
            intake = Intake(
                store,
                relay,
                LanguageCatalogue(reader),
                UuidSource(),
                defaults=Defaults(
                    time_limit_ms=settings.default_time_limit_ms,
                    memory_limit_kb=settings.default_memory_limit_kb,
                    allow_network=settings.allow_network,
                ),
                max_unpublished=settings.max_unpublished,
            )
            sources = Sources(reader=reader, live=LiveReader(redis), wakes=wakes)

            def register_clients(server: Server) -> None:
                servicer = SchedulerServicer(intake, desk, sources)
                scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server(servicer, server)

            def register_executors(server: Server) -> None:
                executor_pb2_grpc.add_ExecutorServiceServicer_to_server(ExecutorServicer(desk), server)

            siblings.create_task(store.run(), name="store")
            siblings.create_task(broker.run(), name="broker")
            siblings.create_task(relay.run(), name="relay")
            siblings.create_task(live.run(), name="live writer")
            siblings.create_task(wakes.run(), name="wakes")
            siblings.create_task(hear_cancels(connect, desk.cancel), name="cancels")
            siblings.create_task(reap_forever(desk), name="reaper")
            siblings.create_task(gauge_forever(desk), name="gauges")
            siblings.create_task(
                maintain_forever(
                    store, ahead_days=settings.partitions_ahead_days, retention_days=settings.retention_days
                ),
                name="maintenance",
            )
            await deps.enter_async_context(
                serve_admin(
                    settings.admin_host,
                    settings.metrics_port,
                    lambda: "draining" if stop.is_set() else None if broker.up else "no channel to RabbitMQ",
                )
            )
            async with (
                serve_grpc(
                    settings.executor_address,
                    register_executors,
                    [EXECUTOR_SERVICE],
                    grace=grace,
                    bare=[SESSION_METHOD],
                ) as executor_health,
                serve_grpc(settings.grpc_address, register_clients, [CLIENT_SERVICE], grace=grace) as client_health,
            ):
                await executor_health.set(EXECUTOR_SERVICE, health_pb2.HealthCheckResponse.SERVING)
                await client_health.set(CLIENT_SERVICE, health_pb2.HealthCheckResponse.SERVING)
                get_logger().info("serving", clients=settings.grpc_address, executors=settings.executor_address)
                await stop.wait()
                get_logger().info("draining")
                await client_health.enter_graceful_shutdown()
                await executor_health.enter_graceful_shutdown()
                desk.draining.set()
                await asyncio.sleep(settings.health_notice.total_seconds())
                await _until_empty(desk, grace)
            raise Drained
    except* Drained:
        get_logger().info("drained")


async def _until_empty(desk: Desk, grace: float) -> None:
    """Executors go elsewhere by themselves; what they hold goes with them."""
    try:
        async with asyncio.timeout(grace):
            while desk.sessions:
                await asyncio.sleep(0.05)
    except TimeoutError:
        get_logger().warning("sessions_left", sessions=len(desk.sessions))


def main() -> None:
    """Reads the environment and runs."""
    settings = Settings()
    configure_logging("scheduler", settings.log_level)
    metrics.begin_at_zero()
    run_until_signal(lambda stop: serve(settings, stop))


if __name__ == "__main__":
    main()
