"""Streams through the edge: none of Envoy's defaults that cut, freeze or count them is left in place."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from sentinel.v1 import event_pb2, scheduler_pb2, status_pb2

from services.kit.errors import Unavailable
from tests.edge.envoys import TestEdge, running_edge
from tests.edge.upstream import JOB, output

WATCH = status_pb2.WatchSubmissionRequest(job_id=JOB)


def manager(configuration: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = configuration["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    return dict(found)["typed_config"]  # type: ignore[no-any-return]


async def test_readers_who_stall_do_not_freeze_the_others(edge: TestEdge) -> None:
    """With Envoy's windows two of them fill the one connection to the gateway, and every call to it hangs."""

    async def flood(_request: Any, _context: Any) -> AsyncIterator[event_pb2.Event]:
        for sequence in range(1, 10**6):
            yield output(sequence, b"x" * 65536)

    edge.status.watch = flood
    # No local pool: each stalled reader is a client with a connection of its own.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.lookahead_bytes", 65536)]
    channels = [grpc.aio.insecure_channel(edge.target, options=options) for _ in range(20)]
    stalled = []
    for channel in channels:
        call = channel.unary_stream(
            "/sentinel.v1.StatusService/WatchSubmission",
            request_serializer=status_pb2.WatchSubmissionRequest.SerializeToString,
            response_deserializer=status_pb2.WatchSubmissionResponse.FromString,
        )(WATCH)
        await call.read()
        stalled.append(call)
    await asyncio.sleep(1)

    for _ in range(20):
        found = await edge.status_stub().GetSubmission(status_pb2.GetSubmissionRequest(job_id=JOB), timeout=2)
        assert found.submission.job_id == JOB

    for call in stalled:
        call.cancel()
    for channel in channels:
        await channel.close()


async def test_far_more_than_1024_streams_at_one_time(edge: TestEdge) -> None:
    """The breaker's default refuses the 1,025th with 503."""
    count = 1500
    channels = [
        grpc.aio.insecure_channel(edge.target, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(3)
    ]
    calls = []
    for n in range(count):
        call = channels[n % 3].stream_stream(
            "/sentinel.v1.SchedulerService/Interact",
            request_serializer=scheduler_pb2.InteractRequest.SerializeToString,
            response_deserializer=scheduler_pb2.InteractResponse.FromString,
        )()
        calls.append(call)

    async def greet(call: Any) -> None:
        await call.write(scheduler_pb2.InteractRequest(stdin=b"a"))
        assert (await call.read()).event.output.data == b"a"

    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(greet(call) for call in calls))
        assert edge.scheduler.interactions_open == count
    finally:
        for call in calls:
            call.cancel()
        for channel in channels:
            await channel.close()


async def test_an_error_after_the_first_event_reaches_a_grpc_watcher(edge: TestEdge) -> None:
    async def breaks(_request: Any, _context: Any) -> AsyncIterator[event_pb2.Event]:
        yield output(1, b"hello")
        raise Unavailable("the database went away")

    edge.status.watch = breaks
    call = edge.status_stub().WatchSubmission(WATCH)
    first: Any = await call.read()
    with pytest.raises(grpc.aio.AioRpcError) as broken:
        await call.read()

    assert first.event.sequence == 1
    assert broken.value.code() is grpc.StatusCode.UNAVAILABLE
    assert broken.value.details() == "the database went away"


async def test_an_error_before_the_first_event_is_not_sent_again_as_success(edge: TestEdge) -> None:
    async def fails(_request: Any, _context: Any) -> AsyncIterator[event_pb2.Event]:
        raise Unavailable("not today")
        yield

    edge.status.watch = fails
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await edge.status_stub().WatchSubmission(WATCH).read()

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_no_streaming_call_is_open_to_transcoding(edge: TestEdge) -> None:
    """There an error after the first message would look like a clean end. REST watches by SSE and WebSocket."""
    for path in ("/sentinel.v1.StatusService/WatchSubmission", "/sentinel.v1.SchedulerService/Run"):
        assert (await edge.post(path, {"job_id": JOB})).status == 404


async def test_events_arrive_one_by_one_and_the_stream_stays_open_between_them(edge: TestEdge) -> None:
    edge.http.release.clear()
    async with edge.session.get(f"{edge.url}/api/v1/submissions/{JOB}/events") as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        async with asyncio.timeout(2):
            assert await response.content.readline() == b"id: 1\n"
        edge.http.release.set()
        assert b"id: 2" in await response.content.read()


async def test_a_websocket_passes_where_it_belongs_and_nowhere_else(edge: TestEdge) -> None:
    async with edge.session.ws_connect(f"{edge.url}/api/v1/submissions/{JOB}/stream") as socket:
        await socket.send_str("ping")
        assert await socket.receive_str() == "ping"
    for path in (f"/api/v1/submissions/{JOB}", "/", "/nowhere", f"/api/v1/submissions/{JOB}/events"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await edge.session.ws_connect(edge.url + path)
        assert refused.value.status in {403, 404}, path
    assert (await edge.get("/api/v1/health")).status == 200


async def test_idle_streams_outlive_the_idle_timeout(tmp_path: Path) -> None:
    """Envoy's default is five minutes, shortened here to one second; pings do not count as activity there."""

    def impatient(configuration: dict[str, Any]) -> None:
        manager(configuration)["stream_idle_timeout"] = "1s"

    released = asyncio.Event()

    async def slow(_request: Any, _context: Any) -> AsyncIterator[event_pb2.Event]:
        yield output(1, b"a")
        await released.wait()
        yield output(2, b"b")

    async with running_edge(tmp_path, change=impatient) as edge:
        edge.status.watch = slow
        watch = edge.status_stub().WatchSubmission(WATCH)
        interact = edge.stub().Interact()
        await watch.read()
        await interact.write(scheduler_pb2.InteractRequest(stdin=b"a"))
        await interact.read()
        waiting_run = asyncio.create_task(
            edge.post("/api/v1/submissions:run", {"language": "python", "source_code": "x", "args": ["3"]})
        )
        async with (
            edge.session.ws_connect(f"{edge.url}/api/v1/submissions/{JOB}/stream") as socket,
            edge.session.get(f"{edge.url}/api/v1/submissions/{JOB}/events") as events,
        ):
            await asyncio.sleep(3)
            await socket.send_str("still there")
            assert await socket.receive_str() == "still there"
            released.set()
            edge.http.release.set()
            assert b"id: 2" in await events.content.read()
        second: Any = await watch.read()
        assert second.event.sequence == 2
        await interact.write(scheduler_pb2.InteractRequest(stdin=b"b"))
        reply: Any = await interact.read()
        assert reply.event.output.data == b"b"
        interact.cancel()
        assert (await waiting_run).status == 200


async def test_a_watch_and_a_run_outlive_the_route_timeout(tmp_path: Path) -> None:
    """Envoy's default cuts every server stream after 15 seconds; ours are one second here and hold for unary calls."""

    async def slow(_request: Any, _context: Any) -> AsyncIterator[event_pb2.Event]:
        yield output(1, b"a")
        await asyncio.sleep(2)
        yield output(2, b"b")

    async def late(_request: Any, _context: Any) -> Any:
        await asyncio.sleep(2)

    async with running_edge(tmp_path, write_timeout="1s") as edge:
        edge.status.watch = slow
        edge.scheduler.submit = late
        watched = [response.event.sequence async for response in edge.status_stub().WatchSubmission(WATCH)]
        body = {"language": "python", "source_code": "x"}
        run = await edge.post("/api/v1/submissions:run", {**body, "args": ["2"]})
        submit = await edge.post("/api/v1/submissions", body)

        assert watched == [1, 2]
        assert run.status == 200
        assert (submit.status, submit.json["code"]) == (504, "DEADLINE_EXCEEDED")


async def test_a_watcher_who_leaves_ends_the_watch(edge: TestEdge) -> None:
    ended = asyncio.Event()

    async def endless(_request: Any, _context: Any) -> AsyncIterator[event_pb2.Event]:
        try:
            sequence = 0
            while True:
                sequence += 1
                yield output(sequence, b"x")
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    edge.status.watch = endless
    call = edge.status_stub().WatchSubmission(WATCH)
    await call.read()
    call.cancel()

    async with asyncio.timeout(3):
        await ended.wait()
