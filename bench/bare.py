"""D0, the yardstick: nsjail as one would first write it, in a loop, with nothing around it.

It keeps nothing, queues nothing and tells nobody; what a service costs on top of that is what the ratios show.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.client import EXPECTED, SOURCE, WrongAnswer
from deploy.local.services import NSJAIL

_MEMORY_BYTES = 268_435_456
_PROCESSES = 64
_BINDS = ("/bin", "/lib", "/lib64", "/usr")


@dataclass(frozen=True, slots=True, kw_only=True)
class BareRun:
    """What a loop did."""

    jobs: int
    """Ended in time."""
    begun: int
    """Those and the few that were under way at the end."""
    seconds: float
    cpu: float
    """Of nsjail and everything in it, seconds, as wait4 tells."""
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds

    @property
    def cpu_per_job(self) -> float:
        """Seconds."""
        return self.cpu / self.jobs


def loop(*, slots: int, seconds: float) -> BareRun:
    """Runs the program over and over, `slots` at a time. Raises WrongAnswer unless each one prints what it should."""
    with control_groups() as groups:
        return _at_once(command(groups), slots, time.perf_counter() + seconds)


def times(count: int) -> list[float]:
    """Seconds of so many runs, one after the other."""
    with control_groups() as groups:
        argv = command(groups)
        return [run(argv)[0] for _ in range(count)]


def command(groups: Sequence[str]) -> list[str]:
    """The command line: every namespace, four binds, limits on memory and processes, nothing tuned."""
    binds = [word for folder in _BINDS if Path(folder).exists() for word in ("-R", folder)]
    return [
        *(str(NSJAIL), "-Mo", "-Q", "--time_limit", "10", "--user", "65534", "--group", "65534", *binds),
        *("--cgroup_mem_max", str(_MEMORY_BYTES), "--cgroup_pids_max", str(_PROCESSES), *groups),
        *("--", "/usr/bin/python3", "-c", SOURCE),
    ]


def run(argv: list[str]) -> tuple[float, float]:
    """One run: its wall and CPU time in seconds. Raises WrongAnswer."""
    begun = time.perf_counter()
    read, write = os.pipe()
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, write, 1),
        ]
        pid = os.posix_spawn(argv[0], argv, {}, file_actions=actions)
    finally:
        os.close(write)
    with os.fdopen(read, "rb") as output:
        said = output.read()
    _, status, usage = os.wait4(pid, 0)
    ended = time.perf_counter()
    if status or said != EXPECTED.encode():
        raise WrongAnswer(f"the bare loop's program ended with {status} and {said[:80]!r}")
    return ended - begun, usage.ru_utime + usage.ru_stime


def _at_once(argv: list[str], slots: int, until: float) -> BareRun:
    """Jobs that end after `until` are let run out and not counted."""
    counted: list[tuple[float, float]] = []
    late: list[tuple[float, float]] = []
    failures: list[BaseException] = []
    begun = time.perf_counter()

    def one_slot() -> None:
        try:
            while not failures:
                finished = run(argv)
                if time.perf_counter() >= until:
                    late.append(finished)
                    return
                counted.append(finished)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one_slot, name=f"bare-{number}") for number in range(slots)]
    for thread in threads:
        thread.start()
    _join(threads, failures)
    if failures:
        raise failures[0]
    if not counted:
        raise WrongAnswer("the bare loop finished no program in its time")
    return BareRun(
        jobs=len(counted),
        begun=len(counted) + len(late),
        seconds=until - begun,
        cpu=sum(cpu for _, cpu in counted),
        latencies=[wall for wall, _ in counted],
    )


def _join(threads: Sequence[threading.Thread], failures: list[BaseException]) -> None:
    """Waits for all of them; interrupted, tells them by a failure to end, and waits still."""
    try:
        for thread in threads:
            thread.join()
    except BaseException as interruption:
        # The control groups are removed next: the jails in them must be gone.
        failures.append(interruption)
        for thread in threads:
            thread.join()
        raise


@contextlib.contextmanager
def control_groups(mountinfo: str = "/proc/self/mountinfo") -> Iterator[list[str]]:
    """Groups for nsjail to put its own under, as the words that tell it so; removed at the end."""
    name = f"sentinel-bench-{os.getpid()}"
    first, second = mounts(Path(mountinfo).read_text())
    made: list[Path] = []
    try:
        if "memory" in first and "pids" in first:
            for controller in ("memory", "pids"):
                made.append(first[controller] / name)
                made[-1].mkdir(exist_ok=True)
            yield [
                *("--cgroup_mem_mount", str(first["memory"]), "--cgroup_mem_parent", name),
                *("--cgroup_pids_mount", str(first["pids"]), "--cgroup_pids_parent", name),
            ]
        elif second is not None:
            made.append(second / name)
            made[-1].mkdir(exist_ok=True)
            (made[-1] / "cgroup.subtree_control").write_text("+memory +pids")
            yield ["--use_cgroupv2", "--cgroupv2_mount", str(made[-1])]
        else:
            raise FileNotFoundError("no control groups with memory and pids are mounted")
    finally:
        for group in made:
            with contextlib.suppress(OSError):
                group.rmdir()


def mounts(mountinfo: str) -> tuple[dict[str, Path], Path | None]:
    """Where version 1's controllers are mounted, and where version 2 is."""
    first: dict[str, Path] = {}
    second: Path | None = None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(maxsplit=2)
        point = Path(left.split()[4])
        if kind == "cgroup":
            for option in options.split(","):
                first.setdefault(option, point)
        elif kind == "cgroup2" and second is None:
            second = point
    return first, second
