"""How the process starts, recovers and leaves."""

import asyncio
import signal

import grpc
import pytest
from grpc_health.v1 import health_pb2
from sentinel.v1 import status_pb2

from tests.integration.gateway.process import running_gateway
from tests.integration.gateway.scribe import Scribe
from tests.integration.gateway.servers import Postgres, RedisServer, free_port


async def test_it_starts_while_everything_is_down_and_says_so() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    async with running_gateway(f"postgresql://x@{nowhere}/x", f"redis://{nowhere}/0") as gateway:
        await gateway.until_ready("postgres: cannot be reached")
        health = await gateway.status.GetHealth(status_pb2.GetHealthRequest())
        assert health.status == "degraded"
        assert {health.services.postgres, health.services.rabbitmq, health.services.redis} == {"cannot be reached"}
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await gateway.status.ListSubmissions(status_pb2.ListSubmissionsRequest())
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        # Were it taken out of rotation, nobody could ask what is wrong.
        assert (await gateway.health()).status == health_pb2.HealthCheckResponse.SERVING


async def test_it_works_again_when_the_database_is_back(
    postgres: Postgres, redis_server: RedisServer, scribe: Scribe
) -> None:
    run = await scribe.accept()
    request = status_pb2.GetSubmissionRequest(job_id=str(run.job))
    async with running_gateway(postgres.dsn, redis_server.url) as gateway:
        await gateway.until_ready()
        postgres.stop()
        try:
            await gateway.until_ready("postgres: ")
        finally:
            await asyncio.to_thread(postgres.start)
        await gateway.until_ready()
        assert (await gateway.status.GetSubmission(request)).submission.job_id == str(run.job)


async def test_a_redis_that_hangs_makes_nobody_wait(
    postgres: Postgres, redis_server: RedisServer, scribe: Scribe
) -> None:
    run = await scribe.accept()
    request = status_pb2.GetSubmissionRequest(job_id=str(run.job))
    async with running_gateway(postgres.dsn, redis_server.url) as gateway:
        await gateway.until_ready()
        redis_server.pause()
        try:
            async with asyncio.timeout(3):
                while (await gateway.status.GetHealth(status_pb2.GetHealthRequest())).services.redis == "ok":
                    await asyncio.sleep(0.05)
                assert (await gateway.status.GetSubmission(request)).submission.job_id == str(run.job)
        finally:
            redis_server.resume()


async def test_on_sigterm_envoy_is_told_first_then_watchers_are_sent_elsewhere_and_it_ends(
    postgres: Postgres, redis_server: RedisServer, scribe: Scribe
) -> None:
    run = await scribe.accept()
    async with running_gateway(postgres.dsn, redis_server.url, HEALTH_NOTICE="2s") as gateway:
        await gateway.until_ready()
        watching = gateway.status.WatchSubmission(status_pb2.WatchSubmissionRequest(job_id=str(run.job)))
        await watching.read()
        url = f"{gateway.url}/api/v1/submissions/{run.job}"
        socket = await gateway.session.ws_connect(f"{url}/stream")
        await socket.receive_json()
        events = await gateway.session.get(f"{url}/events")
        await events.content.readuntil(b"\n\n")

        gateway.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            while (await gateway.health()).status != health_pb2.HealthCheckResponse.NOT_SERVING:
                await asyncio.sleep(0.01)
            assert await gateway.ready() == "draining"
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await watching.read()
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
            assert dict(ended.value.trailing_metadata() or ()).get("retry-after") == "1"
            await socket.receive()
            assert socket.close_code == 1012
            assert await events.content.read() == b""
            assert await gateway.process.wait() == 0
