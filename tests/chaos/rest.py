"""What a mesh holds once nothing is under way: rows, queues, leases, and what no job may leave behind."""

import asyncio
from pathlib import Path

import aio_pika
import aiohttp
import asyncpg

from deploy.local import jails
from deploy.local.mesh import Mesh
from tests.chaos.history import AtRest, Row

_FINGERPRINT = "md5(submissions::text)"
_UIDS_PER_MESH = 1_000_000


async def fingerprints(mesh: Mesh, jobs: list[str]) -> dict[str, str]:
    """A digest of each whole row, by id."""
    connection = await asyncpg.connect(mesh.database_url)
    try:
        rows = await connection.fetch(
            f"select id::text, {_FINGERPRINT} as digest from submissions where id = any($1::uuid[])", jobs
        )
        return {row["id"]: row["digest"] for row in rows}
    finally:
        await connection.close()


async def at_rest(mesh: Mesh, within: float = 15) -> AtRest:
    """Waits until queue, outbox and leases are empty, or as long as `within`, and tells what there is then."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        found = await _look(mesh)
        quiet = not (found.queue_ready or found.queue_unacked or found.outbox or found.leases)
        if quiet or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(0.3)


async def _look(mesh: Mesh) -> AtRest:
    connection = await asyncpg.connect(mesh.database_url)
    try:
        rows = await connection.fetch(
            "select id::text as job, state, attempt, lease_until is not null as leased, stdout,"
            f" {_FINGERPRINT} as digest from submissions"
        )
        outbox = await connection.fetchval("select count(*) from outbox")
    finally:
        await connection.close()
    ready, unacked = await _queue(mesh, "execution_tasks")
    letters, _ = await _queue(mesh, "dead_letter_queue")
    return AtRest(
        rows={
            row["job"]: Row(
                job_id=row["job"],
                state=row["state"],
                attempt=row["attempt"],
                lease_standing=row["leased"],
                stdout=row["stdout"] or b"",
                fingerprint=row["digest"],
            )
            for row in rows
        },
        queue_ready=ready,
        queue_unacked=unacked,
        dead_letters=letters,
        outbox=outbox,
        leases=sum(row["leased"] for row in rows),
        leftovers=leftovers(mesh),
    )


async def _queue(mesh: Mesh, name: str) -> tuple[int, int]:
    """Ready from the queue itself; unacked from the management, which is a few seconds late."""
    async with await aio_pika.connect(mesh.rabbitmq_url) as connection:
        queue = await (await connection.channel()).declare_queue(name, passive=True)
        ready = queue.declaration_result.message_count or 0
    url = f"http://127.0.0.1:{mesh.ports.rabbitmq_management.number}/api/queues/%2F/{name}"
    headers = {"Authorization": aiohttp.encode_basic_auth("sentinel", "sentinel_secret")}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as answer:
        told = await answer.json()
    return ready, int(told.get("messages_unacknowledged", 0))


def leftovers(mesh: Mesh) -> list[str]:
    """Processes under a uid of this mesh's jails that are no waiting init."""
    first = jails.first_user_id(mesh)
    uids = range(first, first + _UIDS_PER_MESH)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            uid = process.stat().st_uid
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if uid in uids and "init" not in command:
            found.append(f"process {process.name} of uid {uid}: {command[:80]}")
    return found
