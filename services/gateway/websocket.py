"""WebSocket: `GET /api/v1/submissions/{job_id}/stream`. Text frames of JSON, both ways; see `frames`.

A viewer pulls: its next event is read from the record when the one before has left. So a slow one holds no more
than one page of events and one write buffer, and delays nobody else. One that stands still is told where to resume
and sent away.
"""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta
from enum import IntEnum
from urllib.parse import urlsplit
from uuid import UUID

import grpc
from aiohttp import WSMsgType, web

from services.gateway import frames, render
from services.gateway.schedulers import Schedulers
from services.gateway.viewer import Timeouts, TooSlow, Viewing, admit, following, patience, read_request
from services.kit.errors import Forbidden, InvalidField, SentinelError, Unavailable, Unimplemented
from services.record.watch import Sources

_MOST_FRAME_BYTES = 128 * 1024
"""64 KiB of standard input as base64, with room around it."""
_PING_SECONDS = 30.0
_SILENCE_SECONDS = 3 * _PING_SECONDS
"""A viewer from whom nothing, not even a pong, was heard for so long is gone."""
_CLOSE_SECONDS = 2.0


class Close(IntEnum):
    """Why we close."""

    DONE = 1000
    INTERNAL = 1011
    RESTART = 1012
    """This gateway leaves: dial again."""
    TRY_AGAIN = 1013
    """Too slow, or a dependency is down: dial again, after the sequence that the reason names."""


class StreamHandler:
    """Serves viewers over WebSocket."""

    def __init__(
        self, sources: Sources, schedulers: Schedulers, timeouts: Timeouts, *, origins: tuple[str, ...]
    ) -> None:
        self._sources = sources
        self._schedulers = schedulers
        self._timeouts = timeouts
        self._origins = origins

    async def __call__(self, request: web.Request) -> web.WebSocketResponse:
        """Upgrades, shows, closes. Before the upgrade raises InvalidField, UnknownJob, Forbidden, Unavailable."""
        viewing = read_request(request)
        self._check_origin(request)
        socket = web.WebSocketResponse(
            autoping=False, compress=False, max_msg_size=_MOST_FRAME_BYTES, timeout=_CLOSE_SECONDS
        )
        if not socket.can_prepare(request).ok:
            raise InvalidField("this address speaks WebSocket: send an upgrade, or read .../events instead")
        await admit(viewing, self._sources, self._timeouts.read)
        await socket.prepare(request)
        await _Viewer(socket, viewing, self._sources, self._schedulers, self._timeouts.write).serve()
        return socket

    def _check_origin(self, request: web.Request) -> None:
        # Browsers do not apply CORS to WebSockets, so nobody but us stops a foreign page from opening one.
        origin = request.headers.get("Origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return
        if urlsplit(origin).netloc.lower() != request.host.lower():
            raise Forbidden("pages of this origin may not watch here: see CORS_ORIGINS", reason="FOREIGN_ORIGIN")


class _Viewer:
    """One open socket."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        viewing: Viewing,
        sources: Sources,
        schedulers: Schedulers,
        write_timeout: timedelta,
    ) -> None:
        self._socket = socket
        self._viewing = viewing
        self._sources = sources
        self._schedulers = schedulers
        self._write_timeout = write_timeout
        self._sequence = viewing.after
        self._heard_at = time.monotonic()

    async def serve(self) -> None:
        """Shows until the result is out or one side leaves; then closes with the reason."""
        parts = [
            asyncio.create_task(self._show(), name="show"),
            asyncio.create_task(self._listen(), name="listen"),
            asyncio.create_task(self._ping(), name="ping"),
        ]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            ends = await asyncio.gather(*parts, return_exceptions=True)
        await self._close(next((e for e in ends if isinstance(e, Exception)), None))

    async def _show(self) -> None:
        async with following(self._viewing, self._sources, "websocket") as events:
            async for event in events:
                await self._send(frames.of_event(event))
                self._sequence = event.sequence

    async def _listen(self) -> None:
        async for message in self._socket:
            self._heard_at = time.monotonic()
            if message.type is WSMsgType.PING:
                async with patience(self._write_timeout):
                    await self._socket.pong(message.data)
            elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                await self._take(message.data)

    async def _take(self, data: str | bytes) -> None:
        try:
            if isinstance(data, bytes):
                raise InvalidField("frame: must be text")
            action = frames.parse(data)
            if action is not frames.Action.CANCEL:
                raise Unimplemented(f"{action}: this version does not take it yet")
            await _cancel(self._schedulers, self._viewing.job)
        except SentinelError as error:
            await self._send(frames.of_error(error))

    async def _ping(self) -> None:
        while time.monotonic() - self._heard_at < _SILENCE_SECONDS:
            await asyncio.sleep(_PING_SECONDS)
            async with patience(self._write_timeout):
                await self._socket.ping()
        raise ConnectionAbortedError("nothing heard")

    async def _send(self, frame: frames.Frame) -> None:
        async with patience(self._write_timeout):
            await self._socket.send_str(render.dumps(frame))

    async def _close(self, error: Exception | None) -> None:
        """Says why, as far as the viewer still listens. Takes no longer than _CLOSE_SECONDS."""
        code, reason = _farewell(error, self._sequence)
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                if isinstance(error, SentinelError) and code is not Close.RESTART:
                    await self._socket.send_str(render.dumps(frames.of_error(error)))
                await self._socket.close(code=code, message=reason.encode())
        if error is not None and not isinstance(error, SentinelError | TooSlow | ConnectionError):
            raise error


def _farewell(error: Exception | None, sequence: int) -> tuple[Close, str]:
    match error:
        case None:
            return Close.DONE, ""
        case TooSlow():
            return Close.TRY_AGAIN, f"too slow; resume with ?after={sequence}"
        case Unavailable(reason="DRAINING"):
            return Close.RESTART, f"going away; resume with ?after={sequence}"
        case ConnectionError():
            return Close.TRY_AGAIN, f"not heard for too long; resume with ?after={sequence}"
        case SentinelError():
            return Close.TRY_AGAIN, f"{error.text[:60]}; resume with ?after={sequence}"
        case _:
            return Close.INTERNAL, "internal error"


async def _cancel(schedulers: Schedulers, job: UUID) -> None:
    try:
        await schedulers.cancel(str(job))
    except grpc.aio.AioRpcError as error:
        raise SentinelError(error.details() or "the scheduler refused") from error
