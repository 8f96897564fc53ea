"""What every executor session of this scheduler shares: the store, the broker, the live stream, and each other."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from services.record.live import LiveWriter
from services.record.model import State
from services.scheduler import metrics
from services.scheduler.attempt import result_event
from services.scheduler.broker import Broker
from services.scheduler.model import Released
from services.scheduler.relay import Relay
from services.scheduler.store import Store

if TYPE_CHECKING:
    from services.scheduler.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What executors are told when they come."""

    lease_term_seconds: float
    heartbeat_seconds: float
    credit_bytes: int

    @property
    def silence_seconds(self) -> float:
        """An executor not heard for so long is taken for gone: before its leases run out."""
        return min(self.heartbeat_seconds * 3.5, self.lease_term_seconds * 0.8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Owned by `main`; sessions enter and leave."""

    scheduler_id: str
    store: Store
    broker: Broker
    relay: Relay
    live: LiveWriter
    terms: Terms
    draining: asyncio.Event
    sessions: "set[Session]" = field(default_factory=set)

    def cancel(self, job: UUID) -> None:
        """Passes a cancel on to whichever session here holds the submission, if any does."""
        for session in self.sessions:
            session.cancel(job)

    def ended(self, job: UUID, attempt: int, language: str, word: str) -> None:
        """A submission became terminal here: counts it and tells its watchers."""
        metrics.TERMINALS.labels(language, word).inc()
        self.live.tell(job, result_event(attempt))

    def released(self, released: Released) -> None:
        """An attempt was lost: the next one is on its way, or the submission has ended."""
        if released.posting is not None:
            self.relay.offer(released.posting)
        if released.state is State.FAILED:
            metrics.DEAD_LETTERED.labels(released.reason).inc()
            self.ended(released.id, released.attempt, released.language, "INTERNAL_ERROR")
        elif released.state is State.CANCELLED:
            self.ended(released.id, released.attempt, released.language, "CANCELLED")
