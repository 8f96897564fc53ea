"""The scripted service, and the command as a process of its own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from sentinel.v1 import scheduler_pb2_grpc, status_pb2_grpc

from tests.unit.cli.scripted import Ended, Sentinel, Served, Service, Start


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    service = Service()
    server = grpc.aio.server()
    scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server(service, server)
    status_pb2_grpc.add_StatusServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield Served(service, f"127.0.0.1:{port}")
    await server.stop(None)


@pytest.fixture
def start(served: Served) -> Start:
    """Starts `sentinel` against the scripted service."""

    async def begin(*words: str, stdin: int = asyncio.subprocess.DEVNULL) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cli",
            *words,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"SENTINEL_ENDPOINT": served.endpoint, "TERM": "dumb"},
        )

    return begin


@pytest.fixture
def sentinel(start: Start) -> Sentinel:
    """Runs `sentinel` to its end."""

    async def complete(*words: str, stdin: bytes | None = None) -> Ended:
        process = await start(*words, stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE)
        stdout, stderr = await asyncio.wait_for(process.communicate(stdin), 30)
        assert process.returncode is not None
        return Ended(process.returncode, stdout, stderr)

    return complete
