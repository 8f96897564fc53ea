"""How attacks are written: every one says first that it began, and prints the error numbers that it met."""

from collections.abc import Mapping
from typing import Unpack

from audit.case import Expectation, Program, Sizes, signalled

C_HEAD = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define TRY(name, call) do { errno = 0; long r_ = (long)(call); \
    printf("%s=%d\n", name, r_ == -1 ? errno : 0); fflush(stdout); } while (0)
static void say(const char *what, long n) { printf("%s=%ld\n", what, n); fflush(stdout); }
static long now_ms(void) {
    struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000 + t.tv_nsec / 1000000; }
static int attack(int argc, char **argv);
int main(int argc, char **argv) {
    if (argc < 2) return 99;
    printf("begun %s\n", argv[1]);
    fflush(stdout);
    (void)say; (void)now_ms;
    return attack(argc - 1, argv + 1);
}
#define ATTACK static int attack(int argc __attribute__((unused)), char **argv __attribute__((unused)))
"""

PYTHON_HEAD = """
import sys
print("begun", sys.argv.pop(1), flush=True)
def attempt(name, call, *args):
    try: call(*args)
    except OSError as error: print(f"{name}={error.errno}", flush=True)
    else: print(f"{name}=0", flush=True)
"""


def c(body: str) -> str:
    """A C program: `body` defines what it needs and `ATTACK { … }`."""
    return C_HEAD + body


def python(body: str) -> str:
    """A Python program."""
    return PYTHON_HEAD + body


def calls(table: Mapping[str, str]) -> str:
    """A C program that makes each call and prints `name=errno`, 0 where it succeeded."""
    return c("ATTACK {\n" + "".join(f'    TRY("{name}", {call});\n' for name, call in table.items()) + "return 0; }\n")


def answered(table: Mapping[str, tuple[str, int | str]], **limits: Unpack[Sizes]) -> tuple[Program, Expectation]:
    """Each call must be refused with exactly that error number (or one that a pattern allows); the program goes on."""
    source = calls({name: call for name, (call, _) in table.items()})
    says = tuple(f"{name}={error}" for name, (_, error) in table.items())
    return Program(source=source, **limits), Expectation(verdicts=("SUCCESS",), says=says)


def opened(paths: Mapping[str, str], error: int | str, flags: str = "O_RDONLY") -> tuple[Program, Expectation]:
    """Each path must refuse to open with that error number."""
    return answered({name: (f'open("{path}", {flags}, 0600)', error) for name, path in paths.items()})


def fatal(call: str) -> tuple[Program, Expectation]:
    """The call must end the program: SECURITY_VIOLATION, by SIGSYS."""
    source = c('ATTACK {\n    say("calling", 1);\n    ' + call + ';\n    puts("survived"); return 0; }\n')
    return Program(source=source), Expectation(
        verdicts=("SECURITY_VIOLATION",), says=("calling=1",), never=("survived",), facts=(signalled(31),)
    )


def fatal_in_children(table: Mapping[str, str]) -> tuple[Program, Expectation]:
    """Each call must end the child that makes it, by SIGSYS; the parent reports."""
    body = "ATTACK {\n    pid_t p; int s;\n"
    for name, call in table.items():
        body += f'    if ((p = fork()) == 0) {{ {call}; _exit(0); }}\n    waitpid(p, &s, 0); say("{name}", s);\n'
    says = tuple(f"{name}=31" for name in table)
    return Program(source=c(body + "    return 0; }\n")), Expectation(verdicts=("SUCCESS",), says=says)
