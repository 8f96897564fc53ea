"""What must happen again and again: expired leases reaped, partitions made and dropped, gauges set."""

import asyncio
import time
from datetime import timedelta

from services.kit.errors import Unavailable
from services.kit.log import get_logger
from services.scheduler import metrics
from services.scheduler.desk import Desk
from services.scheduler.store import Store

_REAP_SECONDS = 0.5
_MAINTAIN = timedelta(hours=1)
_MAINTAIN_AGAIN = timedelta(seconds=30)
"""After a failure: partitions must not run out because the database was away for one moment an hour."""


async def reap_forever(desk: Desk) -> None:
    """Ends attempts whose lease has expired, every half second, until cancelled.

    After an outage of the database nobody could extend anything, so it waits one whole term first: sessions
    extend what still runs, and only what nobody extends is reaped.
    """
    term = desk.terms.lease_term_seconds
    not_before = time.monotonic() + term
    looked = time.monotonic()
    while True:
        await asyncio.sleep(_REAP_SECONDS)
        if time.monotonic() - looked > term / 2:
            # We were stopped ourselves, or the database was away: the same holds.
            not_before = time.monotonic() + term
        try:
            if time.monotonic() < not_before:
                await desk.store.backlog()
            else:
                await _reap(desk)
        except Unavailable:
            not_before = time.monotonic() + term
            continue
        looked = time.monotonic()


async def _reap(desk: Desk) -> None:
    for released in await desk.store.reap():
        metrics.LEASES_EXPIRED.inc()
        metrics.ATTEMPTS.labels("released").inc()
        get_logger().warning(
            "lease_expired", job_id=str(released.id), attempt=released.attempt, state=str(released.state)
        )
        desk.released(released)


async def maintain_forever(store: Store, *, ahead_days: int, retention_days: int) -> None:
    """Keeps partitions a week ahead and drops those past retention, every hour, until cancelled."""
    while True:
        try:
            await store.maintain(ahead_days=ahead_days, retention_days=retention_days)
            pause = _MAINTAIN
        except Unavailable:
            pause = _MAINTAIN_AGAIN
        except Exception as error:
            get_logger().error("maintenance_failed", error=repr(error))
            pause = _MAINTAIN_AGAIN
        await asyncio.sleep(pause.total_seconds())


async def gauge_forever(desk: Desk) -> None:
    """Sets the gauges of executor sessions, once a second, until cancelled."""
    while True:
        sessions = list(desk.sessions)
        busy = sum(s.busy for s in sessions)
        metrics.SESSIONS.set(len(sessions))
        metrics.HEARD.set(max((s.silence for s in sessions), default=0))
        metrics.SLOTS.labels("busy").set(busy)
        metrics.SLOTS.labels("free").set(max(0, sum(s.slots for s in sessions) - busy))
        await asyncio.sleep(1.0)
