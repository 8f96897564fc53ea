"""What a hostile program may not do, and what it is told. The control and the look at the host are in `lab`."""

import dataclasses
import socket
import time
from pathlib import Path

import pytest
from sentinel.v1 import evidence_pb2

from services.executor.judging import judge
from services.executor.sandbox.protocol import Cause, Command, Exited, Killed, SandboxError, Signalled, Stdin, Stream
from tests.sandbox.conftest import ENV, LIMITS, OUTSIDE, Laboratory


async def test_a_wall_limit_of_200_ms_ends_at_200_to_260_ms(lab: Laboratory) -> None:
    outcome = await lab.python("import time; time.sleep(9)", wall_ms=200)

    assert outcome.ending == Killed(Cause.WALL_TIME)
    assert 200 <= outcome.usage.wall_ms <= 260


async def test_ignoring_every_signal_buys_no_time(lab: Laboratory) -> None:
    outcome = await lab.python(
        "import signal, time\n"
        "for n in range(1, 32):\n"
        "    if n not in (9, 19): signal.signal(n, signal.SIG_IGN)\n"
        "time.sleep(9)",
        wall_ms=200,
    )

    assert outcome.ending == Killed(Cause.WALL_TIME)


async def test_stopping_itself_is_a_timeout(lab: Laboratory) -> None:
    outcome = await lab.python("import os; os.kill(os.getpid(), 19)", wall_ms=300)

    assert outcome.ending == Killed(Cause.WALL_TIME)


async def test_a_busy_loop_ends_on_the_cpu_clock(lab: Laboratory) -> None:
    outcome = await lab.python("while True: pass", cpu_ms=200)

    assert outcome.ending == Killed(Cause.CPU_TIME)
    assert 200 <= outcome.usage.cpu_ms <= 300


async def test_cpu_hidden_in_ignored_children_is_counted(lab: Laboratory) -> None:
    """wait4 tells nothing of children under SIG_IGN; the control group does (security.md, fact 9)."""
    outcome = await lab.c(
        """
#include <signal.h>
#include <time.h>
#include <unistd.h>
int main(void) {
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        if (fork() == 0) { clock_t end = clock() + CLOCKS_PER_SEC / 20; while (clock() < end) ; _exit(0); }
        usleep(50000);
    }
}""",
        cpu_ms=400,
    )

    assert outcome.ending == Killed(Cause.CPU_TIME)
    assert outcome.usage.wall_ms < 3000


async def test_memory_past_the_limit_is_the_kernels_word(lab: Laboratory) -> None:
    outcome = await lab.python("data = bytearray(200 << 20)")

    # Either we killed on the kernel's event, or its own kill was quicker; the event decides in both cases.
    assert outcome.ending in {Killed(Cause.MEMORY), Signalled(9)}
    assert outcome.usage.oom_events >= 1
    assert judge(outcome.ending, outcome.usage, LIMITS).limit == evidence_pb2.LIMIT_MEMORY
    assert outcome.usage.memory_peak_bytes <= LIMITS.memory_bytes


async def test_the_memory_of_a_grandchild_counts(lab: Laboratory) -> None:
    outcome = await lab.python(
        "import subprocess, sys\n"
        "eat = 'data = bytearray(200 << 20)'\n"
        "child = f'import subprocess, sys; subprocess.call([sys.executable, \"-c\", {eat!r}])'\n"
        "subprocess.call([sys.executable, '-c', child])\n"
        "print('survived')"
    )

    assert outcome.usage.oom_events >= 1
    assert judge(outcome.ending, outcome.usage, LIMITS).explanation.startswith("The program needed more than 65536 KiB")


async def test_files_in_memory_count_as_memory(lab: Laboratory) -> None:
    outcome = await lab.python(
        "f = open('/work/big', 'wb'); g = open('/tmp/big', 'wb')\n"
        "while True: f.write(b'x' * (1 << 16)); g.write(b'x' * (1 << 16))",
        memory_bytes=32 << 20,
        file_bytes=64 << 20,
    )

    assert outcome.ending in {Killed(Cause.MEMORY), Signalled(9)}
    assert outcome.usage.oom_events >= 1


async def test_reading_a_big_file_is_no_memory_verdict(lab: Laboratory) -> None:
    outcome = await lab.shell(
        "cat /usr/lib/gcc/*/*/cc1 /usr/lib/gcc/*/*/cc1plus | wc -c", memory_bytes=16 << 20, wall_ms=30_000
    )

    assert outcome.ending == Exited(0)
    assert outcome.usage.oom_events == 0


async def test_reserving_a_terabyte_costs_nothing(lab: Laboratory) -> None:
    outcome = await lab.python("import mmap; m = mmap.mmap(-1, 1 << 40, flags=mmap.MAP_PRIVATE | 0x4000); print('ok')")

    assert outcome.stdout == "ok\n"


async def test_a_flood_ends_at_the_cap_exactly(lab: Laboratory) -> None:
    outcome = await lab.shell("yes")

    assert outcome.ending == Killed(Cause.OUTPUT)
    assert outcome.usage.stdout.kept == len(outcome.said[Stream.STDOUT]) == LIMITS.output_bytes
    assert outcome.usage.stdout.produced == LIMITS.output_bytes + 1
    assert outcome.usage.wall_ms < 500


async def test_output_of_exactly_the_cap_is_within_it(lab: Laboratory) -> None:
    outcome = await lab.python(f"import sys; sys.stdout.write('x' * {LIMITS.output_bytes})")

    assert outcome.ending == Exited(0)
    assert outcome.usage.stdout.produced == outcome.usage.stdout.kept == LIMITS.output_bytes


async def test_one_byte_more_is_not(lab: Laboratory) -> None:
    outcome = await lab.python(f"import sys; sys.stdout.write('x' * {LIMITS.output_bytes + 1})")

    assert outcome.usage.stdout.produced == LIMITS.output_bytes + 1
    assert outcome.usage.stdout.kept == LIMITS.output_bytes


async def test_each_stream_has_its_own_budget(lab: Laboratory) -> None:
    outcome = await lab.shell("yes e 1>&2")

    assert outcome.ending == Killed(Cause.OUTPUT)
    assert outcome.usage.stderr.kept == LIMITS.output_bytes
    assert outcome.usage.stdout.produced == 0


async def test_closing_the_output_is_not_the_end(lab: Laboratory) -> None:
    outcome = await lab.python("import os, time; os.close(1); os.close(2); time.sleep(9)", wall_ms=300)

    assert outcome.ending == Killed(Cause.WALL_TIME)


@pytest.mark.parametrize(
    "source",
    [
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        "import os\nwhile 1:\n  try:\n    if os.fork() == 0: os.setsid()\n  except OSError: os.kill(os.getpid(), 19)",
    ],
)
async def test_a_fork_bomb_stays_in_its_jail(lab: Laboratory, source: str) -> None:
    outcome = await lab.python(source, wall_ms=700, cpu_ms=700)

    assert isinstance(outcome.ending, Killed)
    assert outcome.usage.peak_processes in {0, LIMITS.processes}


async def test_too_many_threads_are_refused(lab: Laboratory) -> None:
    outcome = await lab.python(
        "import threading, time\nn = 0\n"
        "try:\n    while True: threading.Thread(target=time.sleep, args=(2,), daemon=True).start(); n += 1\n"
        "except RuntimeError: print(n)\nimport os; os._exit(0)"
    )

    assert outcome.stdout == f"{LIMITS.processes - 1}\n"


async def test_kill_minus_one_does_not_reach_init(lab: Laboratory) -> None:
    outcome = await lab.python(
        """
import os, signal, subprocess
signal.signal(15, signal.SIG_IGN)
try: os.kill(-1, 15)
except ProcessLookupError: pass
for n in (9, 15, 19, 6):
    try: os.kill(1, n)
    except OSError as error: print(n, error.errno)
try: os.kill(-1, 9)
except ProcessLookupError: print("alone")
print("alive", subprocess.call(["/bin/true"]))
"""
    )

    assert outcome.ending == Exited(0)
    assert "alive 0" in outcome.stdout


async def test_a_daemon_does_not_outlive_its_parent(lab: Laboratory) -> None:
    outcome = await lab.shell("(setsid sh -c 'setsid sleep 99 &' &) ; sleep 0.05")

    assert outcome.ending == Exited(0)
    assert outcome.usage.wall_ms < 1000


PRELUDE = """
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
"""


@pytest.mark.parametrize(
    "call",
    [
        "ptrace(PTRACE_TRACEME, 0, 0, 0)",
        "syscall(SYS_mount, 0, 0, 0, 0, 0)",
        "syscall(SYS_bpf, 0, 0, 0)",
        "syscall(SYS_setns, 0, 0)",
        "syscall(SYS_process_vm_readv, 1, 0, 0, 0, 0, 0)",
        "syscall(SYS_init_module, 0, 0, 0)",
        "syscall(SYS_open_tree, -1, 0, 0)",
    ],
)
async def test_a_forbidden_call_is_a_security_violation(lab: Laboratory, call: str) -> None:
    outcome = await lab.c(PRELUDE + 'int main(void) { puts("before"); fflush(stdout); ' + call + '; puts("after"); }')

    assert outcome.ending == Signalled(31)
    assert outcome.stdout == "before\n"


async def test_a_forbidden_call_in_a_thread_ends_the_whole_program(lab: Laboratory) -> None:
    """Kafel's KILL would end the thread alone (security.md, fact 1)."""
    outcome = await lab.c(
        PRELUDE
        + "void *bad(void *x) { ptrace(PTRACE_TRACEME, 0, 0, 0); return x; }\n"
        + 'int main(void) { pthread_t t; pthread_create(&t, 0, bad, 0); pthread_join(t, 0); puts("went on"); }'
    )

    assert outcome.ending == Signalled(31)
    assert not outcome.stdout


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("unshare(CLONE_NEWUSER)", "EPERM"),
        ("syscall(SYS_clone, CLONE_NEWUSER | 17, 0, 0, 0, 0)", "EPERM"),
        ("syscall(SYS_clone3, 0, 0)", "ENOSYS"),
        ("socket(AF_VSOCK, SOCK_STREAM, 0)", "EAFNOSUPPORT"),
        ("socket(AF_NETLINK, SOCK_RAW, 0)", "EAFNOSUPPORT"),
        ("socket(AF_ALG, SOCK_SEQPACKET, 0)", "EAFNOSUPPORT"),
        ("socket(AF_INET, SOCK_RAW, 1)", "EPERM"),
        ("syscall(SYS_io_uring_setup, 1, 0)", "ENOSYS"),
        ("syscall(SYS_keyctl, 0, 0, 0, 0, 0)", "ENOSYS"),
        ("syscall(SYS_add_key, 0, 0, 0, 0, 0)", "ENOSYS"),
        ("syscall(SYS_userfaultfd, 1)", "ENOSYS"),
        ("syscall(SYS_perf_event_open, 0, 0, 0, 0, 0)", "ENOSYS"),
        ("syscall(SYS_pidfd_getfd, 1, 0, 0)", "ENOSYS"),
        ("syscall(SYS_flock, 0, 2)", "ENOSYS"),
        ("syscall(SYS_inotify_init1, 0)", "ENOSYS"),
        ("prctl(PR_SET_PDEATHSIG, 0)", "EPERM"),
        ("syscall(SYS_prlimit64, 1, RLIMIT_CPU, 0, 0)", "EPERM"),
        ("setuid(0)", "EINVAL"),
        ("sethostname(environ[0], 1)", "ENOSYS"),
    ],
)
async def test_a_refused_call_says_so_and_hurts_nobody(lab: Laboratory, call: str, error: str) -> None:
    outcome = await lab.c(
        PRELUDE + f'int main(void) {{ long r = {call}; printf("%s\\n", r < 0 ? strerrorname_np(errno) : "allowed"); }}'
    )

    assert outcome.ending == Exited(0)
    assert outcome.stdout == f"{error}\n"


async def test_the_i386_door_is_shut(lab: Laboratory) -> None:
    outcome = await lab.c(
        'int main(void) { long r; __asm__ volatile ("int $0x80" : "=a"(r) : "a"(20)); return (int)r; }'
    )

    assert outcome.ending == Signalled(31)


async def test_there_is_no_network(lab: Laboratory) -> None:
    """A canary listens on the host; nobody may call."""
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.settimeout(0)
        outcome = await lab.python(
            f"""
import socket
for address in (("127.0.0.1", {canary.getsockname()[1]}), ("8.8.8.8", 53), ("169.254.169.254", 80)):
    try: socket.create_connection(address, 1); print("connected")
    except OSError as error: print(error.errno)
try: socket.getaddrinfo("example.com", 80); print("resolved")
except OSError as error: print("no name")
"""
        )
        with pytest.raises(BlockingIOError):
            canary.accept()

    assert outcome.stdout.splitlines() == ["101", "101", "101", "no name"]


async def test_the_hosts_files_are_not_there(lab: Laboratory) -> None:
    outcome = await lab.shell(
        "for f in /etc/shadow /root /home /proc/1 /sys /dev/mem /dev/kmsg /dev/vda /var /run /boot /mnt /opt; do"
        " test -e $f && echo found $f; done; ls /; ls /dev"
    )

    assert "found" not in outcome.stdout
    assert set(outcome.stdout.split()) == {
        *("bin", "dev", "etc", "lib", "lib64", "sbin", "tmp", "usr", "work"),
        *("fd", "full", "null", "random", "shm", "stderr", "stdin", "stdout", "urandom", "zero"),
    }


async def test_nothing_outside_its_own_directories_can_be_written(lab: Laboratory) -> None:
    outcome = await lab.shell(
        "for d in / /usr /etc /dev /.base /usr/lib /usr/bin; do touch $d/x 2>/dev/null && echo wrote $d; done;"
        "rm -f /.base/init 2>/dev/null && echo removed; cat /.base/init >/dev/null 2>&1 && echo read;"
        "touch /work/x /tmp/x && echo own"
    )

    assert outcome.stdout == "own\n"


async def test_nothing_of_the_executor_is_in_the_environment(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "secret")
    outcome = await lab.shell("env; cat /proc/self/environ /proc/1/environ 2>/dev/null; ls /proc/self/fd 2>/dev/null")

    assert sorted(line.split("=")[0] for line in outcome.stdout.splitlines()) == ["HOME", "LC_ALL", "PATH", "PWD"]


async def test_only_three_descriptors_are_open(lab: Laboratory) -> None:
    outcome = await lab.c(
        PRELUDE
        + "#include <fcntl.h>\n"
        + 'int main(void) { for (int fd = 0; fd < 1024; fd++) if (fcntl(fd, F_GETFD) >= 0) printf("%d ", fd); }'
    )

    assert outcome.stdout == "0 1 2 "


async def test_it_is_nobody_outside_and_has_no_power_inside(lab: Laboratory) -> None:
    stdin = Stdin(open_end=True)
    seen: list[int] = []
    async with lab.pool.checkout() as box:

        def output(_: Stream, data: bytes) -> None:
            seen.extend(Path(f"/proc/{pid}").stat().st_uid for pid in lab.processes() if b"ready" in data)
            stdin.end()

        ending, _ = await box.run(
            Command(argv=["/bin/sh", "-c", "echo ready; cat"], env=ENV), LIMITS, stdin=stdin, output=output
        )

    assert ending == Exited(0)
    assert seen
    assert all(uid == 0 or uid >= OUTSIDE for uid in seen)
    outcome = await lab.c(
        PRELUDE
        + "#include <linux/capability.h>\n"
        + "int main(void) { struct __user_cap_header_struct h = {0x20080522, 0}; struct __user_cap_data_struct d[2];\n"
        + 'syscall(SYS_capget, &h, d); printf("%x %x %x %d %d\\n", d[0].effective | d[1].effective, d[0].permitted,'
        + "d[0].inheritable, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), prctl(PR_GET_SECCOMP)); }"
    )
    assert outcome.stdout == "0 0 0 1 2\n"


async def test_init_cannot_be_traced_read_or_robbed(lab: Laboratory) -> None:
    outcome = await lab.python(
        "import os\n"
        "for path in ('/proc/1/mem', '/proc/1/fd', '/proc/1/environ'):\n"
        "    print(os.path.exists(path))\n"
        "try: os.pidfd_open(1); print('a pidfd alone gives nothing')\n"
        "except OSError as e: print(e.errno)\n"
    )

    assert outcome.stdout.splitlines()[:3] == ["False"] * 3


async def test_one_job_leaves_nothing_for_the_next(lab: Laboratory) -> None:
    await lab.shell("echo secret > /work/left; echo secret > /tmp/left; echo secret > /dev/shm/left; mkdir /work/d")
    outcome = await lab.shell("ls -A /work /tmp /dev/shm/")

    assert outcome.stdout.split() == ["/dev/shm/:", "/tmp:", "/work:"]


async def test_files_and_bytes_in_its_directories_are_bounded(lab: Laboratory) -> None:
    outcome = await lab.python(
        """
n = 0
try:
    while True: open(f"/work/{n}", "w").close(); n += 1
except OSError as error: print(error.errno, n < 5000)
""",
    )

    assert outcome.stdout == "28 True\n"


async def test_a_file_too_large_is_the_programs_own_error(lab: Laboratory) -> None:
    outcome = await lab.c(
        PRELUDE + "#include <fcntl.h>\n"
        'int main(void) { int f = open("big", O_CREAT | O_WRONLY, 0600); return ftruncate(f, 1L << 40) < 0; }'
    )

    assert outcome.ending == Signalled(25)


async def test_endless_recursion_is_a_crash_of_its_own(lab: Laboratory) -> None:
    outcome = await lab.c(
        "int f(int n) { volatile char b[4096]; b[0] = n; return f(n + 1) + b[0]; } int main(void) { return f(0); }",
        flags=("-O0",),
        memory_bytes=256 << 20,
    )

    assert outcome.ending == Signalled(11)


async def test_a_thousand_deep_directories_are_gone_at_once(lab: Laboratory) -> None:
    began = time.monotonic()
    outcome = await lab.python("import os\nfor _ in range(1000): os.mkdir('d'); os.chdir('d')\nprint('deep')")
    await lab.quiet()

    assert outcome.stdout == "deep\n"
    assert time.monotonic() - began < 2


async def test_a_jail_that_was_killed_takes_no_further_command(lab: Laboratory) -> None:
    async with lab.pool.checkout() as box:
        limits = dataclasses.replace(LIMITS, wall_ms=50)
        await box.run(Command(argv=["/bin/sleep", "9"]), limits, stdin=Stdin(), output=lambda _stream, _data: None)
        with pytest.raises(SandboxError):
            await box.run(Command(argv=["/bin/true"]), limits, stdin=Stdin(), output=lambda _stream, _data: None)
