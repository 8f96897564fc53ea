"""WebSocket and SSE as a process serves them."""

import asyncio
import base64
import json
from typing import Any

import aiohttp
import pytest
from sentinel.v1 import submission_pb2

from services.record.model import RESULT_NUMBER, SEQUENCE_BASE
from tests.integration.gateway.process import Gateway
from tests.integration.gateway.scribe import STDERR, STDOUT, Run, Scribe, new_id

CHUNKS = ["früh ".encode(), b"\xff\x00", "日本".encode()]


async def run_through(run: Run) -> None:
    await run.claim()
    await run.status(submission_pb2.RUNNING)
    for chunk in CHUNKS:
        run.output(STDOUT, chunk)
    await run.finish()


def stream(gateway: Gateway, job: Any, **options: Any) -> Any:
    return gateway.session.ws_connect(f"{gateway.url}/api/v1/submissions/{job}/stream", **options)


async def frames_of(socket: aiohttp.ClientWebSocketResponse) -> list[dict[str, Any]]:
    return [json.loads(message.data) async for message in socket]


def bytes_of(frames: list[dict[str, Any]], name: str) -> bytes:
    data = b""
    for frame in frames:
        if frame["type"] == "output" and frame["stream"] == name:
            assert frame["offset"] == len(data)
            data += frame["text"].encode() if "text" in frame else base64.b64decode(frame["base64"])
    return data


def events_of(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


async def test_a_viewer_sees_a_run_from_first_word_to_result_and_a_clean_close(
    gateway: Gateway, scribe: Scribe
) -> None:
    run = await scribe.accept()
    async with stream(gateway, run.job) as socket:
        first = await socket.receive_json()
        assert (first["type"], first["status"], first["sequence"]) == ("status", "QUEUED", 0)
        await run_through(run)
        async with asyncio.timeout(5):
            frames = await frames_of(socket)
        assert socket.close_code == 1000
    assert frames[0] == {"type": "status", "sequence": SEQUENCE_BASE + 1, "attempt": 1, "status": "RUNNING"}
    assert bytes_of(frames, "stdout") == b"".join(CHUNKS)
    assert frames[-1]["type"] == "result"
    assert frames[-1]["submission"]["status"] == "SUCCESS"


async def test_resuming_over_websocket_tells_exactly_the_rest(gateway: Gateway, scribe: Scribe) -> None:
    run = await scribe.accept()
    await run_through(run)
    for event in run.events:
        async with stream(gateway, run.job, params={"after": str(event.sequence)}) as socket:
            frames = await frames_of(socket)
        rest = [frame["sequence"] for frame in frames if frame["type"] == "output"]
        assert rest == [e.sequence for e in run.events if e.HasField("output") and e.sequence > event.sequence]


async def test_cancel_reaches_a_scheduler_past_one_that_is_away(gateway: Gateway, scribe: Scribe) -> None:
    run = await scribe.accept()
    async with stream(gateway, run.job) as socket:
        for _ in range(2):
            await socket.send_json({"type": "cancel"})
            async with asyncio.timeout(8):
                assert await gateway.scheduler.cancelled.get() == str(run.job)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("nonsense", "INVALID_ARGUMENT"),
        ('{"type":"shout"}', "INVALID_ARGUMENT"),
        (b'{"type":"cancel"}', "INVALID_ARGUMENT"),
        ('{"type":"stdin","text":"a"}', "UNIMPLEMENTED"),
        ('{"type":"signal","signal":"SIGINT"}', "UNIMPLEMENTED"),
    ],
)
async def test_a_frame_that_cannot_be_taken_is_answered_and_the_stream_goes_on(
    gateway: Gateway, scribe: Scribe, sent: str | bytes, code: str
) -> None:
    run = await scribe.accept()
    async with stream(gateway, run.job) as socket:
        await socket.receive_json()
        await (socket.send_str(sent) if isinstance(sent, str) else socket.send_bytes(sent))
        answer = await socket.receive_json()
        assert (answer["type"], answer["code"]) == ("error", code)
        await run_through(run)
        async with asyncio.timeout(5):
            assert (await frames_of(socket))[-1]["type"] == "result"


async def test_a_frame_that_is_too_large_ends_only_its_own_stream(gateway: Gateway, scribe: Scribe) -> None:
    run = await scribe.accept()
    async with stream(gateway, run.job) as large, stream(gateway, run.job) as other:
        await large.send_str("x" * 200_000)
        await frames_of(large)
        assert large.close_code == 1009
        await run_through(run)
        async with asyncio.timeout(5):
            assert (await frames_of(other))[-1]["type"] == "result"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("{unknown}/stream", 404, "NOT_FOUND"),
        ("not-a-uuid/stream", 400, "INVALID_ARGUMENT"),
        ("{known}/stream?after=-1", 400, "INVALID_ARGUMENT"),
        ("{known}/stream?after=99999999999", 400, "INVALID_ARGUMENT"),
    ],
)
async def test_a_viewer_is_refused_before_the_upgrade(
    gateway: Gateway, scribe: Scribe, path: str, status: int, code: str
) -> None:
    known = (await scribe.accept()).job
    url = f"{gateway.url}/api/v1/submissions/{path.format(unknown=new_id(), known=known)}"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await gateway.session.ws_connect(url)
    assert refused.value.status == status
    for plain in (url, url.replace("/stream", "/events")):
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        headers["Sec-WebSocket-Key"] = "MDEyMzQ1Njc4OWFiY2RlZg=="
        async with gateway.session.get(plain, headers=headers) as response:
            assert (response.status, (await response.json())["code"]) == (status, code)


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        (None, True),
        ("https://friend.example", True),
        ("own", True),
        ("https://foe.example", False),
        ("https://friend.example.foe.example", False),
        ("null", False),
    ],
)
async def test_only_our_own_pages_and_listed_origins_may_open_a_websocket(
    gateway: Gateway, scribe: Scribe, origin: str | None, *, welcome: bool
) -> None:
    run = await scribe.accept()
    headers = {"Origin": gateway.url if origin == "own" else origin} if origin else {}
    try:
        async with stream(gateway, run.job, headers=headers) as socket:
            await socket.receive_json()
        answer = 101
    except aiohttp.WSServerHandshakeError as refused:
        answer = refused.status
    assert answer == (101 if welcome else 403)


async def test_a_viewer_that_stands_still_is_sent_away_and_delays_nobody(gateway: Gateway, scribe: Scribe) -> None:
    run = await scribe.accept()
    await run.claim()
    await run.status(submission_pb2.RUNNING)
    for _ in range(400):
        run.output(STDOUT, b"x" * 65536)
    await run.finish()
    # A bare socket that never reads: the server's write buffers fill.
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.http_port, limit=1024)
    writer.write(
        f"GET /api/v1/submissions/{run.job}/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    quick = await scribe.accept()
    async with asyncio.timeout(2), stream(gateway, quick.job) as socket:
        await socket.receive_json()
    async with asyncio.timeout(10):
        while 'sentinel_stream_subscribers{transport="websocket"} 0.0' not in await gateway.metrics():
            await asyncio.sleep(0.1)
    writer.close()


async def test_sse_tells_the_same_frames_with_their_sequences_and_ends(gateway: Gateway, scribe: Scribe) -> None:
    run = await scribe.accept()
    await run_through(run)
    async with stream(gateway, run.job) as socket:
        frames = await frames_of(socket)
    async with gateway.session.get(f"{gateway.url}/api/v1/submissions/{run.job}/events") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        events = events_of(await response.text())
    assert [json.loads(event["data"]) for event in events] == frames
    assert [int(event["id"]) for event in events] == [frame["sequence"] for frame in frames]
    assert [event["event"] for event in events] == [frame["type"] for frame in frames]


async def test_a_browser_that_reconnects_gets_exactly_the_rest(gateway: Gateway, scribe: Scribe) -> None:
    run = await scribe.accept()
    await run_through(run)
    seen = run.events[1].sequence
    url = f"{gateway.url}/api/v1/submissions/{run.job}/events"
    async with gateway.session.get(url, headers={"Last-Event-ID": str(seen)}) as response:
        events = events_of(await response.text())
    outputs = [int(event["id"]) for event in events if event["event"] == "output"]
    assert outputs == [e.sequence for e in run.events if e.sequence > seen]


async def test_a_browser_that_has_the_result_is_told_not_to_ask_again(gateway: Gateway, scribe: Scribe) -> None:
    run = await scribe.accept()
    await run_through(run)
    url = f"{gateway.url}/api/v1/submissions/{run.job}/events"
    last = {"Last-Event-ID": str(SEQUENCE_BASE + RESULT_NUMBER)}
    async with gateway.session.get(url, headers=last) as response:
        assert response.status == 204


async def test_a_viewer_that_leaves_is_forgotten_at_once(gateway: Gateway, scribe: Scribe) -> None:
    run = await scribe.accept()
    run.kept[STDERR] = b""
    url = f"{gateway.url}/api/v1/submissions/{run.job}/events"
    async with gateway.session.get(url) as response:
        await response.content.readany()
        assert 'sentinel_stream_subscribers{transport="sse"} 1.0' in await gateway.metrics()
        response.close()
    async with asyncio.timeout(3):
        while 'sentinel_stream_subscribers{transport="sse"} 0.0' not in await gateway.metrics():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("POST", "/docs", 405)])
async def test_every_error_has_the_same_body(gateway: Gateway, method: str, path: str, status: int) -> None:
    async with gateway.session.request(method, gateway.url + path) as response:
        assert response.status == status
        assert set(await response.json()) == {"error", "code", "details"}


@pytest.mark.parametrize("path", ["/", "/docs", "/api/v1/openapi.json", "/readyz"])
async def test_pages_answer(gateway: Gateway, path: str) -> None:
    async with gateway.session.get(gateway.url + path) as response:
        assert response.status == 200
