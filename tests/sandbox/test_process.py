"""The executor as a process: with a real scheduler's end of the wire, and killed without a word."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sentinel.v1 import executor_pb2, submission_pb2

from services.executor import languages
from tests.sandbox.conftest import jail_groups, jailed_processes
from tests.unit.executor.fakes import Connection, FakeScheduler, assignment, serve

Pb = executor_pb2
FIRST = 1024 * 4000
"""Outside user ids for the executors of these tests."""
SLEEP = "import os, time\nprint('here', flush=True)\ntime.sleep(60)"


class Executor:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process, admin: int, parent: str) -> None:
        self.process = process
        self.admin = admin
        self.parent = parent

    def jailed(self) -> list[int]:
        return jailed_processes(FIRST, 2048)

    def groups(self) -> set[str]:
        return jail_groups(self.parent, str(FIRST))

    async def readiness(self) -> tuple[int, str]:
        def ask() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz", timeout=2) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()
            except OSError:
                return 0, ""

        return await asyncio.to_thread(ask)

    async def metrics(self) -> str:
        def ask() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=2) as answer:
                return str(answer.read().decode())

        return await asyncio.to_thread(ask)


@contextlib.asynccontextmanager
async def executor(address: str, state: Path, parent: str, **settings: str) -> AsyncIterator[Executor]:
    admin = _free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "SCHEDULER_ADDRESS": address,
        "METRICS_PORT": str(admin),
        "POOL_SIZE": "2",
        "STATE_DIR": str(state),
        "CGROUP_PARENT": parent,
        "FIRST_OUTSIDE_ID": str(FIRST),
        "DRAIN_GRACE": "5s",
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.executor.main", env=environment, stdout=subprocess.DEVNULL
    )
    try:
        yield Executor(process, admin, parent)
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 15)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def users(pids: list[int]) -> set[int]:
    return {Path(f"/proc/{pid}").stat().st_uid for pid in pids}


async def gone(executor: Executor, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while executor.jailed():
            await asyncio.sleep(0.01)


async def run(connection: Connection, **submission: object) -> list[executor_pb2.Report]:
    token = os.urandom(16)
    connection.say(assignment=assignment(token, **submission))
    reports = await connection.reports_to_end()
    connection.say(settled=Pb.Settled(lease_token=token))
    return reports


async def test_hello_in_three_languages_over_the_wire(state: Path, cgroup_parent: str) -> None:
    scheduler = FakeScheduler()
    async with serve(scheduler) as (address, _), executor(address, state, cgroup_parent) as process:
        connection = await scheduler.connection()
        compiled = {language.name: language.compiled for language in connection.hello.languages}
        assert [compiled[name] for name in ("python", "c", "cpp")] == [False, True, True]
        for language, source in (
            ("python", "print('héllo')"),
            ("c", '#include <stdio.h>\nint main(void) { puts("héllo"); }'),
            ("cpp", '#include <iostream>\nint main() { std::cout << "héllo\\n"; }'),
        ):
            reports = await run(connection, language=language, source_code=source)

            output = b"".join(report.output.data for report in reports)
            assert output.decode() == "héllo\n"
            assert reports[-1].finished.verdict == Pb.VERDICT_SUCCESS
            evidence = reports[-1].finished.evidence
            assert evidence.wall_time_ms > 0
            assert evidence.cpu_time_ms > 0
            assert evidence.memory_peak_kb > 0
            assert evidence.exit_code == 0
            assert evidence.executor == connection.hello.executor_id
        assert (await process.readiness())[0] == 200
        assert 'sentinel_executor_slots{state="busy"} 0.0' in await process.metrics()


async def test_a_missing_toolchain_is_told_to_operators_and_offered_to_nobody(
    state: Path, cgroup_parent: str, tmp_path: Path
) -> None:
    python = (Path(languages.__file__).parent / "languages" / "python.toml").read_text()
    (tmp_path / "python.toml").write_text(python)
    elsewhere = python.replace("/usr/bin/python3", "/nonexistent/python3")
    elsewhere = elsewhere.replace('name = "python"', 'name = "snake"').replace('["python3", "py"]', "[]")
    (tmp_path / "snake.toml").write_text(elsewhere)
    scheduler = FakeScheduler()
    async with (
        serve(scheduler) as (address, _),
        executor(address, state, cgroup_parent, NSJAIL_CONFIG_DIR=str(tmp_path)) as process,
    ):
        connection = await scheduler.connection()

        assert [language.name for language in connection.hello.languages] == ["python"]
        assert (await process.readiness())[1].splitlines()[1:] == ["languages missing here: snake"]
        assert 'sentinel_executor_language_missing{language="snake"} 1.0' in await process.metrics()


async def test_several_files_make_one_program(state: Path, cgroup_parent: str) -> None:
    scheduler = FakeScheduler()
    async with serve(scheduler) as (address, _), executor(address, state, cgroup_parent):
        connection = await scheduler.connection()
        files = [
            submission_pb2.SourceFile(
                name="app.cpp", content='#include "lib/sum.hpp"\nint main() { return sum(2, 3); }'
            ),
            submission_pb2.SourceFile(name="lib/sum.hpp", content="int sum(int, int);"),
            submission_pb2.SourceFile(name="lib/sum.cpp", content="int sum(int a, int b) { return a + b; }"),
        ]
        assert (await run(connection, language="cpp", files=files))[-1].finished.evidence.exit_code == 5
        files = [
            submission_pb2.SourceFile(name="start.py", content="import sys, lib\nprint(lib.x, sys.argv[1:])"),
            submission_pb2.SourceFile(name="lib.py", content="x = 7"),
        ]
        reports = await run(connection, files=files, args=["a b"])

        assert b"".join(report.output.data for report in reports) == b"7 ['a b']\n"


async def test_a_killed_executor_takes_its_programs_along_and_its_successor_sweeps_up(
    state: Path, cgroup_parent: str
) -> None:
    scheduler = FakeScheduler()
    async with serve(scheduler) as (address, _):
        async with executor(address, state, cgroup_parent) as process:
            connection = await scheduler.connection()
            connection.say(assignment=assignment(source_code=SLEEP))
            while not (await connection.report()).HasField("output"):
                pass
            assert process.jailed()
            process.process.kill()
            await process.process.wait()
            await gone(process, 1.0)
            assert process.groups()
        async with executor(address, state, cgroup_parent) as process:
            connection = await scheduler.connection()
            before = process.groups()

            assert (await run(connection))[-1].finished.verdict == Pb.VERDICT_SUCCESS
            # Only what its own pool has made is there.
            assert len(before) <= 4
        assert process.process.returncode == 0
        assert process.groups() == set()


async def test_a_cancel_kills_the_program_within_100_ms(state: Path, cgroup_parent: str) -> None:
    scheduler = FakeScheduler()
    async with serve(scheduler) as (address, _), executor(address, state, cgroup_parent):
        connection = await scheduler.connection()
        token = b"c" * 16
        connection.say(assignment=assignment(token, source_code=SLEEP))
        while not (await connection.report()).HasField("output"):
            pass
        asked = asyncio.get_running_loop().time()
        connection.say(cancel=Pb.CancelAttempt(lease_token=token))
        reports = await connection.reports_to_end()

        assert reports[-1].finished.verdict == Pb.VERDICT_CANCELLED
        assert asyncio.get_running_loop().time() - asked < 0.1


async def test_sigterm_lets_a_program_finish_and_exits_with_0(state: Path, cgroup_parent: str) -> None:
    scheduler = FakeScheduler()
    async with serve(scheduler) as (address, _), executor(address, state, cgroup_parent) as process:
        connection = await scheduler.connection()
        token = b"d" * 16
        source = "import time\nprint('here', flush=True)\ntime.sleep(0.5)\nprint('done')"
        connection.say(assignment=assignment(token, source_code=source))
        while not (await connection.report()).HasField("output"):
            pass
        process.process.send_signal(signal.SIGTERM)
        await connection.message("draining")
        reports = await connection.reports_to_end()
        connection.say(settled=Pb.Settled(lease_token=token))

        assert reports[-1].finished.verdict == Pb.VERDICT_SUCCESS
        assert await asyncio.wait_for(process.process.wait(), 10) == 0
        assert process.jailed() == []
        assert process.groups() == set()


async def test_a_program_that_outstays_the_grace_is_killed(state: Path, cgroup_parent: str) -> None:
    scheduler = FakeScheduler()
    async with (
        serve(scheduler) as (address, _),
        executor(address, state, cgroup_parent, DRAIN_GRACE="300ms") as process,
    ):
        connection = await scheduler.connection()
        connection.say(assignment=assignment(source_code=SLEEP, time_limit_ms=30_000))
        while not (await connection.report()).HasField("output"):
            pass
        process.process.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(process.process.wait(), 10) == 0
        assert process.jailed() == []
        assert process.groups() == set()


async def test_a_machine_that_lacks_something_is_told_why_and_gets_no_work(state: Path, cgroup_parent: str) -> None:
    scheduler = FakeScheduler()
    async with (
        serve(scheduler) as (address, _),
        executor(address, state, cgroup_parent, NSJAIL_PATH="/nonexistent") as process,
    ):
        async with asyncio.timeout(10):
            while (answer := await process.readiness())[0] == 0 or "starting" in answer[1]:
                await asyncio.sleep(0.05)

        assert answer[0] == 503
        assert answer[1].startswith("NSJAIL: ")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await scheduler.connection()


async def test_two_executors_on_one_machine_do_not_share_user_ids(state: Path, cgroup_parent: str) -> None:
    scheduler = FakeScheduler()
    async with (
        serve(scheduler) as (address, _),
        executor(address, state, cgroup_parent),
        executor(address, state, cgroup_parent) as other,
    ):
        first, second = await scheduler.connection(), await scheduler.connection()
        source = "import time\nprint('here', flush=True)\ntime.sleep(0.3)"
        for connection in (first, second):
            connection.say(assignment=assignment(source_code=source))
        for connection in (first, second):
            while not (await connection.report()).HasField("output"):
                pass
        blocks = {(user - FIRST) // 1024 for user in users(other.jailed()) if user >= FIRST}

        assert blocks == {0, 1}
        for connection in (first, second):
            assert (await connection.reports_to_end())[-1].finished.verdict == Pb.VERDICT_SUCCESS
            connection.say(settled=Pb.Settled(lease_token=b"t" * 16))
