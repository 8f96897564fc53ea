"""From the outbox to the broker: published with mandatory and correlated confirms, deleted after the confirm.

What was just accepted is handed over in memory: the fast path, kept short. Whatever it does not carry (a crash, a
broken broker, more than it holds) the sweep takes from the table, under row locks that keep two sweeps apart.
Publishing twice is harmless, the second message finds its row claimed, but it costs.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import timedelta

from services.kit.errors import Unavailable
from services.kit.log import get_logger
from services.scheduler import metrics
from services.scheduler.broker import Broker, BrokerDown
from services.scheduler.model import Posting
from services.scheduler.store import Store

_MOST_IN_FLIGHT = 100
"""Unconfirmed publishes at one time; past about 128 the broker only gets slower (research: stack C)."""
_MOST_OFFERED = 500
"""Offers kept in memory: published within half a second, long before a sweep would think them lost."""
_SWEPT = 200
_SWEEP_SECONDS = 0.5
_SWEEP_AGE = timedelta(seconds=4)
"""Younger entries are still on the fast path of whoever accepted them."""
_FORGET_SECONDS = 0.5
"""Deletes gather for so long: one statement instead of many. A crash in between republishes, harmlessly."""
_REPOST_SECONDS = 10.0
_REPOST_SILENCE = timedelta(seconds=30)


class Relay:
    """Empties the outbox while `run` runs."""

    def __init__(self, store: Store, broker: Broker) -> None:
        self._store = store
        self._broker = broker
        self._offered: deque[Posting] = deque()
        self._wake = asyncio.Event()
        self._confirmed: list[int] = []
        self.backlog = 0
        """Entries in the outbox, as counted within the last second, plus what was offered since."""

    def offer(self, posting: Posting) -> None:
        """Publishes soon. Never waits and never fails: the entry is in the table."""
        self.backlog += 1
        if self._broker.up and len(self._offered) < _MOST_OFFERED:
            self._offered.append(posting)
            self._wake.set()

    async def run(self) -> None:
        """Serves until cancelled."""
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._publish_offers(), name="publish offers")
            parts.create_task(self._forget(), name="forget confirmed")
            parts.create_task(self._sweep(), name="sweep outbox")
            parts.create_task(self._count(), name="count outbox")
            parts.create_task(self._repost(), name="repost lost")

    async def _publish_offers(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._offered:
                batch = [self._offered.popleft() for _ in range(min(_MOST_IN_FLIGHT, len(self._offered)))]
                self._confirmed.extend(await self._publish(batch))

    async def _publish(self, batch: Sequence[Posting]) -> list[int]:
        """Publishes all of them, so many at a time, and returns the ids of those confirmed."""
        confirmed: list[int] = []
        for start in range(0, len(batch), _MOST_IN_FLIGHT):
            part = batch[start : start + _MOST_IN_FLIGHT]
            results = await asyncio.gather(*map(self._broker.publish, part), return_exceptions=True)
            for posting, result in zip(part, results, strict=True):
                if result is None:
                    confirmed.append(posting.id)
                elif not isinstance(result, BrokerDown):
                    raise result
        if len(confirmed) < len(batch):
            get_logger().warning("publish_failed", count=len(batch) - len(confirmed))
        return confirmed

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(_FORGET_SECONDS)
            if not self._confirmed:
                continue
            ids, self._confirmed = self._confirmed, []
            try:
                await self._store.posted(ids)
            except Unavailable:
                self._confirmed = ids + self._confirmed

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            await self._broker.wait_up()
            try:
                while self._broker.up and await self._store.sweep(_SWEEP_AGE, _SWEPT, self._publish) == _SWEPT:
                    pass
            except Unavailable:
                continue

    async def _count(self) -> None:
        while True:
            try:
                self.backlog, oldest = await self._store.backlog()
                metrics.OUTBOX_PENDING.set(self.backlog)
                metrics.OUTBOX_AGE.set(oldest)
            except Unavailable:
                pass
            await asyncio.sleep(1.0)

    async def _repost(self) -> None:
        """A broker that lost its disk has confirmed messages that no longer exist; the rows still do."""
        while True:
            await asyncio.sleep(_REPOST_SECONDS)
            try:
                if await self._broker.waiting() == 0:
                    reposted = await self._store.repost(_REPOST_SILENCE)
                    metrics.REPAIRS.labels("repost").inc(reposted)
            except (BrokerDown, Unavailable):
                continue
