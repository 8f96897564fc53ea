"""Processes: bombs, daemons, signals, and endings that try to look like something else."""

from typing import Unpack

from audit.case import Case, Expectation, Marks, Program, exited, limit, peak_processes, signalled, wall_between
from audit.programs import c, python

PIDS = "process group limit"


def _case(
    number: str, name: str, claim: str, layer: str, program: Program, expect: Expectation, **more: Unpack[Marks]
) -> Case:
    return Case(id=number, name=name, claim=claim, layer=layer, program=program, expect=expect, **more)


def _bomb(variant: str, argv: list[str], **more: Unpack[Marks]) -> Case:
    return _case(
        f"P01-{variant}",
        f"fork bomb in {variant}",
        "A fork bomb stays within the limit and ends in time.",
        PIDS,
        Program(
            language="python",
            source=python(f'import os\nprint("exploding", flush=True)\nos.execv({argv[0]!r}, {argv!r})'),
            wall_ms=700,
            cpu_ms=700,
        ),
        Expectation(
            verdicts=("TIMEOUT", "OUTPUT_LIMIT_EXCEEDED", "MEMORY_LIMIT_EXCEEDED", "RUNTIME_ERROR"),
            says=("exploding",),
            facts=(wall_between(0, 1500),),
        ),
        **more,
    )


def _exits(code: int) -> Case:
    return _case(
        f"P12-{code}",
        f"exit code {code} on purpose",
        f"Exiting with {code} is exiting with {code}, and nothing that happened to it.",
        "init's true status",
        Program(source=c(f'ATTACK {{ say("leaving", {code}); return {code}; }}')),
        Expectation(
            verdicts=("RUNTIME_ERROR",),
            says=(f"leaving={code}",),
            facts=(exited(code), limit("UNSPECIFIED")),
        ),
        fast=code == 137,
    )


CASES = (
    _case(
        "P01",
        "fork bomb in C",
        "A fork bomb meets its limit exactly, and its time limit ends it.",
        PIDS,
        Program(source=c('ATTACK { say("exploding", 1); for (;;) fork(); }'), wall_ms=700, cpu_ms=700),
        Expectation(verdicts=("TIMEOUT",), says=("exploding=1",), facts=(peak_processes(32), wall_between(0, 1500))),
        classic=True,
        fast=True,
    ),
    _case(
        "P01-count",
        "processes counted",
        "So many processes as the limit says, and the next one is refused with EAGAIN.",
        PIDS,
        Program(
            source=c(
                'ATTACK { int n = 0; for (;;) { pid_t p = fork(); if (p < 0) break; if (p == 0) { pause(); _exit(0); } n++; } say("errno", errno); say("forks", n); return 0; }'
            )
        ),
        Expectation(verdicts=("SUCCESS",), says=("errno=11", "forks=31"), facts=(peak_processes(32),)),
        fast=True,
    ),
    _bomb("python", ["/usr/bin/python3", "-c", "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"]),
    _bomb("sh", ["/bin/sh", "-c", "b() { b | b & }; b; while :; do b; done"]),
    _bomb("bash", ["/bin/bash", "-c", ":() { :|: & }; :; while true; do :; done"]),
    _bomb("perl", ["/usr/bin/perl", "-e", "fork while 1"]),
    _case(
        "P02",
        "thread bomb",
        "Threads count like processes.",
        PIDS,
        Program(
            source=c(r"""
static void *wait_(void *x) { pause(); return x; }
ATTACK {
    pthread_attr_t a; pthread_attr_init(&a); pthread_attr_setstacksize(&a, 65536); pthread_t t; int n = 0, e;
    while ((e = pthread_create(&t, &a, wait_, 0)) == 0) n++;
    say("errno", e); say("threads", n); _exit(0); }
""")
        ),
        Expectation(verdicts=("SUCCESS",), says=("errno=11", "threads=31")),
        fast=True,
    ),
    _case(
        "P03",
        "fork bomb that eats memory",
        "Processes and memory together end no later than either.",
        "process and memory groups",
        Program(
            source=c(
                'ATTACK { say("exploding", 1); for (;;) { fork(); volatile char *m = malloc(8 << 20); for (int k = 0; m && k < 8 << 20; k += 4096) m[k] = 1; } }'
            ),
            wall_ms=1500,
        ),
        Expectation(
            verdicts=("MEMORY_LIMIT_EXCEEDED", "TIMEOUT"), says=("exploding=1",), facts=(wall_between(0, 2500),)
        ),
    ),
    _case(
        "P04",
        "daemon",
        "A daemon in a session of its own ends with the program that started it.",
        "init, PID namespace",
        Program(
            source=c(
                'ATTACK { if (fork() == 0) { setsid(); if (fork() == 0) { signal(SIGHUP, SIG_IGN); sleep(60); puts("outlived"); } _exit(0); } usleep(50000); say("left", 1); return 0; }'
            )
        ),
        Expectation(verdicts=("SUCCESS",), says=("left=1",), never=("outlived",), facts=(wall_between(0, 2500),)),
        classic=True,
        fast=True,
    ),
    _case(
        "P05",
        "a grandchild that goes on writing",
        "Output ends with the program.",
        "init, PID namespace",
        Program(
            source=c(
                'ATTACK { if (fork() == 0) { usleep(400000); puts("late"); fflush(stdout); sleep(9); _exit(0); } say("left", 1); return 0; }'
            )
        ),
        Expectation(verdicts=("SUCCESS",), says=("left=1",), never=("late",), facts=(wall_between(0, 2500),)),
    ),
    _case(
        "P06",
        "ignoring signals",
        "Ignoring every signal buys no time.",
        "SIGKILL by our clock",
        Program(
            source=c(
                'ATTACK { for (int n = 1; n < 65; n++) signal(n, SIG_IGN); say("ignoring", 1); for (;;) pause(); }'
            ),
            wall_ms=400,
        ),
        Expectation(verdicts=("TIMEOUT",), says=("ignoring=1",), facts=(limit("WALL_TIME"), wall_between(400, 800))),
        fast=True,
    ),
    _case(
        "P07",
        "stopping itself",
        "A stopped program is late like any other.",
        "our clock",
        Program(source=c('ATTACK { say("stopping", 1); raise(SIGSTOP); puts("went on"); return 0; }'), wall_ms=400),
        Expectation(verdicts=("TIMEOUT",), says=("stopping=1",), never=("went on",), facts=(limit("WALL_TIME"),)),
    ),
    _case(
        "P08",
        "killing everybody",
        "Signals reach neither our init nor anything outside.",
        "init, PID namespace",
        Program(
            source=c(r"""
ATTACK {
    int sent[] = {9, 15, 19, 11, 6, 31};
    for (unsigned i = 0; i < sizeof sent / sizeof *sent; i++) kill(1, sent[i]);
    signal(15, SIG_IGN); kill(-1, 15); kill(-1, 9);
    pid_t p = fork(); int s; if (p == 0) _exit(7);
    waitpid(p, &s, 0); say("alive", s >> 8); return 0; }
""")
        ),
        Expectation(verdicts=("SUCCESS",), says=("alive=7",)),
        fast=True,
    ),
    _case(
        "P09",
        "abort",
        "abort is told as SIGABRT.",
        "init's true status",
        Program(source=c('ATTACK { say("aborting", 1); abort(); }')),
        Expectation(verdicts=("RUNTIME_ERROR",), says=("aborting=1",), facts=(signalled(6), limit("UNSPECIFIED"))),
    ),
    _case(
        "P10",
        "killing itself",
        "A SIGKILL of its own making is neither a limit of memory nor of time.",
        "init's true status",
        Program(source=c('ATTACK { say("dying", 1); kill(getpid(), 9); puts("survived"); return 0; }')),
        Expectation(
            verdicts=("RUNTIME_ERROR",),
            says=("dying=1",),
            never=("survived",),
            facts=(signalled(9), limit("UNSPECIFIED")),
        ),
        fast=True,
    ),
    _case(
        "P11",
        "zombies",
        "The dead count until they are buried.",
        PIDS,
        Program(
            source=c(
                'ATTACK { int n = 0; for (;;) { pid_t p = fork(); if (p < 0) break; if (p == 0) _exit(0); n++; } say("errno", errno); say("dead", n); return 0; }'
            )
        ),
        Expectation(verdicts=("SUCCESS",), says=("errno=11", "dead=31")),
    ),
    *(_exits(code) for code in (1, 124, 137, 139, 143, 159, 255)),
    _case(
        "P14",
        "another name",
        "Taking the name of one of ours saves no program.",
        "killed by group and namespace, never by name",
        Program(
            source=c(r"""
ATTACK { const char *names[] = {"nsjail", "init", "python", "sh"};
    for (int i = 0; i < 4; i++) if (fork() == 0) { prctl(PR_SET_NAME, names[i]); strcpy(argv[0], "-"); setsid(); for (;;) pause(); }
    usleep(50000); prctl(PR_SET_NAME, "nsjail"); say("renamed", 4); for (;;) pause(); }
"""),
            wall_ms=400,
        ),
        Expectation(verdicts=("TIMEOUT",), says=("renamed=4",), facts=(limit("WALL_TIME"),)),
    ),
    _case(
        "P15",
        "executing itself without end",
        "A program that replaces itself all the time cannot escape its clock.",
        "our clock",
        Program(
            source=c(
                'ATTACK { char n[32]; long k = argc > 1 ? atol(argv[1]) : 0; if (k == 0) say("first", 1); if (k > 500) say("turns", k); snprintf(n, sizeof n, "%ld", k + 1);\n'
                'if (fork() > 0) { for (;;) pause(); } close(1); for (;;) { char *v[] = {"/bin/true", 0}; if (fork() == 0) execv(v[0], v); wait(0); } }'
            ),
            wall_ms=600,
            cpu_ms=600,
        ),
        Expectation(verdicts=("TIMEOUT",), says=("first=1",)),
    ),
    _case(
        "P16",
        "adopting orphans",
        "A program that collects orphans keeps none of them past its end.",
        "init, PID namespace",
        Program(
            source=c(
                'ATTACK { TRY("subreaper", prctl(PR_SET_CHILD_SUBREAPER, 1)); for (int i = 0; i < 8; i++) if (fork() == 0) { setsid(); if (fork() == 0) for (;;) pause(); _exit(0); } usleep(100000); return 0; }'
            )
        ),
        Expectation(verdicts=("SUCCESS",), says=("subreaper=0",), facts=(wall_between(0, 2500),)),
    ),
)
