"""An executor that runs nothing: it reports what the test says, also what an honest one never would."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from sentinel.v1 import evidence_pb2, executor_pb2, executor_pb2_grpc, status_pb2

Pb = executor_pb2


class ScriptedExecutor:
    """One session at a time; `assignments` and `answers` are what came in."""

    def __init__(
        self, address: str, *, name: str = "scripted", slots: int = 2, languages: tuple[str, ...] = ("python",)
    ) -> None:
        self.address = address
        self.name = name
        self.slots = slots
        self.languages = languages
        self.held: list[executor_pb2.HeldAttempt] = []
        self.assignments: asyncio.Queue[executor_pb2.Assignment] = asyncio.Queue()
        self.answers: asyncio.Queue[executor_pb2.SessionResponse] = asyncio.Queue()
        self.welcome: executor_pb2.Welcome | None = None
        self._out: asyncio.Queue[executor_pb2.SessionRequest | None] = asyncio.Queue()
        self.silent = False

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator["ScriptedExecutor"]:
        """Dials, greets, beats; hangs up at the end of the block."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            stub = executor_pb2_grpc.ExecutorServiceStub(channel)
            call = stub.Session()
            hello = Pb.Hello(
                executor_id=self.name,
                slots=self.slots,
                languages=[
                    status_pb2.Language(name=n, compiled=n in {"c", "cpp"}, aliases=["py"] if n == "python" else [])
                    for n in self.languages
                ],
                held=self.held,
            )
            await call.write(Pb.SessionRequest(hello=hello))
            self.call = call
            tasks = [asyncio.create_task(t) for t in (self._read(call), self._write(call), self._beat())]
            try:
                async with asyncio.timeout(10):
                    while self.welcome is None:
                        if tasks[0].done():
                            tasks[0].result()
                        await asyncio.sleep(0.01)
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                call.cancel()
                self.welcome = None

    async def _read(self, call: Any) -> None:
        async for response in call:
            match response.WhichOneof("message"):
                case "welcome":
                    self.welcome = response.welcome
                case "assignment":
                    self.assignments.put_nowait(response.assignment)
                case _:
                    self.answers.put_nowait(response)

    async def _write(self, call: Any) -> None:
        while (request := await self._out.get()) is not None:
            await call.write(request)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(0.3)
            if not self.silent:
                self._out.put_nowait(Pb.SessionRequest(heartbeat=Pb.Heartbeat()))

    def report(self, token: bytes, number: int, **kind: object) -> None:
        """Sends one report."""
        report = Pb.Report(lease_token=token, number=number, **kind)  # type: ignore[arg-type]
        self._out.put_nowait(Pb.SessionRequest(reports=Pb.Reports(reports=[report])))

    def run(
        self, assignment: executor_pb2.Assignment, stdout: bytes = b"42\n", verdict: int = Pb.VERDICT_SUCCESS
    ) -> None:
        """An honest run: phase, output, end."""
        token = assignment.lease_token
        self.report(token, 1, phase=Pb.PhaseStarted(phase=evidence_pb2.PHASE_RUN))
        self.report(token, 2, output=Pb.OutputChunk(stream=evidence_pb2.STREAM_STDOUT, offset=0, data=stdout))
        evidence = evidence_pb2.Evidence(
            exit_code=0, wall_time_ms=3.5, phases=[evidence_pb2.PhaseTime(phase=evidence_pb2.PHASE_RUN)]
        )
        self.report(token, 3, finished=Pb.Finished(verdict=verdict, evidence=evidence))  # type: ignore[arg-type]

    async def answer(self, kind: str, within: float = 10) -> executor_pb2.SessionResponse:
        """The next answer of this kind; others are put aside for good."""
        async with asyncio.timeout(within):
            while True:
                response = await self.answers.get()
                if response.WhichOneof("message") == kind:
                    return response
