"""What an executor counts. Never a job id as a label; every label set exists from the start."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_JOB = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_MEMORY = tuple(float(2**power) for power in range(20, 31))

SETUP = Histogram("sentinel_sandbox_setup_seconds", "From the assignment to a jail with its files.", buckets=_SHORT)
COMPILE = Histogram("sentinel_compile_seconds", "Wall time of compile phases.", ["language"], buckets=_JOB)
RUN_WALL = Histogram("sentinel_run_wall_seconds", "Wall time of run phases.", ["language"], buckets=_JOB)
RUN_CPU = Histogram("sentinel_run_cpu_seconds", "CPU time of run phases.", ["language"], buckets=_JOB)
MEMORY = Histogram("sentinel_run_memory_peak_bytes", "Peak memory of run phases.", ["language"], buckets=_MEMORY)
SLOTS = Gauge("sentinel_executor_slots", "Slots of this executor.", ["state"])
JAILS = Gauge("sentinel_executor_jails", "Jails of this executor.", ["state"])
FAILURES = Counter("sentinel_sandbox_failures_total", "Times that we failed to run a program.", ["reason"])
CONNECTED = Gauge("sentinel_executor_connected", "1 while there is a session with a scheduler.")
LANGUAGE_MISSING = Gauge(
    "sentinel_executor_language_missing", "1 for a language that has a file but no toolchain here.", ["language"]
)

_REASONS = (
    "CGROUP",
    "CLOSING",
    "INIT_F",
    "INIT_P",
    "INIT_R",
    "INIT_X",
    "JAIL_DIED",
    "JAIL_START",
    "LEFTOVER",
    "NSJAIL",
)


def begin_at_zero(languages: Iterable[str], slots: int) -> None:
    """Makes every series exist, so that a rate over it does from the first scrape on."""
    for language in languages:
        for histogram in (COMPILE, RUN_WALL, RUN_CPU, MEMORY):
            histogram.labels(language)
    for reason in (*_REASONS, "INTERNAL"):
        FAILURES.labels(reason)
    for state in ("ready", "lent"):
        JAILS.labels(state)
    SLOTS.labels("free").set(slots)
    SLOTS.labels("busy").set(0)
    CONNECTED.set(0)
