"""Resources: memory, CPU, output, input and everything that can be hoarded."""

from typing import Unpack

from audit.case import (
    Case,
    Expectation,
    Marks,
    Program,
    Refusal,
    at_most,
    cpu_at_most,
    kept,
    limit,
    memory_at_most,
    oom_events,
    signalled,
    wall_between,
)
from audit.programs import c, python

MEMORY = "memory group"
OUTPUT = "capped readers"
_MLE = ("MEMORY_LIMIT_EXCEEDED",)
_OVER = (limit("MEMORY"), oom_events(1), memory_at_most(65_536))


def _case(
    number: str,
    name: str,
    claim: str,
    layer: str,
    program: Program,
    expect: Expectation | Refusal,
    **more: Unpack[Marks],
) -> Case:
    return Case(id=number, name=name, claim=claim, layer=layer, program=program, expect=expect, **more)


CASES = (
    _case(
        "R01",
        "memory past the limit",
        "Memory ends at its limit, and the kernel says so.",
        MEMORY,
        Program(
            source=c(
                'ATTACK { say("eating", 1); for (int i = 0; i < 200; i++) { volatile char *m = malloc(1 << 20); for (int k = 0; k < 1 << 20; k += 4096) m[k] = 1; } puts("survived"); return 0; }'
            )
        ),
        Expectation(verdicts=_MLE, says=("eating=1",), never=("survived",), facts=_OVER),
        classic=True,
        fast=True,
    ),
    _case(
        "R02",
        "reserving a terabyte",
        "Address space is no memory.",
        MEMORY,
        Program(
            source=c(
                'ATTACK { say("mapped", mmap(0, 1L << 40, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED); return 0; }'
            )
        ),
        Expectation(verdicts=("SUCCESS",), says=("mapped=1",), facts=(oom_events(0, 0),)),
    ),
    _case(
        "R03",
        "shared memory",
        "Shared memory counts.",
        MEMORY,
        Program(
            source=c(
                'ATTACK { say("eating", 1); char *p = mmap(0, 100 << 20, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0); memset(p, 1, 100 << 20); puts("survived"); return 0; }'
            )
        ),
        Expectation(verdicts=_MLE, says=("eating=1",), never=("survived",), facts=_OVER),
    ),
    _case(
        "R04",
        "files in memory",
        "Files without a name count.",
        MEMORY,
        Program(
            source=c(
                'ATTACK { say("eating", 1); static char b[1 << 20]; for (int j = 0; j < 4; j++) { int f = memfd_create("x", 0); for (int i = 0; i < 50; i++) if (write(f, b, sizeof b) < 0) break; } puts("survived"); return 0; }'
            )
        ),
        Expectation(verdicts=_MLE, says=("eating=1",), never=("survived",), facts=_OVER),
    ),
    _case(
        "R05",
        "reading a big file",
        "What the kernel can forget is no memory of the program.",
        MEMORY,
        Program(
            language="python",
            source=python(
                'import glob\nn = 0\nfor path in glob.glob("/usr/lib/gcc/*/*/cc1*") * 3:\n'
                '    with open(path, "rb", buffering=0) as f:\n        while d := f.read(1 << 16): n += len(d)\nprint("read", n > 50 << 20, flush=True)'
            ),
            memory_kb=24_576,
        ),
        Expectation(verdicts=("SUCCESS",), says=("read True",), facts=(oom_events(0, 0), memory_at_most(24_576))),
        fast=True,
    ),
    _case(
        "R06",
        "a child dies for memory",
        "A program that lost a part of itself for memory is told so, even if it exits with 0.",
        MEMORY,
        Program(
            source=c(
                'ATTACK { pid_t p = fork(); int s; if (p == 0) { for (int i = 0; i < 200; i++) { volatile char *m = malloc(1 << 20); for (int k = 0; k < 1 << 20; k += 4096) m[k] = 1; } _exit(0); } say("forked", 1); waitpid(p, &s, 0); return 0; }'
            )
        ),
        Expectation(verdicts=_MLE, says=("forked=1",), facts=_OVER),
        fast=True,
    ),
    _case(
        "R07",
        "hovering at the limit",
        "A program that thrashes at its limit ends in time.",
        "memory group, our clock",
        Program(
            language="python",
            source=python(
                'import glob\nkeep = bytearray(40 << 20)\nprint("hovering", flush=True)\n'
                'while True:\n    for path in glob.glob("/usr/lib/gcc/*/*/cc1*"):\n        with open(path, "rb", buffering=0) as f:\n            while f.read(1 << 16): pass'
            ),
            wall_ms=1000,
            memory_kb=65_536,
        ),
        Expectation(verdicts=("TIMEOUT", "MEMORY_LIMIT_EXCEEDED"), says=("hovering",), facts=(wall_between(0, 1600),)),
    ),
    _case(
        "R08",
        "recursion without end",
        "A stack too deep is the program's own crash.",
        "RLIMIT_STACK",
        Program(
            source=c(
                'static int deeper(int n) { volatile char b[4096]; b[0] = (char)n; return n > 1 << 30 ? 0 : deeper(n + 1) + b[0]; }\nATTACK { say("diving", 1); return deeper(0); }'
            ),
            memory_kb=524_288,
        ),
        Expectation(verdicts=("RUNTIME_ERROR",), says=("diving=1",), facts=(signalled(11),)),
    ),
    _case(
        "R09",
        "descriptors",
        "Descriptors end at their limit, whatever they are.",
        "RLIMIT_NOFILE",
        Program(
            source=c(r"""
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
ATTACK {
    int n = 3, fd, p[2];
    for (;;) {
        switch (n % 5) { case 0: fd = epoll_create1(0); break; case 1: fd = eventfd(0, 0); break;
            case 2: fd = timerfd_create(CLOCK_MONOTONIC, 0); break; case 3: fd = socket(AF_UNIX, SOCK_STREAM, 0); break;
            default: fd = pipe(p) < 0 ? -1 : p[1]; }
        if (fd < 0) break;
        n++;
    }
    say("errno", errno); say("bounded", n <= 1024); return 0; }
""")
        ),
        Expectation(verdicts=("SUCCESS",), says=("errno=24", "bounded=1")),
    ),
    _case(
        "R10",
        "many busy threads",
        "The CPU clock counts all threads.",
        "CPU clock of the group",
        Program(
            source=c(
                'static void *spin(void *x) { for (;;) __asm__ volatile(""); return x; }\nATTACK { pthread_t t; for (int i = 0; i < 7; i++) pthread_create(&t, 0, spin, 0); say("spinning", 8); spin(0); return 0; }'
            ),
            cpu_ms=400,
        ),
        Expectation(verdicts=("TIMEOUT",), says=("spinning=8",), facts=(limit("CPU_TIME"), cpu_at_most(700))),
        fast=True,
    ),
    _case(
        "R11",
        "CPU hidden in ignored children",
        "CPU of children that nobody waits for is counted.",
        "CPU clock of the group",
        Program(
            source=c(
                'ATTACK { signal(SIGCHLD, SIG_IGN); say("hiding", 1); for (;;) { if (fork() == 0) { clock_t e = clock() + CLOCKS_PER_SEC / 20; while (clock() < e) ; _exit(0); } usleep(50000); } }'
            ),
            cpu_ms=300,
        ),
        Expectation(verdicts=("TIMEOUT",), says=("hiding=1",), facts=(limit("CPU_TIME"),)),
        fast=True,
    ),
    _case(
        "R12",
        "flood on standard output",
        "A flood ends at the cap, to the byte.",
        OUTPUT,
        Program(
            source=c(
                "ATTACK { static char b[1 << 16]; memset(b, 120, sizeof b); signal(SIGPIPE, SIG_IGN); for (;;) if (write(1, b, sizeof b) < 0) sched_yield(); }"
            )
        ),
        Expectation(
            verdicts=("OUTPUT_LIMIT_EXCEEDED",), facts=(limit("OUTPUT"), kept("STDOUT", 65_536), wall_between(0, 1500))
        ),
        classic=True,
        fast=True,
    ),
    _case(
        "R13",
        "flood on standard error",
        "Each stream has a budget of its own.",
        OUTPUT,
        Program(
            source=c(
                "ATTACK { static char b[1 << 12]; memset(b, 120, sizeof b); for (;;) if (write(2, b, sizeof b) < 0) return 1; }"
            )
        ),
        Expectation(
            verdicts=("OUTPUT_LIMIT_EXCEEDED",), facts=(limit("OUTPUT"), kept("STDERR", 65_536), at_most("STDOUT", 100))
        ),
    ),
    _case(
        "R13-both",
        "flood on both",
        "Both streams at once keep no more than their caps.",
        OUTPUT,
        Program(
            source=c(
                "ATTACK { static char b[777]; memset(b, 120, sizeof b); for (;;) { if (write(1, b, sizeof b) < 0 || write(2, b, sizeof b) < 0) return 1; } }"
            )
        ),
        Expectation(
            verdicts=("OUTPUT_LIMIT_EXCEEDED",),
            facts=(limit("OUTPUT"), at_most("STDOUT", 65_536), at_most("STDERR", 65_536)),
        ),
    ),
    _case(
        "R14",
        "a gigabyte without a line",
        "A gigabyte ends at the cap, and no line need ever end.",
        OUTPUT,
        Program(
            language="python",
            source=python('import os\nb = b"x" * (1 << 20)\nfor _ in range(1024): os.write(1, b)\nprint("done")'),
            output_kb=8192,
        ),
        Expectation(
            verdicts=("OUTPUT_LIMIT_EXCEEDED",),
            never=("done",),
            facts=(limit("OUTPUT"), kept("STDOUT", 8192 * 1024), wall_between(0, 3000)),
        ),
        fast=True,
    ),
    _case(
        "R15",
        "writing after the reader went",
        "A program that ignores broken pipes is killed all the same.",
        OUTPUT,
        Program(
            source=c(
                "ATTACK { signal(SIGPIPE, SIG_IGN); static char b[1 << 16]; for (int i = 0; i < 4; i++) if (fork() == 0) break; for (;;) if (write(1, b, sizeof b) < 0) usleep(1000); }"
            )
        ),
        Expectation(
            verdicts=("OUTPUT_LIMIT_EXCEEDED",), facts=(limit("OUTPUT"), kept("STDOUT", 65_536), wall_between(0, 2000))
        ),
    ),
    _case(
        "R16",
        "closing the output and going on",
        "The end of the output is not the end of the program.",
        "our clock",
        Program(source=c('ATTACK { say("closing", 1); close(0); close(1); close(2); for (;;) pause(); }'), wall_ms=400),
        Expectation(verdicts=("TIMEOUT",), says=("closing=1",), facts=(limit("WALL_TIME"), wall_between(400, 800))),
        fast=True,
    ),
    _case(
        "R17",
        "a slow drip",
        "Output now and then does not extend the time.",
        "our clock",
        Program(source=c('ATTACK { for (int i = 0;; i++) { say("drip", i); usleep(100000); } }'), wall_ms=650),
        Expectation(verdicts=("TIMEOUT",), says=("drip=0", "drip=4"), never=("drip=8",), facts=(limit("WALL_TIME"),)),
    ),
    _case(
        "R18",
        "input never read",
        "Input that nobody reads holds nobody up.",
        "asynchronous writer",
        Program(source=c('ATTACK { usleep(200000); say("unread", 1); return 0; }'), stdin=b"x" * 262_144),
        Expectation(verdicts=("SUCCESS",), says=("unread=1",), facts=(wall_between(200, 2500),)),
    ),
    _case(
        "R19",
        "an argument too long",
        "An argument that no kernel takes is refused before anything runs.",
        "validation",
        Program(language="python", source="print(1)", args=("x" * 131_072,)),
        Refusal(mentions="args"),
    ),
    _case(
        "R20",
        "an environment too large",
        "Ten thousand variables are refused before anything runs.",
        "validation",
        Program(language="python", source="print(1)", env={f"A{n}": "x" * 200 for n in range(10_000)}),
        Refusal(codes=("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"), mentions="env|larger"),
    ),
    _case(
        "R21",
        "a CPU limit of its own",
        "A limit that a program gives itself is its own ending, not ours.",
        "init's true status",
        Program(
            source=c(
                'ATTACK { struct rlimit r = {1, 2}; TRY("limit", setrlimit(RLIMIT_CPU, &r)); for (;;) __asm__ volatile(""); }'
            ),
            wall_ms=9000,
            cpu_ms=9000,
        ),
        Expectation(verdicts=("RUNTIME_ERROR",), says=("limit=0",), facts=(signalled(24), limit("UNSPECIFIED"))),
    ),
    _case(
        "R22",
        "System V hoarding",
        "Segments, queues and semaphores end with the program, and memory in them counts.",
        "IPC namespace, memory group",
        Program(
            source=c(r"""
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
ATTACK {
    int n = 0;
    for (; n < 64; n++) if (semget(n + 1, 8, IPC_CREAT | 0666) < 0 || msgget(n + 1, IPC_CREAT | 0666) < 0) break;
    say("made", n > 0);
    for (int i = 0; i < 200; i++) { int id = shmget(1000 + i, 1 << 20, IPC_CREAT | 0666); char *p = id < 0 ? (char *)-1 : shmat(id, 0, 0);
        if (p == (char *)-1) break; memset(p, 1, 1 << 20); }
    puts("survived"); return 0; }
""")
        ),
        Expectation(verdicts=_MLE, says=("made=1",), never=("survived",), facts=(limit("MEMORY"), oom_events(1))),
    ),
    _case(
        "R23",
        "timers and pending signals",
        "Timers and queued signals end at a limit, of number or of memory.",
        "RLIMIT_SIGPENDING, memory group",
        Program(
            source=c(r"""
ATTACK {
    timer_t t; long n = 0; struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN}; say("hoarding", 1);
    sigset_t s; sigfillset(&s); sigprocmask(SIG_BLOCK, &s, 0);
    while (n < 2000000 && timer_create(CLOCK_MONOTONIC, &e, &t) == 0) n++;
    while (n < 4000000 && sigqueue(getpid(), SIGRTMIN + 1, (union sigval){0}) == 0) n++;
    say("bounded", n < 2000000); return 0; }
"""),
            wall_ms=4000,
        ),
        Expectation(
            verdicts=("SUCCESS", "MEMORY_LIMIT_EXCEEDED", "TIMEOUT"), says=("hoarding=1",), never=("bounded=0",)
        ),
    ),
)
