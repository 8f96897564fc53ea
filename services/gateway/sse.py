"""Server-sent events: `GET /api/v1/submissions/{job_id}/events`. `id` is the sequence, `event` the frame's type."""

import asyncio

from aiohttp import web

from services.gateway import frames, render
from services.gateway.viewer import Timeouts, TooSlow, Viewing, admit, following, patience, read_request
from services.kit.errors import SentinelError
from services.kit.log import get_logger
from services.record.model import RESULT_NUMBER, SEQUENCE_BASE
from services.record.watch import Sources

_HEARTBEAT_SECONDS = 15.0
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


class EventsHandler:
    """Serves viewers over SSE."""

    def __init__(self, sources: Sources, timeouts: Timeouts) -> None:
        self._sources = sources
        self._timeouts = timeouts

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Shows until the result is out; where it was seen already, 204, which tells browsers not to ask again.

        Raises InvalidField, UnknownJob and Unavailable before the first byte; afterwards the stream just ends, and
        the reader resumes.
        """
        last_seen = request.headers.get("Last-Event-ID")
        viewing = read_request(request, after=last_seen)
        state = await admit(viewing, self._sources, self._timeouts.read)
        if last_seen and state.terminal and viewing.after % SEQUENCE_BASE == RESULT_NUMBER:
            return web.Response(status=204)
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        await self._show(viewing, response)
        return response

    async def _show(self, viewing: Viewing, response: web.StreamResponse) -> None:
        try:
            async with asyncio.TaskGroup() as parts:
                heartbeat = parts.create_task(self._beat(response), name="heartbeat")
                async with following(viewing, self._sources, "sse") as events:
                    async for event in events:
                        await self._write(response, encode(frames.of_event(event)))
                heartbeat.cancel()
        except* (SentinelError, TooSlow, ConnectionError) as ended:
            get_logger().debug("viewer_left", submission=str(viewing.job), reason=repr(ended.exceptions))

    async def _beat(self, response: web.StreamResponse) -> None:
        """Keeps proxies from taking silence for death."""
        while True:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            await self._write(response, b":\n\n")

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        async with patience(self._timeouts.write):
            await response.write(data)


def encode(frame: frames.Frame) -> bytes:
    """One event. JSON text holds no line breaks, so one `data` line is enough."""
    return f"id: {frame['sequence']}\nevent: {frame['type']}\ndata: {render.dumps(frame)}\n\n".encode()
