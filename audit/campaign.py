"""One run of the audit against a mesh that is up."""

import asyncio
import datetime as dt
import fnmatch
import time
from collections.abc import Callable, Sequence

import asyncpg
import grpc

from audit.canary import canaries
from audit.case import Case
from audit.door import Edge
from audit.invariants import LocalHost
from audit.neighbours import Neighbours
from audit.report import Report
from audit.rows import DatabaseRows
from audit.runner import Runner, waves
from audit.stage import Record
from audit.target import Target

WIDTH = 4
"""Attacks beside each other. More only wait for the two cores they share."""


def chosen(cases: Sequence[Case], patterns: str) -> list[Case]:
    """Cases whose id or entry matches one of the comma-separated patterns; all for none."""
    words = [word.strip() for word in patterns.split(",") if word.strip()]
    if not words:
        return list(cases)
    return [case for case in cases if any(fnmatch.fnmatch(i, w) for w in words for i in (case.id, case.entry))]


async def run(
    target: Target,
    cases: Sequence[Case],
    *,
    whole: bool,
    neighbours: int = 0,
    others: bool = False,
    width: int = WIDTH,
    on_record: Callable[[Record], None] = lambda _: None,
) -> Report:
    """Runs every case once. With `others`, the record may hold submissions of others that are not done with."""
    report = Report(began=dt.datetime.now(dt.UTC), cases={case.id: case for case in cases}, whole=whole)
    begun = time.monotonic()
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    async with (
        canaries() as canary,
        grpc.aio.insecure_channel(target.edge, options=options) as channel,
        asyncpg.create_pool(target.database_url, min_size=1, max_size=2) as pool,
    ):
        edge = Edge(channel)
        target = target.with_secret(canary.secret)
        environment = {
            "AUDIT_CANARY": str(canary.directory),
            "AUDIT_PORT": str(canary.port),
            "AUDIT_ABSTRACT": canary.abstract,
            "AUDIT_PORTS": ",".join(map(str, target.ports)),
            "AUDIT_PATHS": ":".join(map(str, target.guarded)),
        }
        company = Neighbours(edge, target, environment, neighbours) if neighbours else None
        rows = DatabaseRows(pool)
        runner = Runner(
            target=target,
            door=edge,
            host=LocalHost(target, canary),
            rows=rows,
            environment=environment,
            languages=await edge.languages(),
            neighbours=company,
        )
        report.troubles += await runner.prepare()
        for wave in waves(cases, 1 if neighbours else width):
            for record in await runner.wave(wave):
                report.records.append(record)
                on_record(record)
        pending = 0 if others else await _drained(rows)
        if pending:
            report.troubles.append(f"(f) {pending} rows are not done with at the end")
        report.controls = runner.controls
        report.neighbours = company.ratios if company is not None else []
    report.seconds = time.monotonic() - begun
    return report


async def _drained(rows: DatabaseRows) -> int:
    deadline = time.monotonic() + 5
    while (pending := await rows.pending()) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return pending
