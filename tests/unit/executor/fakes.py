"""A sandbox that runs nothing, and a scheduler that says what a test tells it to. Both keep the real promises."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from sentinel.v1 import executor_pb2, executor_pb2_grpc, scheduler_pb2

from services.executor.sandbox.protocol import (
    Cause,
    Command,
    Ending,
    Exited,
    Killed,
    Limits,
    OutputSink,
    SandboxError,
    Stdin,
    Stream,
    Usage,
)

Pb = executor_pb2
Response = executor_pb2.SessionResponse
USAGE = Usage(wall_ms=3, cpu_ms=2, memory_peak_bytes=4096, oom_events=0, peak_processes=1)


@dataclass
class Script:
    """What a fake box does with each command, in order; the last one repeats."""

    endings: list[Ending | SandboxError] = field(default_factory=lambda: [Exited(0)])
    output: bytes = b"hello\n"
    gate: asyncio.Event | None = None
    """Where set, a command ends only when this is."""


class FakeBox:
    """A Sandbox."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.files: dict[str, bytes] = {}
        self.commands: list[tuple[Command, Limits]] = []
        self.signals: list[int] = []
        self.stdin: Stdin | None = None
        self._stopped = asyncio.Event()

    async def put(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        self.files[path] = content

    async def run(
        self, command: Command, limits: Limits, *, stdin: Stdin, output: OutputSink, more: bool = False
    ) -> tuple[Ending, Usage]:
        turn = min(len(self.commands), len(self._script.endings) - 1)
        self.commands.append((command, limits))
        self.stdin = stdin
        if self._script.output:
            output(Stream.STDOUT, self._script.output)
        if self._script.gate is not None:
            waits = [asyncio.ensure_future(self._script.gate.wait()), asyncio.ensure_future(self._stopped.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        if self._stopped.is_set():
            return Killed(Cause.CANCELLED), USAGE
        ending = self._script.endings[turn]
        if isinstance(ending, SandboxError):
            raise ending
        return ending, USAGE

    def signal(self, number: int) -> None:
        self.signals.append(number)

    def stop(self) -> None:
        self._stopped.set()


class FakePool:
    """A SandboxPool."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.boxes: list[FakeBox] = []
        self.lent = 0

    @asynccontextmanager
    async def checkout(self) -> AsyncIterator[FakeBox]:
        box = FakeBox(self.script)
        self.boxes.append(box)
        self.lent += 1
        try:
            yield box
        finally:
            self.lent -= 1


def assignment(token: bytes = b"t" * 16, **submission: object) -> executor_pb2.Assignment:
    """One with every default filled in, as a scheduler sends it."""
    filled: dict[str, object] = {
        "language": "python",
        "source_code": "print(1)",
        "time_limit_ms": 5000,
        "cpu_time_limit_ms": 5000,
        "memory_limit_kb": 262144,
        "output_limit_kb": 64,
        "process_limit": 64,
        **submission,
    }
    if "files" in submission:
        del filled["source_code"]
    return executor_pb2.Assignment(
        job_id="0190a5d0-0000-7000-8000-000000000000",
        attempt=1,
        lease_token=token,
        submission=scheduler_pb2.SubmitRequest(**filled),  # type: ignore[arg-type]
    )


class Connection:
    """One session as the scheduler sees it."""

    def __init__(self, hello: executor_pb2.Hello) -> None:
        self.hello = hello
        self.heard: asyncio.Queue[executor_pb2.SessionRequest] = asyncio.Queue()
        self.said: asyncio.Queue[executor_pb2.SessionResponse | None] = asyncio.Queue()
        self.over = asyncio.Event()
        self.messages = 0
        """Messages with reports that `report` has taken."""
        self._reports: deque[executor_pb2.Report] = deque()

    def say(self, **message: object) -> None:
        """Sends one response."""
        self.said.put_nowait(Response(**message))  # type: ignore[arg-type]

    def hang_up(self) -> None:
        """Ends the stream from the scheduler's side."""
        self.said.put_nowait(None)

    async def report(self) -> executor_pb2.Report:
        """The next report, heartbeats skipped."""
        while not self._reports:
            message = await asyncio.wait_for(self.heard.get(), 10)
            if message.HasField("reports"):
                self.messages += 1
                self._reports.extend(message.reports.reports)
        return self._reports.popleft()

    async def reports_to_end(self) -> list[executor_pb2.Report]:
        """Reports up to the last one of an attempt."""
        found = [await self.report()]
        while not (found[-1].HasField("finished") or found[-1].HasField("abandoned")):
            found.append(await self.report())
        return found

    async def message(self, kind: str) -> executor_pb2.SessionRequest:
        """The next message of a kind, others skipped."""
        while True:
            message = await asyncio.wait_for(self.heard.get(), 10)
            if message.WhichOneof("message") == kind:
                return message


class FakeScheduler(executor_pb2_grpc.ExecutorServiceServicer):
    """Greets and keeps what it hears. A real gRPC server carries it."""

    def __init__(self, credit: int = 1 << 20, heartbeat_ms: int = 50) -> None:
        self._welcome = Pb.Welcome(lease_term_ms=5000, heartbeat_interval_ms=heartbeat_ms, initial_credit_bytes=credit)
        self._connections: asyncio.Queue[Connection] = asyncio.Queue()
        self.refuse = False

    async def connection(self) -> Connection:
        """The next executor that dials."""
        return await asyncio.wait_for(self._connections.get(), 30)

    async def Session(  # type: ignore[override]  # noqa: N802
        self,
        request_iterator: AsyncIterator[executor_pb2.SessionRequest],
        context: grpc.aio.ServicerContext[executor_pb2.SessionRequest, executor_pb2.SessionResponse],
    ) -> None:
        if self.refuse:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
        first = await anext(request_iterator)
        connection = Connection(first.hello)
        await context.write(Response(welcome=self._welcome))
        self._connections.put_nowait(connection)
        listening = asyncio.ensure_future(self._listen(request_iterator, connection))
        try:
            while (response := await connection.said.get()) is not None:
                await context.write(response)
        finally:
            listening.cancel()

    @staticmethod
    async def _listen(requests: AsyncIterator[executor_pb2.SessionRequest], connection: Connection) -> None:
        try:
            async for request in requests:
                connection.heard.put_nowait(request)
        finally:
            connection.over.set()
            connection.said.put_nowait(None)


@asynccontextmanager
async def serve(scheduler: FakeScheduler, address: str = "127.0.0.1:0") -> AsyncIterator[tuple[str, grpc.aio.Server]]:
    """A real server; yields its address."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    executor_pb2_grpc.add_ExecutorServiceServicer_to_server(scheduler, server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield f"127.0.0.1:{port}", server
    finally:
        await server.stop(0)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Waits for something that has no event. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
