"""One executor's session: its slots filled from the queue, its reports relayed, its leases kept alive."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import grpc
from sentinel.v1 import evidence_pb2, executor_pb2, scheduler_pb2, status_pb2

from services.kit.errors import InvalidField, SentinelError, Unavailable
from services.kit.log import get_logger
from services.record.model import State
from services.scheduler import metrics
from services.scheduler.attempt import Attempt
from services.scheduler.broker import BrokerDown, Delivery
from services.scheduler.desk import Desk
from services.scheduler.model import Claim, ClaimRequest, Loss, Outcome

Pb = executor_pb2
Response = executor_pb2.SessionResponse

_MOST_SILENT_OUTBOX = 10_000
_SEEN_SECONDS = 5.0
"""How often an executor's row says that it is there."""


class SessionOver(Exception):
    """The executor has left, or is taken for gone."""


class HeartbeatMissed(SentinelError):
    """Nothing was heard for too long. The executor may dial again and offer what it holds."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "HEARTBEAT_MISSED"


class Session:
    """Lives as long as the stream. What it holds when it ends is left to its leases: the executor may come back."""

    def __init__(self, desk: Desk, hello: executor_pb2.Hello) -> None:
        self._desk = desk
        self._hello = hello
        self._attempts: dict[bytes, Attempt] = {}
        self._free = asyncio.Semaphore(hello.slots)
        self._out: asyncio.Queue[Response] = asyncio.Queue(_MOST_SILENT_OUTBOX)
        self._heard = time.monotonic()
        self._leaving = False
        self._languages = status_pb2.ListLanguagesResponse(languages=hello.languages).SerializeToString()

    @property
    def executor(self) -> str:
        """Its name."""
        return self._hello.executor_id

    @property
    def slots(self) -> int:
        """What it offers."""
        return self._hello.slots

    @property
    def busy(self) -> int:
        """Attempts it holds."""
        return len(self._attempts)

    @property
    def silence(self) -> float:
        """Seconds since it was last heard."""
        return time.monotonic() - self._heard

    def cancel(self, job: UUID) -> None:
        """Tells the executor to kill this submission's program, where it runs one."""
        for attempt in self._attempts.values():
            if attempt.job == job:
                self._send(Response(cancel=Pb.CancelAttempt(lease_token=attempt.token.bytes)))

    async def run(self, requests: AsyncIterator[executor_pb2.SessionRequest], context: Any) -> None:
        """Serves until the executor leaves. Raises SentinelError where it must be told why it may not stay."""
        await self._adopt()
        terms = self._desk.terms
        welcome = Pb.Welcome(
            lease_term_ms=round(terms.lease_term_seconds * 1000),
            heartbeat_interval_ms=round(terms.heartbeat_seconds * 1000),
            initial_credit_bytes=terms.credit_bytes,
        )
        await context.write(Response(welcome=welcome))
        self._desk.sessions.add(self)
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(self._write(context), name="write")
                parts.create_task(self._read(requests, parts), name="read")
                parts.create_task(self._keep_leases(), name="keep leases")
                parts.create_task(self._fill(), name="fill slots")
                parts.create_task(self._tell_drain(), name="tell drain")
        except BaseExceptionGroup as group:
            # Not `except*`: what is raised there would come out wrapped in another group. The condition is asked of
            # groups too; saying no to those makes it look inside.
            if (told := group.subgroup(lambda e: not isinstance(e, SessionOver | BaseExceptionGroup))) is not None:
                raise _first(told) from None
        finally:
            self._leaving = True
            self._desk.sessions.discard(self)
            if not any(other.executor == self.executor for other in self._desk.sessions):
                with contextlib.suppress(Unavailable):
                    await self._desk.store.executor_left(self.executor, self._desk.scheduler_id)

    def _send(self, response: Response) -> None:
        try:
            self._out.put_nowait(response)
        except asyncio.QueueFull:
            raise SessionOver from None

    async def _write(self, context: Any) -> None:
        while True:
            # A peer that stops reading blocks this write; it also falls silent, and that ends the session.
            await context.write(await self._out.get())

    async def _tell_drain(self) -> None:
        await self._desk.draining.wait()
        self._send(Response(drain=Pb.Drain()))

    async def _read(self, requests: AsyncIterator[executor_pb2.SessionRequest], parts: asyncio.TaskGroup) -> None:
        async for request in requests:
            self._heard = time.monotonic()
            match request.WhichOneof("message"):
                case "reports":
                    self._on_reports(request.reports, parts)
                case "heartbeat":
                    pass
                case "draining":
                    self._leaving = True
                case _:
                    raise InvalidField("hello may only come first")
        raise SessionOver

    # Work in

    async def _fill(self) -> None:
        """One consumer whose prefetch is this executor's slots: the rest of the backlog stays with the broker."""
        while True:
            await self._desk.broker.wait_up()
            try:
                async with self._desk.broker.consume(self.slots, self._on_delivery) as lost:
                    while not lost.is_set() and not self._leaving and not self._desk.draining.is_set():
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(0.2):
                                await lost.wait()
                    if self._leaving or self._desk.draining.is_set():
                        await self._until_empty()
                        return
            except BrokerDown:
                await asyncio.sleep(0.2)

    async def _until_empty(self) -> None:
        """Takes nothing new, but keeps the channel: closing it would give unsettled work to somebody else."""
        self._leaving = True
        while self._attempts:
            await asyncio.sleep(0.05)

    async def _on_delivery(self, delivery: Delivery) -> None:
        if delivery.redelivered:
            metrics.REDELIVERED.inc()
        if delivery.job is None:
            get_logger().error("message_not_ours")
            await delivery.refuse()
            return
        await self._free.acquire()
        granted = False
        try:
            if self._leaving or self._desk.draining.is_set():
                await delivery.give_back()
                return
            request = ClaimRequest(id=delivery.job, token=uuid4(), holder=self.executor)
            claim = await self._desk.store.claim(request)
            if claim is None:
                # Ended, cancelled or leased: the row knows, and the reaper posts again what it must.
                metrics.UNCLAIMABLE.inc()
                await delivery.settle()
                return
            granted = True
            self._assign(claim, delivery)
        except Unavailable:
            await delivery.give_back()
        finally:
            if not granted:
                self._free.release()

    def _assign(self, claim: Claim, delivery: Delivery) -> None:
        if claim.attempt == 1:
            metrics.QUEUE_WAIT.observe((claim.started_at - claim.created_at).total_seconds())
        attempt = Attempt(claim, delivery, now=time.monotonic())
        self._attempts[claim.token.bytes] = attempt
        assignment = Pb.Assignment(
            job_id=str(claim.id),
            attempt=claim.attempt,
            lease_token=claim.token.bytes,
            submission=scheduler_pb2.SubmitRequest.FromString(claim.request),
            traceparent=claim.traceparent,
            interactive=claim.interactive,
        )
        self._send(Response(assignment=assignment))

    async def _adopt(self) -> None:
        """Takes up what the executor still holds, where its lease stands; the rest is stale."""
        await self._desk.store.executor_seen(self.executor, self._desk.scheduler_id, self.slots, self._languages)
        held = [(UUID(h.job_id), UUID(bytes=h.lease_token)) for h in self._hello.held]
        if not held:
            return
        claims = await self._desk.store.adopt(held)
        for claim in claims:
            self._attempts[claim.token.bytes] = Attempt(claim, None, now=time.monotonic())
            # At most as many as slots: an executor runs no more than it offers.
            if not self._free.locked():
                await self._free.acquire()
        for _, token in held:
            if token.bytes not in self._attempts:
                metrics.FENCED.inc()
                metrics.ATTEMPTS.labels("fenced").inc()
                self._send(Response(stale=Pb.Stale(lease_token=token.bytes)))
        get_logger().info("adopted", executor=self.executor, held=len(held), adopted=len(claims))

    # Reports out

    def _on_reports(self, reports: executor_pb2.Reports, parts: asyncio.TaskGroup) -> None:
        touched: dict[bytes, Attempt] = {}
        for report in reports.reports:
            if attempt := self._on_report(report, parts):
                touched[report.lease_token] = attempt
        for token, attempt in touched.items():
            if credit := attempt.take_credit(self._desk.terms.credit_bytes):
                self._send(Response(credit=Pb.OutputCredit(lease_token=token, bytes=credit)))
            if not attempt.ending:
                self._tell(attempt)

    def _on_report(self, report: executor_pb2.Report, parts: asyncio.TaskGroup) -> Attempt | None:
        """Takes one report in. Returns its attempt where it was news."""
        attempt = self._attempts.get(report.lease_token)
        if attempt is None:
            if report.HasField("finished") or report.HasField("abandoned"):
                metrics.FENCED.inc()
                self._send(_stale(report.lease_token))
            return None
        if attempt.ending or not attempt.admit(report):
            return None
        match report.WhichOneof("kind"):
            case "phase":
                attempt.phase(report.phase.phase)
                if attempt.claim.compiled and report.phase.phase == evidence_pb2.PHASE_RUN:
                    parts.create_task(self._advance(attempt), name="advance")
            case "output":
                attempt.output(report)
            case "finished":
                attempt.ending = True
                parts.create_task(self._settle(attempt, attempt.outcome(report.finished)), name="settle")
            case "abandoned":
                attempt.ending = True
                failure = report.abandoned.failure
                loss = Loss(id=attempt.job, token=attempt.token, reason=failure.reason, message=failure.message)
                parts.create_task(self._release(attempt, loss), name="release")
        return attempt

    def _tell(self, attempt: Attempt) -> None:
        for event in attempt.untold:
            self._desk.live.tell(attempt.job, event)
        attempt.untold.clear()

    async def _advance(self, attempt: Attempt) -> None:
        with contextlib.suppress(Unavailable):
            await self._desk.store.advance(attempt.job, attempt.token)

    async def _settle(self, attempt: Attempt, outcome: Outcome) -> None:
        # Shielded: once the executor has said how it ended, losing the executor must not lose the outcome.
        written = await asyncio.shield(asyncio.ensure_future(self._write_outcome(attempt, outcome)))
        token = attempt.token.bytes
        self._forget(attempt)
        self._send(Response(settled=Pb.Settled(lease_token=token)) if written else _stale(token))

    async def _write_outcome(self, attempt: Attempt, outcome: Outcome) -> bool:
        written = await self._desk.store.settle(outcome)
        if written is not None:
            word = str(outcome.verdict or "CANCELLED")
            metrics.ATTEMPTS.labels("cancelled" if outcome.state is State.CANCELLED else "settled").inc()
            metrics.END_TO_END.observe(time.time() - attempt.claim.created_at.timestamp())
            metrics.TERMINALS.labels(attempt.claim.language, word).inc()
            self._tell(attempt)
            self._desk.live.tell(attempt.job, attempt.result(outcome, written))
        else:
            metrics.FENCED.inc()
            metrics.ATTEMPTS.labels("fenced").inc()
        await self._done_with(attempt)
        return written is not None

    async def _release(self, attempt: Attempt, loss: Loss) -> None:
        get_logger().warning("attempt_abandoned", job_id=str(loss.id), reason=loss.reason, why=loss.message)
        released = await asyncio.shield(asyncio.ensure_future(self._desk.store.release(loss)))
        if released is not None:
            metrics.ATTEMPTS.labels("released").inc()
            self._desk.released(released)
        await self._done_with(attempt)
        token = attempt.token.bytes
        self._forget(attempt)
        self._send(Response(settled=Pb.Settled(lease_token=token)))

    async def _done_with(self, attempt: Attempt) -> None:
        if attempt.delivery is not None:
            await attempt.delivery.settle()

    def _forget(self, attempt: Attempt) -> None:
        if self._attempts.pop(attempt.token.bytes, None) is not None:
            self._free.release()

    # Leases

    async def _keep_leases(self) -> None:
        terms = self._desk.terms
        seen_at = time.monotonic()
        while True:
            await asyncio.sleep(terms.heartbeat_seconds / 2)
            if self.silence > terms.silence_seconds:
                raise HeartbeatMissed(f"nothing was heard for {self.silence:.1f} s")
            now = time.monotonic()
            due = [a for a in self._attempts.values() if now - a.extended_at > terms.lease_term_seconds * 0.3]
            with contextlib.suppress(Unavailable):
                # Only for an executor that was heard: a term counts from its last sign of life.
                if due and self.silence < terms.heartbeat_seconds * 1.5:
                    await self._extend(due)
                if now - seen_at > _SEEN_SECONDS:
                    seen_at = now
                    await self._desk.store.executor_seen(
                        self.executor, self._desk.scheduler_id, self.slots, self._languages
                    )

    async def _extend(self, due: list[Attempt]) -> None:
        begun = time.monotonic()
        standing = {e.token.bytes: e for e in await self._desk.store.extend([(a.job, a.token) for a in due])}
        for attempt in due:
            extension = standing.get(attempt.token.bytes)
            if extension is not None:
                attempt.extended_at = begun
                if extension.cancel_requested:
                    self.cancel(attempt.job)
            elif not attempt.ending:
                # Reaped in the meantime, and perhaps running elsewhere.
                self._forget(attempt)
                self._send(_stale(attempt.token.bytes))


def _stale(token: bytes) -> Response:
    return Response(stale=Pb.Stale(lease_token=token))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
