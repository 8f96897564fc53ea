"""Every language, in real jails as an executor builds them."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sentinel.v1 import executor_pb2, scheduler_pb2

from services.executor.attempt import Attempt
from services.executor.languages import Language
from services.executor.main import detect_languages, open_pool
from services.executor.sandbox.pool import JailPool
from services.executor.settings import Settings

OUTSIDE = 3_100_000


class Workshop:
    """Runs submissions in every language that this machine has."""

    def __init__(self, pool: JailPool, languages: dict[str, Language]) -> None:
        self.pool = pool
        self.languages = languages

    async def run(self, request: scheduler_pb2.SubmitRequest) -> list[executor_pb2.Report]:
        """One attempt, from the assignment to its last report."""
        assignment = executor_pb2.Assignment(job_id="job", attempt=1, lease_token=b"t", submission=request)
        attempt = Attempt(
            assignment,
            pool=self.pool,
            languages=self.languages,
            slots=asyncio.Semaphore(1),
            executor_id="workshop",
            changed=lambda _may_wait: None,
        )
        attempt.reports.begin_session(64 << 20)
        await attempt.run()
        reports = []
        while (report := attempt.reports.next_nowait()) is not None:
            reports.append(report)
        return reports


@pytest.fixture(scope="session")
async def workshop() -> AsyncIterator[Workshop]:
    """One pool for all tests, in a place that jails can reach."""
    state = Path(tempfile.mkdtemp(prefix="sentinel-test-", dir="/var/tmp"))
    state.chmod(0o755)
    settings = Settings(
        state_dir=state, cgroup_parent=state.name, first_outside_id=OUTSIDE, pool_size=2, executor_id="workshop"
    )
    languages, _, _ = detect_languages(settings)
    try:
        async with open_pool(settings, languages.values()) as pool:
            yield Workshop(pool, languages)
    finally:
        for mount in Path("/proc/mounts").read_text().splitlines():
            parent = Path(mount.split()[1], state.name)
            if mount.split()[2].startswith("cgroup") and parent.is_dir():
                parent.rmdir()
        shutil.rmtree(state)
