"""Across jobs: what one leaves for the next, and what two that conspire could tell each other."""

import asyncio

from audit.case import Case, Expectation, Program
from audit.programs import answered, c, opened, python
from audit.stage import Stage

_LISTING = python(r"""
import os
found = []
for place in ("/work", "/tmp", "/dev/shm", "/var/tmp", "/run/lock", "/var/lock", "/run", "/home", "/dev/mqueue"):
    try: found += [place + "/" + n for n in os.listdir(place) if n != "main.py"]
    except OSError: pass
print("found", found, flush=True)
""")


def _py(source: str, **env: str) -> Program:
    return Program(language="python", source=source, env=env)


async def _files(stage: Stage) -> None:
    secret = stage.secret()
    leave = python(
        "import os\nfor place in ('/work', '/tmp', '/dev/shm', '/var/tmp', '/run/lock'):\n"
        "    attempt(place, open, place + '/' + os.environ['SECRET'], 'w')"
    )
    seen = await stage.run(_py(leave, SECRET=secret))
    stage.require(seen, "SUCCESS", "/work=0", "/tmp=0", "/dev/shm=0", "/var/tmp=2", "/run/lock=2")
    for seen in await asyncio.gather(*(stage.run(_py(_LISTING)) for _ in range(8))):
        stage.require(seen, "SUCCESS", r"found \[\]")


async def _ipc(stage: Stage) -> None:
    head = (
        "#include <sys/ipc.h>\n#include <sys/msg.h>\n#include <sys/sem.h>\n#include <sys/shm.h>\n#include <mqueue.h>\n"
    )
    make = c(
        head + 'ATTACK { TRY("shm", shmget(77, 4096, IPC_CREAT | 0666)); TRY("msg", msgget(77, IPC_CREAT | 0666));'
        ' TRY("sem", semget(77, 1, IPC_CREAT | 0666)); usleep(700000); return 0; }'
    )
    find = c(
        head
        + 'ATTACK { usleep(300000); TRY("shm", shmget(77, 0, 0)); TRY("msg", msgget(77, 0)); TRY("sem", semget(77, 0, 0));'
        ' TRY("mq", mq_open("/audit", O_RDONLY)); return 0; }'
    )
    made, beside = await asyncio.gather(stage.run(Program(source=make)), stage.run(Program(source=find)))
    stage.require(made, "SUCCESS", "shm=0", "msg=0", "sem=0")
    stage.require(beside, "SUCCESS", "shm=2", "msg=2", "sem=2", "mq=2")
    stage.require(await stage.run(Program(source=find)), "SUCCESS", "shm=2", "msg=2", "sem=2", "mq=2")


async def _in_flight(stage: Stage) -> None:
    """A listening socket hides in a message that nobody will read; its name must not reach a later job."""
    name = stage.secret()
    hide = python(r"""
import array, os, socket
s = socket.socket(socket.AF_UNIX); s.bind("\0" + os.environ["NAME"]); s.listen(8)
for _ in range(8):
    a, b = socket.socketpair()
    for via, sent in ((a, (s, b)), (b, (s, a))):
        via.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [x.fileno() for x in sent]))])
print("hidden", flush=True)
""")
    call = python(
        'import os, socket\ns = socket.socket(socket.AF_UNIX)\nattempt("peer", s.connect, "\\0" + os.environ["NAME"])'
    )
    for seen in await asyncio.gather(*(stage.run(_py(hide, NAME=f"{name}{n}")) for n in range(4))):
        stage.require(seen, "SUCCESS", "hidden")
    for n in range(4):
        for seen in await asyncio.gather(*(stage.run(_py(call, NAME=f"{name}{n}")) for _ in range(4))):
            stage.require(seen, "SUCCESS", "peer=111")


async def _signals(stage: Stage) -> None:
    """One program sends signals to every process number; the other must not feel them."""
    victim = python("import time\nprint('waiting', flush=True)\ntime.sleep(1)\nprint('unharmed', flush=True)")
    killer = c(
        "ATTACK { usleep(300000); int hit = 0; for (int p = 2; p < 40000; p++) if (p != getpid()) {"
        ' if (kill(p, 9) == 0) hit++; if (kill(-p, 9) == 0 && p != getpgrp()) hit++; } say("hit", hit); return 0; }'
    )
    unharmed, seen = await asyncio.gather(stage.run(_py(victim)), stage.run(Program(source=killer)))
    stage.require(unharmed, "SUCCESS", "waiting", "unharmed")
    stage.require(seen, ("SUCCESS", "RUNTIME_ERROR"))


async def _nonces(stage: Stage) -> None:
    """Two hundred programs at once get their own input, arguments and output, and nobody else's."""
    source = python("import os, sys\nprint(sys.argv[1], os.environ['OWN'], sys.stdin.read(), flush=True)")
    secrets = [stage.secret() for _ in range(200)]
    programs = [Program(language="python", source=source, args=(s,), env={"OWN": s}, stdin=s.encode()) for s in secrets]
    for secret, seen in zip(secrets, await asyncio.gather(*(stage.run(p) for p in programs)), strict=True):
        stage.require(seen, "SUCCESS", f"{secret} {secret} {secret}")
        others = [
            word for word in seen.stdout.split() if len(word) == len(secret) and word in secrets and word != secret
        ]
        stage.check(not others, f"{seen.job_id} shows another's nonce")


async def _slot(stage: Stage) -> None:
    """Jobs that leave processes everywhere, each followed at once by one that looks for them."""
    leave = c(
        'ATTACK { for (int i = 0; i < 20; i++) if (fork() == 0) { setsid(); for (;;) pause(); } say("left", 20); return 0; }'
    )
    look = c(
        "ATTACK { int n = 0; for (int p = 2; p < 40000; p++) if (p != getpid() && kill(p, 0) == 0) n++;"
        ' say("others", n); return 0; }'
    )
    for _ in range(4):
        pair = await asyncio.gather(stage.run(Program(source=leave)), stage.run(Program(source=look)))
        stage.require(pair[0], "SUCCESS", "left=20")
        stage.require(pair[1], "SUCCESS", "others=0")


async def _notifications(stage: Stage) -> None:
    """Watching a shared directory: inotify, dnotify, leases and fanotify are all refused."""
    source = c(r"""
#include <sys/inotify.h>
ATTACK {
    TRY("inotify", inotify_init1(0));
    TRY("fanotify", syscall(SYS_fanotify_init, 0, 0));
    int d = open("/usr/lib", O_RDONLY), f = open("/usr/bin/env", O_RDONLY); say("opened", d > 2 && f > 2);
    TRY("dnotify", fcntl(d, F_NOTIFY, DN_ACCESS | DN_MULTISHOT));
    TRY("lease", fcntl(f, F_SETLEASE, F_RDLCK));
    TRY("high", syscall(SYS_fcntl, d, 0x100000000L | F_NOTIFY, DN_ACCESS | DN_MULTISHOT));
    return 0; }
""")
    stage.require(
        await stage.run(Program(source=source)),
        "SUCCESS",
        "inotify=38",
        "fanotify=38",
        "opened=1",
        "dnotify=22",
        "lease=22",
        "high=22",
    )


_CACHE, _CACHE_SAYS = answered(
    {
        "opened": ('open("/usr/bin/env", O_RDONLY) == 3 ? 0 : -1', 0),
        "cachestat": ("syscall(451, 3, (long[]){0, 4096}, (long[5]){0}, 0)", 38),
        "nowait_high": (
            "syscall(SYS_preadv2, 3, (struct iovec[]){{(char[8]){0}, 8}}, 1, 0L, 0L, 0x100000008L)",
            "(95|38)",
        ),
        "nowait": ("syscall(SYS_preadv2, 3, (struct iovec[]){{(char[8]){0}, 8}}, 1, 0L, 0L, 8)", "(95|38)"),
        "plain": ("syscall(SYS_preadv2, 3, (struct iovec[]){{(char[8]){0}, 8}}, 1, 0L, 0L, 0)", 0),
    }
)
_CHANNELS, _CHANNELS_SAY = opened(
    {
        "stat": "/proc/stat",
        "loadavg": "/proc/loadavg",
        "meminfo": "/proc/meminfo",
        "locks": "/proc/locks",
        "schedstat": "/proc/schedstat",
    },
    2,
)
_GROUPS, _GROUPS_SAY = opened(
    {
        "cgroup": "/proc/self/cgroup",
        "sys": "/sys/fs/cgroup",
        "unified": "/sys/fs/cgroup/unified",
        "state": "/var/lib/sentinel",
    },
    2,
)

CASES = (
    Case(
        id="X01",
        name="files for the next job",
        claim="No job finds a file of another.",
        layer="tmpfs per jail, one use",
        scenario=_files,
        fast=True,
    ),
    Case(
        id="X02",
        name="System V and POSIX leftovers",
        claim="No job finds a segment, queue or semaphore of another, beside it or after it.",
        layer="IPC namespace",
        scenario=_ipc,
    ),
    Case(
        id="X02-sockets",
        name="sockets hidden in flight",
        claim="A name that a job listened on answers no later job, even where networks are used again.",
        layer="network namespace",
        scenario=_in_flight,
    ),
    Case(
        id="X03",
        name="names in keyrings",
        claim="No job can leave a key or find one.",
        layer="seccomp",
        program=answered(
            {"session": ('syscall(SYS_keyctl, 1, "audit")', 38), "persistent": ("syscall(SYS_keyctl, 22, -1, -1)", 38)}
        )[0],
        expect=Expectation(verdicts=("SUCCESS",), says=("session=38", "persistent=38")),
    ),
    Case(
        id="X04",
        name="locks on shared files",
        claim="Whole-file locks on the files that all jails share do not exist.",
        layer="seccomp",
        program=answered(
            {"open": ('open("/usr/bin/env", O_RDONLY) < 0 ? -1 : 0', 0), "flock": ("syscall(SYS_flock, 3, 6)", 38)}
        )[0],
        expect=Expectation(verdicts=("SUCCESS",), says=("open=0", "flock=38")),
    ),
    Case(
        id="X05",
        name="watching shared files",
        claim="No job is told what others do with the files that all jails share.",
        layer="seccomp",
        scenario=_notifications,
        fast=True,
    ),
    Case(
        id="X05-cache",
        name="asking what is cached",
        claim="No job learns from the page cache which shared files others have read.",
        layer="seccomp",
        program=_CACHE,
        expect=_CACHE_SAYS,
    ),
    Case(
        id="X06",
        name="names of other jobs",
        claim="Neither its own place on the host nor another's can be found out.",
        layer="mounts",
        program=_GROUPS,
        expect=_GROUPS_SAY,
    ),
    Case(
        id="X07",
        name="signals to a neighbour",
        claim="No signal reaches another job.",
        layer="PID namespace, one user id per jail",
        scenario=_signals,
        fast=True,
    ),
    Case(
        id="X09",
        name="a slot used again",
        claim="A slot is empty before the next job is in it.",
        layer="one jail per job, proved empty",
        scenario=_slot,
    ),
    Case(
        id="X10",
        name="counters of the machine",
        claim="The machine's load and memory are not told in files.",
        layer="mounts",
        program=_CHANNELS,
        expect=_CHANNELS_SAY,
    ),
    Case(
        id="X11",
        name="two hundred jobs at once",
        claim="Nobody's input, arguments or output are mixed up with another's.",
        layer="one jail per job",
        scenario=_nonces,
        crowd=True,
        alone=True,
    ),
)
