"""Memory while the queue holds very many submissions and nobody takes any."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import proc
from bench.backlog import Backlog, backlog
from bench.client import SOURCE, Client, clients, python
from bench.figures import Figure, Goal, Section, Table
from bench.ledger import SUPERVISOR
from bench.plan import Plan
from bench.private_mesh import BenchMesh

_CONNECTIONS = 2
_BATCH = 100
_BATCHES_IN_FLIGHT = 4
_PUBLISHED_WITHIN_SECONDS = 120.0
_FLAT_PERCENT = 10.0
_SAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Memory of every program at one length of the queue."""

    title: str
    waiting: int
    """Submissions."""
    messages: int
    """In RabbitMQ."""
    memory: Mapping[str, proc.Memory]


def measure(mesh: BenchMesh, runner: asyncio.Runner, plan: Plan) -> Section:
    """Stops the executors, fills the queue and leaves it full: the mesh is of no use for other figures afterwards."""
    looks = runner.run(_fill_and_look(mesh, plan))
    return report(looks)


async def _fill_and_look(mesh: BenchMesh, plan: Plan) -> list[Look]:
    mesh.stop_executors()
    async with backlog(mesh.mesh) as waits, clients(mesh.edge, _CONNECTIONS) as callers:
        looks = [await _look(mesh, waits, plan.settle_seconds / 3, "at first")]
        for length in (plan.held_first, plan.held_last):
            await _fill(waits, callers, length)
            looks.append(await _look(mesh, waits, plan.settle_seconds, "filled"))
        looks.append(await _look(mesh, waits, plan.settle_seconds, "held on"))
        return looks


async def _fill(waits: Backlog, callers: Sequence[Client], length: int) -> None:
    """Submits in batches until that many wait."""
    missing = length - await waits.queued()
    batch = [python(SOURCE)] * _BATCH

    async def work(caller: Client) -> None:
        nonlocal missing
        while missing > 0:
            count = min(_BATCH, missing)
            missing -= count
            accepted = await caller.submit_batch(batch[:count])
            if accepted < count:
                # The outbox is full: the relay is behind, as it may be.
                missing += count - accepted
                await asyncio.sleep(0.2)

    async with asyncio.TaskGroup() as group:
        for number in range(_BATCHES_IN_FLIGHT):
            group.create_task(work(callers[number % len(callers)]))
    await waits.settle(_PUBLISHED_WITHIN_SECONDS)


async def _look(mesh: BenchMesh, waits: Backlog, settle_seconds: float, title: str) -> Look:
    await asyncio.sleep(settle_seconds)
    samples = []
    for _ in range(_SAMPLES):
        await asyncio.sleep(0.5)
        samples.append(memory_by_program(mesh.pids()))
    middle = {
        name: sorted((sample[name] for sample in samples), key=lambda memory: memory.own)[_SAMPLES // 2]
        for name in samples[0]
    }
    return Look(title=title, waiting=await waits.queued(), messages=await waits.messages(), memory=middle)


def memory_by_program(pids: Mapping[str, int]) -> dict[str, proc.Memory]:
    """Every program with all its children; the supervisor by itself."""
    stats = proc.read_all()
    found: dict[str, proc.Memory] = {}
    for name, pid in pids.items():
        total = proc.memory(pid)
        if name != SUPERVISOR:
            for child in proc.descendants(stats, pid):
                total += proc.memory(child.pid)
        found[name] = total
    return found


def change_percent(before: int, after: int) -> float:
    """How much more, in percent; 0 where there was nothing."""
    return 100 * (after - before) / before if before else 0.0


def report(looks: Sequence[Look]) -> Section:
    """Figures and the table. The looks: at first, filled to the first length, to the last, held on."""
    _, first, last, held = looks
    whole = {name: change_percent(first.memory[name].own, last.memory[name].own) for name in first.memory}
    private = {name: change_percent(first.memory[name].anonymous, last.memory[name].anonymous) for name in first.memory}
    holding = {name: change_percent(last.memory[name].own, held.memory[name].own) for name in last.memory}
    return Section(
        title="Memory while the queue holds very many",
        method=(
            f"Executors stopped; the queue filled with `SubmitBatch` to {first.waiting:,} and then to {last.waiting:,} "
            "waiting submissions, each published and confirmed. Memory of every program with all its "
            "children: anonymous and shared memory, each page counted once (PSS without mapped files, whose share "
            f"depends on who else runs the same program). Median of {_SAMPLES} looks after a pause, nothing forced to "
            "collect garbage. Then the data is deleted."
        ),
        figures=[
            _change(f"memory flat, {first.waiting:,} → {last.waiting:,}", "most any process changed", whole),
            _change("… anonymous only", "the same without shared memory", private),
            _change("… while held", "most any process changed while the queue was held", holding),
            Figure(
                key="", title="messages in RabbitMQ per waiting submission", value=held.messages / max(1, held.waiting)
            ),
        ],
        tables=[_table(looks, whole, private)],
        notes=_notes(whole, held),
    )


def _change(key: str, title: str, changes: Mapping[str, float]) -> Figure:
    name, change = max(changes.items(), key=lambda item: abs(item[1]))
    return Figure(key=key, title=f"{title} ({name})", value=abs(change), unit="%", goal=Goal("≤", _FLAT_PERCENT))


def _table(looks: Sequence[Look], whole: Mapping[str, float], private: Mapping[str, float]) -> Table:
    names = sorted(looks[-1].memory, key=lambda name: -looks[-1].memory[name].own)
    filled = f"{looks[1].waiting:,} → {looks[2].waiting:,}"
    return Table(
        title="Memory, MiB",
        columns=[
            "process",
            *(f"at {look.waiting:,} ({look.title})" for look in looks),
            f"{filled}",
            f"{filled}, anonymous only",
            "PSS in the end",
            "RSS in the end",
        ],
        rows=[
            [
                name,
                *(f"{look.memory[name].own / 1024:.1f}" for look in looks),
                f"{whole[name]:+.1f} %",
                f"{private[name]:+.1f} %",
                f"{looks[-1].memory[name].pss / 1024:.1f}",
                f"{looks[-1].memory[name].rss / 1024:.1f}",
            ]
            for name in names
        ],
    )


def _notes(whole: Mapping[str, float], held: Look) -> list[str]:
    notes = [
        (
            "RSS counts the pages that PostgreSQL's processes share once for each of them. Its shared memory is the "
            "page cache of `shared_buffers` (256 MB at most): it fills as data is first touched and stays."
        )
    ]
    if held.messages > held.waiting:
        notes.append(
            f"RabbitMQ holds {held.messages:,} messages for {held.waiting:,} waiting submissions: some were published "
            "more than once while the queue was filled as fast as it goes. A second message is dropped when it is "
            "taken; until then it costs memory."
        )
    growing = {name: change for name, change in whole.items() if change > _FLAT_PERCENT}
    if growing:
        told = ", ".join(f"{name} by {change:.0f} %" for name, change in sorted(growing.items()))
        notes.append(f"What grows: {told}.")
    return notes
