"""The catalogue: one module per section, in the order of docs/threat-model.md."""

from audit.case import Case
from audit.cases import (
    compiling,
    cross_job,
    filesystem,
    network,
    platforms,
    processes,
    protocol,
    resources,
    syscalls,
    timing,
)

CATALOGUE: tuple[Case, ...] = (
    *syscalls.CASES,
    *filesystem.CASES,
    *network.CASES,
    *processes.CASES,
    *resources.CASES,
    *timing.CASES,
    *compiling.CASES,
    *cross_job.CASES,
    *protocol.CASES,
    *platforms.CASES,
)
