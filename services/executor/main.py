"""The executor process: `python -m services.executor.main`. The only file that knows every class."""

import asyncio
import functools
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from sentinel.v1 import executor_pb2, status_pb2

from services.executor import metrics
from services.executor.attempt import Attempt
from services.executor.languages import Language, LanguageFileError, describe, detect, jail_files, load_languages
from services.executor.sandbox.cgroup import detect_driver
from services.executor.sandbox.ids import BLOCK_SIZE, take_ids
from services.executor.sandbox.jail import Jails
from services.executor.sandbox.networks import Networks
from services.executor.sandbox.nsjail import Walls, find_nsjail
from services.executor.sandbox.pool import JailPool
from services.executor.sandbox.protocol import SandboxError, SandboxPool
from services.executor.sandbox.rootfs import build_init, prepare_rootfs
from services.executor.sandbox.selftest import self_test
from services.executor.session import Sessions
from services.executor.settings import Settings
from services.kit.admin import serve_admin
from services.kit.lifecycle import run_until_signal
from services.kit.log import configure_logging, get_logger

INIT_SOURCE = Path(__file__).parent / "sandbox" / "init.c"


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Runs until `stop`, then finishes what runs, at most `drain_grace`. Unfit, it stays up and says why."""
    languages, described, missing = detect_languages(settings)
    metrics.begin_at_zero(languages, settings.pool_size)
    for name in missing:
        metrics.LANGUAGE_MISSING.labels(name).set(1)
    refused: list[str] = ["starting"]
    async with AsyncExitStack() as deps:

        def not_ready() -> str | None:
            if refused:
                return refused[0]
            return "draining" if stop.is_set() else None if sessions.connected else "no scheduler answers"

        note = f"languages missing here: {', '.join(missing)}" if missing else ""
        await deps.enter_async_context(serve_admin(settings.admin_host, settings.metrics_port, not_ready, note=note))
        try:
            pool = await deps.enter_async_context(open_pool(settings, languages.values()))
        except SandboxError as error:
            # Fail closed, and stay up to say why: a restart loop would hide the reason.
            refused[0] = str(error)
            get_logger().error("not_fit_to_run_programs", reason=error.reason, why=error.text)
            await stop.wait()
            return
        sessions = Sessions(
            addresses=settings.scheduler_address,
            executor_id=settings.executor_id,
            slots=settings.pool_size,
            languages=described,
            begin=functools.partial(begin_attempt, pool, languages, asyncio.Semaphore(settings.pool_size), settings),
        )
        metrics.SLOTS.labels("busy").set_function(lambda: sessions.holding)
        metrics.SLOTS.labels("free").set_function(lambda: max(0, settings.pool_size - sessions.holding))
        refused.clear()
        get_logger().info("serving", executor_id=settings.executor_id, slots=settings.pool_size, languages=[*languages])
        await serve_until(stop, sessions, grace=settings.drain_grace.total_seconds())
    get_logger().info("drained")


async def serve_until(stop: asyncio.Event, sessions: Sessions, *, grace: float) -> None:
    """Runs sessions until `stop`, then until nothing is held, at most `grace` seconds; what still runs is killed."""
    running = asyncio.ensure_future(sessions.run())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            get_logger().info("draining", held=sessions.holding)
            sessions.drain()
            await asyncio.wait({running}, timeout=grace)
        if not running.done():
            get_logger().warning("attempts_left", held=sessions.holding)
            running.cancel()
            await asyncio.wait({running})
        if not running.cancelled():
            running.result()
    finally:
        stopping.cancel()
        running.cancel()


def begin_attempt(
    pool: SandboxPool,
    languages: dict[str, Language],
    slots: asyncio.Semaphore,
    settings: Settings,
    assignment: executor_pb2.Assignment,
    changed: Callable[[float], None],
) -> Attempt:
    """An attempt with everything it needs."""
    return Attempt(
        assignment,
        pool=pool,
        languages=languages,
        slots=slots,
        executor_id=settings.executor_id,
        changed=changed,
    )


def detect_languages(settings: Settings) -> tuple[dict[str, Language], list[status_pb2.Language], list[str]]:
    """The languages this machine has, as we use and as we offer them. What it lacks is logged, never offered."""
    defaults = status_pb2.DefaultLimits(
        time_limit_ms=settings.default_time_limit_ms,
        memory_limit_kb=settings.default_memory_limit_kb,
        output_limit_kb=settings.default_output_limit_kb,
        process_limit=settings.default_process_limit,
    )
    found: dict[str, Language] = {}
    described: list[status_pb2.Language] = []
    missing: list[str] = []
    known = load_languages(settings.nsjail_config_dir)
    # A compiler may take a third of a second to say its version.
    with ThreadPoolExecutor(4, "detect") as threads:
        versions = list(threads.map(detect, known))
    for language, version in zip(known, versions, strict=True):
        if version is None:
            get_logger().warning("language_missing", language=language.name, packages=language.packages)
            missing.append(language.name)
            continue
        found[language.name] = language
        described.append(describe(language, version, defaults))
    return found, described, missing


def make_networks(count: int) -> Networks | None:
    """Networks for so many jails; None where we have not the rights to make them, as in an unprivileged pod."""
    try:
        return Networks(count)
    except SandboxError as error:
        get_logger().info("a_network_per_jail", why=error.text)
        return None


@asynccontextmanager
async def open_pool(settings: Settings, languages: Iterable[Language]) -> AsyncIterator[JailPool]:
    """Jails for these languages, tested. Raises SandboxError naming what the machine lacks."""
    with ThreadPoolExecutor(2, "kernel") as threads:
        driver = detect_driver(settings.cgroup_parent)
        driver.open()
        first_id = take_ids(driver, settings.first_outside_id)
        try:
            if swept := driver.sweep():
                get_logger().warning("swept_dead_executors", groups=swept)
            init = settings.init_path or build_init(INIT_SOURCE, settings.state_dir)
            depth = settings.warm_jails or settings.pool_size
            indices = min(BLOCK_SIZE, 2 * (depth + settings.pool_size) + 8)
            networks = make_networks(indices)
            walls = Walls(
                nsjail=find_nsjail(settings.nsjail_path),
                rootfs=prepare_rootfs(init, settings.state_dir, jail_files(languages, settings.nsjail_config_dir)),
                policy=str(settings.nsjail_policy_dir / "policy.kafel"),
                networks=networks,
            )
            pool = JailPool(
                Jails(walls, driver, first_id, threads), depth=depth, indices=indices, on_failure=note_failure
            )
            metrics.JAILS.labels("ready").set_function(lambda: pool.ready)
            metrics.JAILS.labels("lent").set_function(lambda: pool.lent)
            try:
                await pool.open()
                await self_test(pool, secrets.token_hex(8))
                yield pool
            finally:
                await pool.close()
                if networks is not None:
                    networks.close()
        finally:
            try:
                driver.close()
            except SandboxError as error:
                note_failure(error)


def note_failure(error: SandboxError) -> None:
    """Counts and logs a failure that no attempt will tell of."""
    metrics.FAILURES.labels(error.reason).inc()
    get_logger().error("sandbox_failed", reason=error.reason, why=error.text)


def main() -> None:
    """Reads the environment and runs."""
    settings = Settings()
    configure_logging("executor", settings.log_level)
    if os.geteuid() != 0:
        get_logger().warning("not_root", why="jails need their own user ids")
    try:
        run_until_signal(functools.partial(serve, settings))
    except LanguageFileError as error:
        get_logger().error("language_file", why=str(error))
        sys.exit(2)


if __name__ == "__main__":
    main()
