"""Time: our clocks are ours, in milliseconds, and a program has one ending."""

import asyncio

from audit.case import Case, Expectation, Program, cpu_at_most, limit, wall_between
from audit.programs import answered, c, python
from audit.stage import Stage

CLOCK = "our clock"


async def _at_the_limit(stage: Stage) -> None:
    """Programs that end just when their time does have one ending each, and a true one."""
    source = python("import time; time.sleep(0.14)")
    programs = [Program(language="python", source=source, wall_ms=150 + n) for n in range(20)]
    for seen in await asyncio.gather(*(stage.run(program) for program in programs)):
        name = stage.require(seen, ("SUCCESS", "TIMEOUT"))
        over = seen.evidence.wall_time_ms > seen.time_limit_ms + 1
        stage.check(
            not (name == "SUCCESS" and over) or seen.evidence.wall_time_ms < seen.time_limit_ms + 250,
            f"SUCCESS after {seen.evidence.wall_time_ms:.1f} ms of {seen.time_limit_ms}",
        )


_CLOCKS, _CLOCKS_SAY = answered(
    {
        "settime": ("clock_settime(CLOCK_REALTIME, &(struct timespec){1, 0})", 38),
        "adjtimex": ("syscall(SYS_adjtimex, argv)", 38),
        "clock_adjtime": ("syscall(SYS_clock_adjtime, 0, argv)", 38),
        "settimeofday": ("syscall(SYS_settimeofday, (long[]){1, 0}, 0)", 38),
    }
)

CASES = (
    Case(
        id="T01",
        name="sleeping for ever",
        claim="Sleep ends with the wall clock.",
        layer=CLOCK,
        program=Program(source=c('ATTACK { say("sleeping", 1); for (;;) sleep(1000); }'), wall_ms=1000),
        expect=Expectation(
            verdicts=("TIMEOUT",), says=("sleeping=1",), facts=(limit("WALL_TIME"), wall_between(1000, 1100))
        ),
        alone=True,
        classic=True,
        fast=True,
    ),
    Case(
        id="T02",
        name="a busy loop",
        claim="Work ends with the CPU clock, before the wall clock.",
        layer="CPU clock of the group",
        program=Program(source=c('ATTACK { say("busy", 1); for (;;) __asm__ volatile(""); }'), cpu_ms=300),
        expect=Expectation(verdicts=("TIMEOUT",), says=("busy=1",), facts=(limit("CPU_TIME"), cpu_at_most(500))),
        classic=True,
        fast=True,
    ),
    Case(
        id="T03",
        name="two hundred milliseconds",
        claim="A limit of 200 ms ends a program at 200 to 250 ms.",
        layer=CLOCK,
        program=Program(source=c('ATTACK { say("sleeping", 1); for (;;) sleep(1000); }'), wall_ms=200),
        expect=Expectation(
            verdicts=("TIMEOUT",), says=("sleeping=1",), facts=(limit("WALL_TIME"), wall_between(200, 250))
        ),
        alone=True,
        fast=True,
    ),
    Case(
        id="T04",
        name="setting the clock",
        claim="No program sets the clock of the machine.",
        layer="seccomp",
        program=_CLOCKS,
        expect=_CLOCKS_SAY,
    ),
    Case(
        id="T05",
        name="ending at the limit",
        claim="A program that ends just when its time does has one verdict, and a true one.",
        layer="init's true status, our clock",
        scenario=_at_the_limit,
        crowd=True,
    ),
)
