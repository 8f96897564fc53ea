"""The admin listener of every process: /metrics for Prometheus, /healthz for liveness, /readyz for readiness."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

Readiness = Callable[[], str | None]
"""None when ready, else one sentence that says why not."""


@asynccontextmanager
async def serve_admin(
    host: str, port: int, ready: Readiness, registry: CollectorRegistry = REGISTRY, *, note: str = ""
) -> AsyncIterator[int]:
    """Listens until the block ends; yields the port. Liveness answers as long as the event loop turns.

    `note` is one line for operators beneath the answer of readiness; it decides nothing.
    """

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def readyz(_: web.Request) -> web.Response:
        reason = ready()
        lines = [line for line in (reason or "ready", note) if line]
        return web.Response(text="".join(f"{line}\n" for line in lines), status=503 if reason else 200)

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
