"""With 200 submissions in flight one part breaks. Nothing accepted is lost, nothing is told twice or wrongly."""

import asyncio
import random
import time
from collections.abc import Callable

import aiohttp
import asyncpg
import grpc
import pytest

from deploy.local.mesh import Mesh
from tests.chaos import checker, faults
from tests.chaos.history import History, Story
from tests.chaos.load import Client, make_story
from tests.chaos.rest import at_rest, fingerprints

SUBMISSIONS = 200
STRIKE_AFTER = 20
"""Ended submissions; the rest is queued, running, or being settled."""
MOST_BEGUN_AGAIN = 4


@pytest.mark.timeout(150)
@pytest.mark.parametrize("fault", faults.ALL, ids=[fault.name for fault in faults.ALL])
async def test_every_invariant_holds_when(breakable: Mesh, fault: faults.Fault) -> None:
    await _empty(breakable)
    seed = 20261123
    rng = random.Random(seed)
    stories: list[Story] = []
    early: dict[str, str] = {}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{breakable.ports.edge.number}") as channel:
        clients = []
        for _ in range(SUBMISSIONS):
            story, source = make_story(rng)
            stories.append(story)
            clients.append(asyncio.create_task(Client(channel, story, source).run()))
        await _until(lambda: sum(bool(s.job_id) for s in stories) == SUBMISSIONS, 30, "all accepted")
        await _until(lambda: sum(bool(s.ended_at) for s in stories) >= STRIKE_AFTER, 30, "some ended")

        early.update(await fingerprints(breakable, [s.job_id for s in stories if s.ended_at]))
        await fault.strike(breakable)
        ended_at = time.monotonic()
        await asyncio.wait_for(asyncio.gather(*clients), 90)

    history = History(stories=stories, fault_ended_at=ended_at, early_rows=early, at_rest=await at_rest(breakable))
    violations = checker.broken(history)
    assert not violations, f"seed {seed}: {len(violations)} violations\n" + "\n".join(violations[:20])
    assert len(early) >= STRIKE_AFTER
    if fault.strike is faults.kill_scheduler:
        # Its executors went to the other one and kept what they ran; only what was on its way to them began again.
        again = sum(row.attempt > 1 for row in history.at_rest.rows.values())
        assert again <= MOST_BEGUN_AGAIN, f"{again} attempts were lost with their scheduler"
    if fault.strike is faults.freeze_executor:
        await _until_fenced(breakable)


async def _until(done: Callable[[], bool], within: float, what: str) -> None:
    deadline = time.monotonic() + within
    while not done():
        assert time.monotonic() < deadline, f"not {what} within {within} s"
        await asyncio.sleep(0.02)


async def _empty(mesh: Mesh) -> None:
    connection = await asyncpg.connect(mesh.database_url)
    await connection.execute("truncate submissions, outbox, idempotency_keys")
    await connection.close()


async def _until_fenced(mesh: Mesh) -> None:
    async with asyncio.timeout(15):
        while not await _fenced(mesh):
            await asyncio.sleep(0.2)


async def _fenced(mesh: Mesh) -> float:
    """Late results that the schedulers have counted."""
    total = 0.0
    async with aiohttp.ClientSession() as session:
        for n in range(mesh.schedulers):
            async with session.get(f"http://{mesh.ports.scheduler_admin(n).address}/metrics") as answer:
                for line in (await answer.text()).splitlines():
                    if line.startswith("sentinel_results_fenced_total "):
                        total += float(line.split()[1])
    return total
