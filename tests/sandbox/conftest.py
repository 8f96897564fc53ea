"""Real jails. Every test is followed by a control program and by a look at what the host has left."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier

import pytest

from services.executor import sandbox
from services.executor.sandbox.cgroup import CgroupDriver, detect_driver
from services.executor.sandbox.jail import Jails
from services.executor.sandbox.networks import Networks
from services.executor.sandbox.nsjail import Walls, find_nsjail
from services.executor.sandbox.pool import JailPool
from services.executor.sandbox.protocol import Command, Ending, Exited, Limits, SandboxError, Stdin, Stream, Usage
from services.executor.sandbox.rootfs import build_init, prepare_rootfs

HERE = Path(sandbox.__file__).parent
OWNER = "test"
OUTSIDE = 3_000_000
INDICES = 24
LIMITS = Limits(wall_ms=5000, cpu_ms=5000, memory_bytes=64 << 20, processes=32, output_bytes=65536, file_bytes=32 << 20)
PYTHON = ("/usr/bin/python3", "-S", "-s", "-B", "-u", "main.py")
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/work", "LC_ALL": "C.UTF-8"}


@dataclass
class Outcome:
    """How a program ended, and what it said."""

    ending: Ending
    usage: Usage
    said: dict[Stream, bytearray] = field(default_factory=dict)

    @property
    def stdout(self) -> str:
        return bytes(self.said[Stream.STDOUT]).decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return bytes(self.said[Stream.STDERR]).decode("utf-8", "replace")


class Laboratory:
    """Runs programs in fresh jails."""

    def __init__(self, pool: JailPool, driver: CgroupDriver, cgroup_parent: str, failures: list[SandboxError]) -> None:
        self.pool = pool
        self.driver = driver
        self.cgroup_parent = cgroup_parent
        self.failures = failures

    async def python(self, source: str, *, stdin: bytes | Stdin = b"", **limits: int) -> Outcome:
        """Runs a Python program."""
        return await self.run({"main.py": source}, [*PYTHON], stdin=stdin, **limits)

    async def c(
        self, source: str, *, stdin: bytes | Stdin = b"", flags: tuple[str, ...] = (), **limits: int
    ) -> Outcome:
        """Compiles and runs a C program, in one jail."""
        return await self._compiled("main.c", ["/usr/bin/gcc", "-O1", *flags], source, stdin, limits)

    async def cpp(self, source: str, *, stdin: bytes | Stdin = b"", **limits: int) -> Outcome:
        """Compiles and runs a C++ program, in one jail."""
        return await self._compiled("main.cpp", ["/usr/bin/g++", "-O1"], source, stdin, limits)

    async def shell(self, script: str, **limits: int) -> Outcome:
        """Runs a shell script."""
        return await self.run({}, ["/bin/sh", "-c", script], stdin=b"", **limits)

    async def run(
        self, files: dict[str, str], argv: list[str], *, stdin: bytes | Stdin = b"", **limits: int
    ) -> Outcome:
        """Runs one command among files."""
        async with self.pool.checkout() as box:
            for name, content in files.items():
                await box.put(name, content.encode())
            outcome = Outcome(*_NOT_YET, said={stream: bytearray() for stream in Stream})
            outcome.ending, outcome.usage = await box.run(
                Command(argv=argv, env=ENV),
                replace(LIMITS, **limits),
                stdin=stdin if isinstance(stdin, Stdin) else Stdin(stdin),
                output=lambda stream, data: outcome.said[stream].extend(data),
            )
            return outcome

    async def _compiled(
        self, name: str, compiler: list[str], source: str, stdin: bytes | Stdin, limits: dict[str, int]
    ) -> Outcome:
        async with self.pool.checkout() as box:
            await box.put(name, source.encode())
            said = bytearray()
            ending, _ = await box.run(
                Command(argv=[*compiler, "-o", "/tmp/program", name, "-lpthread"], env=ENV, merge_output=True),
                replace(LIMITS, wall_ms=20_000, cpu_ms=20_000, memory_bytes=512 << 20),
                stdin=Stdin(),
                output=lambda _, data: said.extend(data),
                more=True,
            )
            assert ending == Exited(0), said.decode()
            outcome = Outcome(*_NOT_YET, said={stream: bytearray() for stream in Stream})
            outcome.ending, outcome.usage = await box.run(
                Command(argv=["/tmp/program"], env=ENV),
                replace(LIMITS, **limits),
                stdin=stdin if isinstance(stdin, Stdin) else Stdin(stdin),
                output=lambda stream, data: outcome.said[stream].extend(data),
            )
            return outcome

    async def quiet(self) -> None:
        """Waits until the pool has destroyed and rebuilt what it must."""
        async with asyncio.timeout(10):
            while self.pool._chores or self.pool.lent:
                await asyncio.sleep(0.005)

    def processes(self) -> list[int]:
        """Processes on the host that run as a user of a jail."""
        return jailed_processes(OUTSIDE, INDICES)

    def groups(self) -> set[str]:
        """Control groups of jails."""
        return jail_groups(self.cgroup_parent, OWNER)


_NOT_YET: tuple[Ending, Usage] = (
    Exited(0),
    Usage(wall_ms=0, cpu_ms=0, memory_peak_bytes=0, oom_events=0, peak_processes=0),
)


def jailed_processes(first: int, count: int) -> list[int]:
    """Processes whose user id lies in a range. Zombies count."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if first <= entry.stat().st_uid < first + count or _real_uid(entry) in range(first, first + count):
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def _real_uid(entry: Path) -> int:
    for line in (entry / "status").read_text().splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[1])
    return -1


def jail_groups(parent: str, owner: str) -> set[str]:
    """Names of the groups beneath an owner, over all hierarchies."""
    mounts = [
        Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines() if "cgroup" in line.split()[2]
    ]
    roots = [mount / parent / owner for mount in mounts]
    return {group.name for root in roots if root.is_dir() for group in root.iterdir() if group.is_dir()}


@pytest.fixture(scope="session")
def state() -> Iterator[Path]:
    """Where jails can reach it: pytest's own directories are closed to others."""
    if os.geteuid() != 0:
        pytest.skip("jails need root here: run the sandbox tests as root")
    directory = Path("/var/tmp") / f"sentinel-test-{os.getpid()}"
    directory.mkdir(mode=0o755)
    yield directory
    for path in sorted(directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    directory.rmdir()


@pytest.fixture(scope="session")
def cgroup_parent() -> Iterator[str]:
    """A parent of our own, gone at the end."""
    name = f"sentinel-test-{os.getpid()}"
    yield name
    for line in Path("/proc/mounts").read_text().splitlines():
        parent = Path(line.split()[1]) / name
        if "cgroup" in line.split()[2] and parent.is_dir():
            parent.rmdir()


@pytest.fixture(scope="session")
async def laboratory(state: Path, cgroup_parent: str) -> AsyncIterator[Laboratory]:
    """A pool of real jails."""
    failures: list[SandboxError] = []
    with ThreadPoolExecutor(2) as threads:
        both = Barrier(2)
        list(threads.map(lambda _: both.wait(), range(2)))  # threads come with their first work; have them now
        driver = detect_driver(cgroup_parent)
        driver.open()
        assert driver.take(OWNER)
        walls = Walls(
            nsjail=find_nsjail(""),
            rootfs=prepare_rootfs(build_init(HERE / "init.c", state), state),
            policy=str(HERE / "policy.kafel"),
            networks=Networks(INDICES),
        )
        jails = Jails(walls, driver, OUTSIDE, threads)
        pool = JailPool(jails, depth=2, indices=INDICES, on_failure=failures.append)
        await pool.open()
        yield Laboratory(pool, driver, cgroup_parent, failures)
        await pool.close()
        if walls.networks is not None:
            walls.networks.close()
        driver.close()


@dataclass
class Host:
    """What may not change by running programs."""

    descriptors: int
    mounts: str
    threads: int


def _host() -> Host:
    return Host(
        descriptors=len(list(Path("/proc/self/fd").iterdir())),
        mounts=Path("/proc/self/mountinfo").read_text(),
        threads=len(list(Path("/proc/self/task").iterdir())),
    )


@pytest.fixture
async def lab(laboratory: Laboratory) -> AsyncIterator[Laboratory]:
    """Jails for one test, then a control, then the host as it was before."""
    nonce = secrets.token_hex(8)
    await laboratory.python("pass")
    await laboratory.quiet()
    before = _host()
    laboratory.failures.clear()

    yield laboratory

    control = await laboratory.python(f"print('{nonce}')")
    assert control.ending == Exited(0), control.stderr
    assert control.stdout == f"{nonce}\n"
    await laboratory.quiet()
    assert laboratory.failures == []
    assert _host() == before
    # What waits in the pool, and nothing else.
    assert len(laboratory.processes()) == laboratory.pool.ready == 2
    assert len(laboratory.groups()) == 2
    assert len(laboratory.pool._free) == INDICES - 2
