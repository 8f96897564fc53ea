"""The one place that talks to a scheduler: dials, says what we hold, takes work, sends reports, comes back."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import grpc
from sentinel.v1 import executor_pb2, executor_pb2_grpc, status_pb2

from services.executor import metrics
from services.executor.attempt import Attempt
from services.kit.backoff import full_jitter
from services.kit.log import get_logger

GATHER_MOST = 512 << 10
"""Bytes of reports in one message, give or take one report; the protocol allows 1 MiB."""
WELCOME_WITHIN = 10.0
"""Seconds to connect and be welcomed."""
CHANNEL_OPTIONS = (
    # A scheduler that died without a word is noticed after keepalive time plus timeout, milliseconds.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),
    # Each dial is a fresh connection: waiting out an old one's backoff would double our own.
    ("grpc.use_local_subchannel_pool", 1),
)

Message = executor_pb2.SessionRequest
_Call = Any  # grpc.aio.StreamStreamCall; its generic parameters say nothing the stub does not


class SessionOver(Exception):
    """The session ended. `at_once` says that another scheduler should be dialled without waiting."""

    def __init__(self, why: str, *, at_once: bool = False) -> None:
        super().__init__(why)
        self.at_once = at_once


class Left(Exception):
    """We are draining and hold nothing more."""


class Sessions:
    """Keeps a session with some scheduler. Attempts belong to the executor and outlive any connection.

    `begin` makes an Attempt of an assignment; its second argument is to be called with the seconds that news may wait.
    """

    def __init__(
        self,
        *,
        addresses: Sequence[str],
        executor_id: str,
        slots: int,
        languages: Sequence[status_pb2.Language],
        begin: Callable[[executor_pb2.Assignment, Callable[[float], None]], Attempt],
        rng: random.Random | None = None,
    ) -> None:
        if not addresses:
            raise ValueError("no scheduler address")
        self._addresses = list(addresses)
        (rng or random.Random()).shuffle(self._addresses)  # noqa: S311 - spreads load, guards nothing
        self._executor_id = executor_id
        self._slots = slots
        self._languages = languages
        self._begin = begin
        self._held: dict[bytes, Attempt] = {}
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._news_at: asyncio.TimerHandle | None = None
        self._draining = asyncio.Event()
        self.connected = False
        """There is a session now."""

    @property
    def holding(self) -> int:
        """Attempts that run, or whose end no scheduler has acknowledged."""
        return len(self._held)

    def drain(self) -> None:
        """Takes nothing new; `run` returns once nothing is held. Idempotent."""
        self._draining.set()
        self._news.set()

    async def run(self) -> None:
        """Serves until drained. Cancelling it kills every program that runs."""
        delays = full_jitter(0.1, 5.0)
        async with asyncio.TaskGroup() as attempts:
            try:
                for address in itertools.cycle(self._addresses):
                    try:
                        await self._session(address, attempts)
                    except Left:
                        return
                    except SessionOver as over:
                        get_logger().warning("session_over", scheduler=address, why=str(over), held=self.holding)
                        welcomed, self.connected = self.connected, False
                        if welcomed:
                            delays = full_jitter(0.1, 5.0)
                        if not (welcomed and over.at_once):
                            await asyncio.sleep(next(delays))
                    if self._draining.is_set() and not self._held:
                        return
            finally:
                self.connected = False
                metrics.CONNECTED.set(0)
                for task in self._tasks.values():
                    task.cancel()

    async def _session(self, address: str, attempts: asyncio.TaskGroup) -> None:
        """One connection, from dialling to its end. Raises SessionOver or Left."""
        async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            stub = executor_pb2_grpc.ExecutorServiceStub(channel)
            call: _Call = stub.Session()
            try:
                welcome = await self._greet(call)
                self.connected = True
                metrics.CONNECTED.set(1)
                get_logger().info("session_begun", scheduler=address, held=self.holding)
                for attempt in self._held.values():
                    attempt.reports.begin_session(welcome.initial_credit_bytes)
                await _first_to_end(
                    self._read(call, attempts, welcome.initial_credit_bytes),
                    self._write(call, welcome.heartbeat_interval_ms / 1000),
                )
            finally:
                metrics.CONNECTED.set(0)
                call.cancel()

    async def _greet(self, call: _Call) -> executor_pb2.Welcome:
        hello = executor_pb2.Hello(
            executor_id=self._executor_id,
            slots=self._slots,
            languages=self._languages,
            held=[attempt.held for attempt in self._held.values()],
        )
        try:
            async with asyncio.timeout(WELCOME_WITHIN):
                async with _as_session_over(call):
                    await call.write(Message(hello=hello))
                    first = await call.read()
        except TimeoutError:
            raise SessionOver("no answer to hello") from None
        if first is grpc.aio.EOF or not first.HasField("welcome"):
            raise SessionOver(f"no welcome: {await _status(call)}" if first is grpc.aio.EOF else "no welcome")
        welcome: executor_pb2.Welcome = first.welcome
        return welcome

    # What we say

    async def _write(self, call: _Call, heartbeat_interval: float) -> None:
        """The only writer. Says that we drain, then news as it comes, and a sign of life when its time has come."""
        loop = asyncio.get_running_loop()
        said_draining = False
        beat_at = loop.time() + heartbeat_interval
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(beat_at):
                    await self._news.wait()
            self._news.clear()
            if self._news_at is not None:
                self._news_at.cancel()
                self._news_at = None
            async with _as_session_over(call):
                if self._draining.is_set() and not said_draining:
                    said_draining = True
                    await call.write(Message(draining=executor_pb2.Draining()))
                while gathered := self._gather():
                    await call.write(Message(reports=executor_pb2.Reports(reports=gathered)))
                    if loop.time() >= beat_at:
                        self._news.set()
                        break  # a sign of life first; the rest follows
                if loop.time() >= beat_at:
                    beat_at = loop.time() + heartbeat_interval
                    await call.write(Message(heartbeat=executor_pb2.Heartbeat()))
                if said_draining and not self._held:
                    await call.done_writing()
                    raise Left

    def _gather(self) -> list[executor_pb2.Report]:
        """Everything there is to send, in order per attempt, up to GATHER_MOST."""
        reports: list[executor_pb2.Report] = []
        size = 0
        for attempt in self._held.values():
            while size < GATHER_MOST and (report := attempt.reports.next_nowait()) is not None:
                reports.append(report)
                size += report.ByteSize()
        return reports

    def _have_news(self, may_wait: float) -> None:
        """Wakes the writer within so many seconds."""
        if may_wait <= 0:
            self._news.set()
            return
        loop = asyncio.get_running_loop()
        if self._news_at is not None:
            if self._news_at.when() <= loop.time() + may_wait:
                return
            self._news_at.cancel()
        self._news_at = loop.call_later(may_wait, self._have_waited)

    def _have_waited(self) -> None:
        self._news_at = None
        self._news.set()

    # What we hear

    async def _read(self, call: _Call, attempts: asyncio.TaskGroup, credit: int) -> None:
        while True:
            async with _as_session_over(call):
                response = await call.read()
            if response is grpc.aio.EOF:
                raise SessionOver(await _status(call))
            match response.WhichOneof("message"):
                case "assignment":
                    self._assign(response.assignment, attempts, credit)
                case "settled":
                    self._forget(response.settled.lease_token)
                case "stale":
                    get_logger().warning("lease_lost", known=response.stale.lease_token in self._held)
                    self._forget(response.stale.lease_token)
                case "drain":
                    raise SessionOver("the scheduler is leaving", at_once=True)
                case "cancel" | "credit" | "stdin" | "signal" as kind:
                    self._pass_on(kind, getattr(response, kind))
                case _:
                    raise SessionOver("the scheduler said something unknown")

    def _pass_on(self, kind: str, said: Any) -> None:
        """What is meant for one attempt; one that we do not hold has ended."""
        attempt = self._held.get(said.lease_token)
        if attempt is None:
            return
        match kind:
            case "cancel":
                attempt.cancel()
            case "credit":
                attempt.reports.add_credit(said.bytes)
            case "stdin":
                attempt.feed(said)
            case "signal":
                attempt.signal(said.signal)

    def _assign(self, assignment: executor_pb2.Assignment, attempts: asyncio.TaskGroup, credit: int) -> None:
        token = assignment.lease_token
        if token in self._held:
            return
        attempt = self._begin(assignment, self._have_news)
        attempt.reports.begin_session(credit)
        self._held[token] = attempt
        task = attempts.create_task(attempt.run(), name=f"attempt {assignment.job_id}")
        self._tasks[token] = task
        task.add_done_callback(lambda _: self._tasks.pop(token, None))

    def _forget(self, token: bytes) -> None:
        """Lets go of an attempt; where its program still runs, kills it."""
        self._held.pop(token, None)
        if task := self._tasks.get(token):
            task.cancel()
        if self._draining.is_set():
            self._news.set()  # perhaps it was the last one


@contextlib.asynccontextmanager
async def _as_session_over(call: _Call) -> AsyncIterator[None]:
    """Turns what grpc raises on a broken stream into SessionOver."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        # The scheduler that drains, or lost its database, wants us elsewhere and not here again.
        raise SessionOver(f"{error.code().name}: {error.details()}") from None
    except (grpc.aio.UsageError, asyncio.InvalidStateError):
        raise SessionOver(await _status(call)) from None
    except asyncio.CancelledError:
        # A stream that the other side cancelled raises the same as our own cancelling does.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise SessionOver("the stream was cancelled") from None


async def _status(call: _Call) -> str:
    """How the stream ended, in words."""
    try:
        async with asyncio.timeout(1):
            return f"{(await call.code()).name}: {await call.details()}"
    except TimeoutError:
        return "the stream ended"


async def _first_to_end(*parts: Coroutine[None, None, None]) -> None:
    """Runs the parts until one ends, ends the others, and raises what that one raised.

    Not a TaskGroup: a part that fails in the moment of our own cancelling would hide it (3.11 prefers the errors).
    """
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # seen, so that asyncio does not complain of the one not raised
    for task in done:
        task.result()
