"""Whether each part answers, asked the way its users would ask."""

import http.client
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local import postgres
from deploy.local.mesh import Mesh

Check = Callable[[], str | None]
"""None when ready, else what is still missing."""


class NotReady(Exception):
    """It did not become ready in time."""


def wait_for(check: Check, seconds: float, alive: Callable[[], str | None] = lambda: None) -> None:
    """Returns as soon as the check passes. Raises NotReady with the last reason, or earlier when `alive` names one."""
    deadline = time.monotonic() + seconds
    while (reason := check()) is not None:
        if (death := alive()) is not None:
            raise NotReady(death)
        if time.monotonic() > deadline:
            raise NotReady(reason)
        time.sleep(0.1)


def postgres_answers(mesh: Mesh) -> str | None:
    """pg_isready."""
    command = [postgres.binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(mesh.ports.postgres.number)]
    return (
        None if subprocess.run(command, check=False).returncode == 0 else "PostgreSQL does not accept connections yet"
    )


def rabbitmq_answers(mesh: Mesh) -> str | None:
    """Says hello in AMQP; a broker opens its listener last of all, and answers with connection.start."""
    greeting = _exchange(mesh.ports.rabbitmq.number, b"AMQP\x00\x00\x09\x01", 11)
    # Frame type 1 (method), channel 0, four bytes of size, class 10 (connection), method 10 (start).
    return None if greeting[:1] == b"\x01" and greeting[7:11] == b"\x00\x0a\x00\x0a" else "RabbitMQ is still booting"


def redis_answers(mesh: Mesh) -> str | None:
    """PING. While it loads its log it answers LOADING instead."""
    answer = _exchange(mesh.ports.redis.number, b"PING\r\n", 7)
    return None if answer.startswith(b"+PONG") else "Redis does not answer PING yet"


def grpc_serves(port: int) -> str | None:
    """Health of the whole server by the gRPC health protocol."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.RpcError as error:
            return f"gRPC health on port {port}: {cast('grpc.Call', error).code().name}"
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return None
    return f"gRPC health on port {port}: {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"


def http_answers(port: int, path: str) -> str | None:
    """A GET that answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read(300).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"{path} on port {port}: {error}"
    finally:
        connection.close()
    return None if response.status == 200 else f"{path} on port {port}: {response.status} {text}"


def _exchange(port: int, question: bytes, length: int) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(question)
            answer = b""
            while len(answer) < length and (more := connection.recv(length - len(answer))):
                answer += more
            return answer
    except OSError:
        return b""
