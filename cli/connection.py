"""The one way from this command to the service."""

import ipaddress
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc
from sentinel.v1 import scheduler_pb2_grpc, status_pb2_grpc

from cli import exits
from cli.faults import Fault

DEFAULT_ENDPOINT = "localhost:8080"
_DEFAULT_PORTS = {"http": 8080, "https": 443}
_MEBIBYTE = 1024 * 1024
_MOST_RECEIVED_BYTES = 64 * _MEBIBYTE
"""A result holds up to three streams of 8 MiB, each perhaps as text and as bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the service listens."""

    host: str
    port: int
    secure: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `host:port`, `host`, or either behind `http://` or `https://`. Raises Fault."""
        scheme, found, rest = text.strip().partition("://")
        if not found:
            scheme, rest = "http", scheme
        if scheme not in _DEFAULT_PORTS:
            raise Fault(f"{text}: an endpoint begins with http:// or https://, or has no scheme", exits.USAGE)
        host, port = _split(rest.rstrip("/"))
        try:
            number = int(port) if port else _DEFAULT_PORTS[scheme]
        except ValueError:
            number = 0
        if not host or "/" in host or not 0 < number < 65536:
            raise Fault(f"{text}: an endpoint looks like localhost:8080 or https://example.org", exits.USAGE)
        return cls(host=host, port=number, secure=scheme == "https")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def listens(self) -> bool:
        """Whether anything takes a connection there now."""
        try:
            socket.create_connection((self.host, self.port), timeout=1.0).close()
        except OSError:
            return False
        return True

    def silence(self) -> Fault:
        """The fault for when nothing does."""
        start = "start it with `make up` or " if self.local else ""
        return Fault(
            f"nothing listens on {self}; {start}name another with --endpoint",
            exits.UNAVAILABLE,
            code="UNAVAILABLE",
        )


def _split(rest: str) -> tuple[str, str]:
    if rest.startswith("["):
        host, _, port = rest[1:].partition("]")
        return host, port.removeprefix(":")
    host, _, port = rest.partition(":")
    return host, port


class Client:
    """The public services on one channel. Use as an asynchronous context manager; leaving closes the channel."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        options: list[tuple[str, int]] = [
            ("grpc.max_receive_message_length", _MOST_RECEIVED_BYTES),
            # After a restart of the edge the next try should find it at once.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # A silent line is a broken one: without pings a lost network looks like a quiet program.
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 10_000),
        ]
        if endpoint.local:
            options.append(("grpc.enable_http_proxy", 0))
        self._channel = (
            grpc.aio.secure_channel(str(endpoint), grpc.ssl_channel_credentials(), options=options)
            if endpoint.secure
            else grpc.aio.insecure_channel(str(endpoint), options=options)
        )
        self.scheduler = scheduler_pb2_grpc.SchedulerServiceStub(self._channel)
        self.status = status_pb2_grpc.StatusServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()
