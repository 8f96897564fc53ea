"""The executor's end of the socket to a jail's init. The messages are described in init.c."""

import array
import contextlib
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from services.executor.sandbox.descriptors import wait_writable
from services.executor.sandbox.protocol import SandboxError

_HEAD = struct.Struct("=IBBH")
_ANSWER = struct.Struct("=BBHiQQQ")
_LIMIT = struct.Struct("=IIQQ")
_CREDENTIALS = struct.Struct("3i")
PIECE = 256 << 10
"""Files go in pieces of this size, so that init needs a bounded buffer."""


class ChannelClosed(Exception):
    """Init is gone."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What init said."""

    kind: Literal["Y", "D", "E"]
    where: str
    value: int
    user_us: int
    system_us: int
    max_rss_kb: int


@dataclass(frozen=True, slots=True)
class ResourceLimit:
    """One rlimit, soft and hard."""

    resource: int
    value: int


class InitChannel:
    """A non-blocking stream of messages. Owns its socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._socket = sock
        self._partial = b""

    @classmethod
    def pair(cls) -> tuple["InitChannel", socket.socket]:
        """A channel, and the socket to pass to init. The kernel will tell us who speaks."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        return cls(ours), theirs

    def fileno(self) -> int:
        """For add_reader."""
        return self._socket.fileno()

    def receive_ready(self) -> int:
        """The first answer: init's pid as we see it, vouched for by the kernel.

        Raises BlockingIOError, ChannelClosed, SandboxError.
        """
        data, ancillary, _flags, _address = self._socket.recvmsg(
            _ANSWER.size, socket.CMSG_SPACE(_CREDENTIALS.size), socket.MSG_CMSG_CLOEXEC
        )
        if not data:
            raise ChannelClosed
        if len(data) != _ANSWER.size or data[:1] != b"Y":
            raise SandboxError("PROTOCOL", "init did not begin with READY")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                return int(_CREDENTIALS.unpack(payload[: _CREDENTIALS.size])[0])
        raise SandboxError("PROTOCOL", "the kernel did not say who init is")

    def receive(self) -> Answer | None:
        """The next answer, or None while there is none. Raises ChannelClosed."""
        try:
            data = self._socket.recv(_ANSWER.size - len(self._partial))
        except BlockingIOError:
            return None
        except ConnectionError as error:
            raise ChannelClosed from error
        if not data:
            raise ChannelClosed
        self._partial += data
        if len(self._partial) < _ANSWER.size:
            return None
        kind, where, _zero, value, user_us, system_us, max_rss_kb = _ANSWER.unpack(self._partial)
        self._partial = b""
        letter = chr(kind)
        if letter not in ("Y", "D", "E"):
            raise ChannelClosed
        return Answer(letter, chr(where), value, user_us, system_us, max_rss_kb)  # type: ignore[arg-type]

    async def put(self, path: str, content: bytes, mode: int) -> None:
        """Sends a file. Init speaks only if it could not write it. Raises ChannelClosed."""
        name = path.encode() + b"\0"
        for start in range(0, max(1, len(content)), PIECE):
            body = name + content[start : start + PIECE]
            await self._send(_HEAD.pack(len(body), ord("P"), start > 0, mode) + body)

    async def run(
        self,
        argv: Sequence[str],
        env: Sequence[str],
        directory: str,
        limits: Sequence[ResourceLimit],
        descriptors: Sequence[int],
    ) -> None:
        """Sends a command with its three descriptors, which stay the caller's. Raises ChannelClosed."""
        parts = [struct.pack("=I", len(limits))]
        parts += [_LIMIT.pack(limit.resource, 0, limit.value, limit.value) for limit in limits]
        parts += [os.fsencode(text) + b"\0" for text in (directory, *argv, *env)]
        body = b"".join(parts)
        await self._send(_HEAD.pack(len(body), ord("R"), 0, len(argv)) + body, descriptors)

    def signal_nowait(self, number: int) -> None:
        """Sends a signal request. Only between a sent command and its answer; lost where the socket is full."""
        with contextlib.suppress(OSError):
            self._socket.send(_HEAD.pack(0, ord("S"), 0, number))

    async def _send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        view = memoryview(data)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        while view:
            try:
                sent = self._socket.sendmsg([view], ancillary, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                await wait_writable(self._socket.fileno())
            except OSError as error:
                raise ChannelClosed from error
            else:
                view = view[sent:]
                ancillary = []

    def close(self) -> None:
        """Ends the channel; an init that still lives ends its jail."""
        self._socket.close()
