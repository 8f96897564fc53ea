"""Files: what is not there, what cannot be written, and what a job may leave behind."""

from typing import Unpack

from audit.case import Case, Expectation, Marks, Program, at_most, limit, oom_events, signalled, wall_between
from audit.programs import answered, c, opened, python

MOUNTS = "mounts"
_SECRETS = {
    "shadow": "/etc/shadow",
    "root_home": "/root/.bashrc",
    "home": "/home",
    "docker": "/var/run/docker.sock",
    "containerd": "/run/containerd/containerd.sock",
    "kube": "/root/.kube/config",
    "ssh": "/etc/ssh/sshd_config",
    "host_tmp": "/var/tmp",
    "fstab": "/etc/fstab",
    "boot": "/boot",
}


def _paths(
    number: str, name: str, claim: str, paths: dict[str, str], error: int | str = 2, **more: Unpack[Marks]
) -> Case:
    program, expect = opened(paths, error)
    return Case(id=number, name=name, claim=claim, layer=MOUNTS, program=program, expect=expect, **more)


def _program(
    number: str, name: str, claim: str, layer: str, program: Program, expect: Expectation, **more: Unpack[Marks]
) -> Case:
    return Case(id=number, name=name, claim=claim, layer=layer, program=program, expect=expect, **more)


_WRITES, _WRITES_SAY = answered(
    {
        "root": ('open("/x", O_CREAT | O_WRONLY, 0600)', 30),
        "usr": ('open("/usr/x", O_CREAT | O_WRONLY, 0600)', 30),
        "lib": ('open("/lib/x", O_CREAT | O_WRONLY, 0600)', 30),
        "etc": ('open("/etc/x", O_CREAT | O_WRONLY, 0600)', 30),
        "dev": ('open("/dev/x", O_CREAT | O_WRONLY, 0600)', 30),
        "base": ('open("/.base/x", O_CREAT | O_WRONLY, 0600)', 30),
        "mkdir": ('mkdir("/usr/lib/x", 0700)', 30),
        "unlink": ('unlink("/usr/bin/env")', 30),
        "rename": ('rename("/usr/bin/env", "/usr/bin/x")', 30),
        "chmod": ('chmod("/usr/bin/env", 04777)', 30),
        "utime": ('utimes("/usr/bin/env", 0)', 30),
        "xattr": ('syscall(SYS_setxattr, "/usr/bin/env", "user.x", "y", 1, 0)', 30),
        "own": ('open("/work/x", O_CREAT | O_WRONLY, 0600)', 0),
    }
)
_INIT, _INIT_SAYS = answered(
    {
        "write": ('open("/.base/init", O_WRONLY)', "(13|30|26)"),
        "read": ('open("/.base/init", O_RDONLY)', 13),
        "unlink": ('unlink("/.base/init")', 30),
        "self": ('open("/proc/self/exe", O_WRONLY)', 2),
        "python": ('open("/usr/bin/python3", O_WRONLY)', "(13|30)"),
        "truncate": ('truncate("/.base/init", 0)', "(13|30|26)"),
        "replace": ('rename("/tmp", "/.base/init")', "(18|30|13|16)"),
    }
)

CASES = (
    _paths(
        "F01",
        "secrets of the host",
        "Nothing of the host but its programs is there.",
        _SECRETS,
        classic=True,
        fast=True,
    ),
    _program(
        "F01-canary",
        "a file that the host has beside us",
        "A canary that lies open to all users of the host cannot be reached by its path.",
        MOUNTS,
        Program(
            language="python",
            source=python(
                'import os\nhere = os.environ["AUDIT_CANARY"]\nattempt("read", open, here + "/secret")\n'
                'attempt("write", open, here + "/new", "w")\nattempt("list", os.listdir, here)\n'
                'attempt("climb", open, "../" * 40 + here + "/secret")\nattempt("remove", os.unlink, here + "/secret")'
            ),
        ),
        Expectation(verdicts=("SUCCESS",), says=("read=2", "write=2", "list=2", "climb=2", "remove=2")),
        fast=True,
    ),
    _paths(
        "F02",
        "environment and memory of PID 1",
        "Nothing of our init can be read.",
        {n: f"/proc/1/{n}" for n in ("environ", "mem", "fd", "cmdline", "maps", "root", "cwd", "exe")},
        classic=True,
        fast=True,
    ),
    _program(
        "F03",
        "other processes",
        "A program sees its own processes and our init, and no others.",
        "PID namespace",
        Program(
            source=c(r"""
ATTACK {
    int seen = 0;
    TRY("proc", opendir("/proc") ? 0 : -1);
    for (int pid = 2; pid < 70000; pid++) if (pid != getpid() && kill(pid, 0) == 0) seen++;
    say("others", seen); say("mine", getpid() < 1000); return 0; }
""")
        ),
        Expectation(verdicts=("SUCCESS",), says=("proc=2", "others=0", "mine=1")),
        fast=True,
    ),
    _paths(
        "F04",
        "kernel settings",
        "Settings of the kernel are not there to be written.",
        {
            "core_pattern": "/proc/sys/kernel/core_pattern",
            "hostname": "/proc/sys/kernel/hostname",
            "modprobe": "/proc/sys/kernel/modprobe",
        },
    ),
    _paths(
        "F05",
        "order of the out-of-memory killer",
        "A program cannot hide from the out-of-memory killer.",
        {"score": "/proc/self/oom_score_adj", "adj": "/proc/self/oom_adj"},
    ),
    _paths(
        "F06",
        "kernel memory and magic keys",
        "The kernel's memory and log are not there.",
        {
            n.replace("-", "_"): f"/proc/{n}"
            for n in ("kcore", "kmsg", "sysrq-trigger", "timer_list", "kallsyms", "keys")
        },
    ),
    _paths(
        "F07",
        "control groups",
        "The groups that carry the limits are not there.",
        {
            "sys": "/sys",
            "cgroup": "/sys/fs/cgroup",
            "release_agent": "/sys/fs/cgroup/memory/release_agent",
            "own": "/proc/self/cgroup",
        },
        fast=True,
    ),
    _paths(
        "F08",
        "devices",
        "Only null, zero, full, random and urandom are there.",
        {
            n.replace("/", "_"): f"/dev/{n}"
            for n in (
                "mem",
                "kmem",
                "kmsg",
                "tty",
                "console",
                "vda",
                "sda",
                "loop0",
                "fuse",
                "kvm",
                "net/tun",
                "ptmx",
                "port",
            )
        },
    ),
    _program(
        "F09",
        "writing outside its own directories",
        "Everything but /work and /tmp is read-only.",
        "read-only mounts",
        _WRITES,
        _WRITES_SAY,
        classic=True,
        fast=True,
    ),
    _program(
        "F10",
        "mounts below read-only mounts",
        "Every mount that a program can reach is read-only, also one beneath another.",
        "new mount interface",
        Program(
            language="python",
            source=python(r"""
import os
writable, seen = set(), {}
for top in ("/", "/usr", "/.base"):
    for here, directories, _ in os.walk(top):
        if here == "/": directories[:] = [d for d in directories if d not in ("work", "tmp")]
        seen.setdefault(os.stat(here).st_dev, here)
        if len(seen) and os.access(here, os.W_OK): writable.add(here)
for device, here in seen.items():
    if not os.statvfs(here).f_flag & os.ST_RDONLY: writable.add(here)
print("mounts", len(seen) >= 2, "writable", sorted(writable), flush=True)
"""),
        ),
        Expectation(verdicts=("SUCCESS",), says=(r"mounts True writable \[\]",)),
    ),
    _program(
        "F11",
        "links where trusted code might look",
        "Replacing its files by links to the host's brings nothing of the host into the answer.",
        "nothing is read back by path",
        Program(
            language="python",
            source=python(r"""
import os
target = os.environ["AUDIT_CANARY"] + "/secret"
for name in ("main.py", "stdout", "result", "/tmp/program", "out"):
    if os.path.lexists(name): os.unlink(name)
    os.symlink(target, name)
    attempt("through", open, name)
print("links", len([n for n in os.listdir(".") if os.path.islink(n)]), flush=True)
"""),
        ),
        Expectation(verdicts=("SUCCESS",), says=("through=2", "links 4")),
    ),
    _program(
        "F12",
        "swapping a directory for a link",
        "Ten thousand races lead nowhere outside.",
        MOUNTS,
        Program(
            language="python",
            source=python(r"""
import os, threading
target = os.path.dirname(os.environ["AUDIT_CANARY"]); leaf = os.path.basename(os.environ["AUDIT_CANARY"])
os.makedirs("d/" + leaf); open("d/" + leaf + "/secret", "w").write("own")
stop, seen = False, set()
def swap():
    while not stop:
        os.rename("d", "e"); os.symlink(target, "d"); os.unlink("d"); os.rename("e", "d")
t = threading.Thread(target=swap); t.start()
for _ in range(10000):
    try: seen.add(open("d/" + leaf + "/secret").read())
    except OSError as error: seen.add(error.errno)
stop = True; t.join()
print("seen", sorted(map(str, seen - {2})), flush=True)
"""),
        ),
        Expectation(verdicts=("SUCCESS",), says=(r"seen \['own'\]",)),
    ),
    _program(
        "F13",
        "hard links to files of others",
        "No file of another user gets a second name.",
        "mounts, protected_hardlinks",
        *answered(
            {
                "usr": ('link("/usr/bin/env", "/work/env")', 18),
                "init": ('link("/.base/init", "/tmp/init")', 18),
                "inside": ('link("/usr/bin/env", "/usr/bin/env2")', "(1|30)"),
                "between": ('link("/work/main.c", "/tmp/main.c")', 18),
            }
        ),
    ),
    _program(
        "F14",
        "pipes and sockets as results",
        "What a program leaves in its directories blocks nobody.",
        "nothing is read back by path",
        Program(
            language="python",
            source=python(
                'import os, socket\nos.unlink("main.py"); os.mkfifo("main.py"); os.mkfifo("/tmp/program")\n'
                'socket.socket(socket.AF_UNIX).bind("/work/stdout")\nprint("left", sorted(os.listdir(".")), flush=True)'
            ),
        ),
        Expectation(verdicts=("SUCCESS",), says=(r"left \['main.py', 'stdout'\]",), facts=(wall_between(0, 2000),)),
    ),
    _program(
        "F15",
        "a file of one terabyte",
        "A file cannot be made larger than the program's memory, not even a hole.",
        "RLIMIT_FSIZE",
        Program(
            source=c(
                'ATTACK { int f = open("big", O_CREAT | O_WRONLY, 0600); say("open", f > 2); say("grown", ftruncate(f, 1L << 40)); return 0; }'
            )
        ),
        Expectation(verdicts=("RUNTIME_ERROR",), says=("open=1",), never=("grown",), facts=(signalled(25),)),
    ),
    _program(
        "F16",
        "filling its directories",
        "Files are bounded in bytes, and the host's disk is not theirs.",
        "tmpfs size",
        Program(
            language="python",
            source=python(r"""
import os
for place in ("/work", "/tmp"):
    f = open(place + "/fill", "wb", buffering=0); n = 0
    try:
        while True: n += f.write(b"x" * (1 << 16))
    except OSError as error: print(place, error.errno, n <= 64 << 20, n > 32 << 20, flush=True)
"""),
            memory_kb=262_144,
        ),
        Expectation(verdicts=("SUCCESS",), says=("/work 28 True True", "/tmp 28 True True")),
    ),
    _program(
        "F16-memory",
        "filling its directories past its memory",
        "Files count as memory.",
        "memory group",
        Program(
            language="python",
            source=python(
                'f = open("/work/fill", "wb", buffering=0)\nprint("filling", flush=True)\nwhile True: f.write(b"x" * (1 << 16))'
            ),
            memory_kb=32_768,
        ),
        # A file may be as large as the memory; whichever limit is met first decides.
        Expectation(verdicts=("MEMORY_LIMIT_EXCEEDED",), says=("filling",), facts=(limit("MEMORY"), oom_events(1))),
        fast=True,
    ),
    _program(
        "F17",
        "a hundred thousand files",
        "Files are bounded in number.",
        "tmpfs nr_inodes",
        Program(
            language="python",
            source=python(
                'n = 0\ntry:\n    while n < 100000: open(f"/work/{n}", "w").close(); n += 1\n'
                'except OSError as error: print("errno", error.errno, n < 4097, flush=True)'
            ),
        ),
        Expectation(verdicts=("SUCCESS",), says=("errno 28 True",)),
        fast=True,
    ),
    _program(
        "F18",
        "directories without end",
        "A directory tree as deep as can be is gone at once.",
        "tmpfs, unmounted with its namespace",
        Program(
            language="python",
            source=python(
                'import os\nn = 0\ntry:\n    while n < 10000: os.mkdir("d"); os.chdir("d"); n += 1\n'
                'except OSError as error: print("errno", error.errno, n > 3000, flush=True)'
            ),
        ),
        Expectation(verdicts=("SUCCESS",), says=("errno 28 True",)),
    ),
    _program(
        "F19",
        "odd file names",
        "No name of a file reaches our logs or paths.",
        "nothing is read back by path",
        Program(
            language="python",
            source=python(r"""
import os
for name in (b"a\nb", b"\xff\xfe", b"x" * 255, b"-rf", b"\x1b[2J", b"$(reboot)", b"..."):
    open(b"/work/" + name, "w").close()
print("made", len(os.listdir(b"/work")), flush=True)
"""),
        ),
        Expectation(verdicts=("SUCCESS",), says=("made 8",)),
    ),
    _program(
        "F20",
        "many links to one big file",
        "Links multiply nothing in the answer.",
        "nothing is read back by path",
        Program(
            language="python",
            source=python(
                'import os\nopen("/work/big", "wb").write(b"x" * (8 << 20))\n'
                'for n in range(200): os.symlink("big", f"l{n}"); os.link("big", f"h{n}")\nprint("links", len(os.listdir(".")), flush=True)'
            ),
        ),
        Expectation(verdicts=("SUCCESS",), says=("links 402",), facts=(at_most("STDOUT", 200),)),
    ),
    _program(
        "F21",
        "directories made unusable",
        "A directory closed against its owner hinders no cleaning up.",
        "tmpfs, unmounted with its namespace",
        Program(
            language="python",
            source=python(r"""
import fcntl, os, struct
os.makedirs("/work/a/b"); open("/work/a/b/c", "w").write("x")
fd = os.open("/work/a/b/c", os.O_RDONLY)
attempt("immutable", fcntl.ioctl, fd, 0x40086602, struct.pack("l", 0x10))
for path in ("/work/a/b/c", "/work/a/b", "/work/a", "/work", "/tmp"): os.chmod(path, 0)
attempt("closed", os.listdir, "/work")
"""),
        ),
        Expectation(verdicts=("SUCCESS",), says=(r"immutable=(1|25|95)", "closed=13")),
    ),
    _program(
        "F22",
        "set-user-id programs",
        "No program gains a user by being executed.",
        "no_new_privs, one id",
        Program(
            language="python",
            source=python(r"""
import os, shutil, stat, subprocess
shutil.copy("/usr/bin/id", "/work/id"); os.chmod("/work/id", 0o6755)
print("own", subprocess.run(["/work/id", "-u"], capture_output=True, text=True).stdout.strip(), flush=True)
found = [f"/usr/bin/{n}" for n in os.listdir("/usr/bin") if os.stat(f"/usr/bin/{n}", follow_symlinks=False).st_mode & stat.S_ISUID]
for path in [p for p in found if p.endswith("/su")]:
    print("su", subprocess.run([path, "-c", "id -u"], capture_output=True, stdin=subprocess.DEVNULL).returncode != 0, flush=True)
print("tried", True, flush=True)
"""),
        ),
        Expectation(verdicts=("SUCCESS",), says=("own 1000", "tried True"), never=("^0$", "su False")),
        classic=True,
    ),
    _program(
        "F23",
        "overwriting our init",
        "What runs outside cannot be replaced from inside.",
        "read-only mounts",
        _INIT,
        _INIT_SAYS,
        fast=True,
    ),
    _program(
        "F24",
        "a file past its limit",
        "Writing past the largest file is the program's own end.",
        "RLIMIT_FSIZE",
        Program(
            source=c(
                'ATTACK { int f = open("/tmp/big", O_CREAT | O_WRONLY, 0600); say("open", f > 2); say("wrote", pwrite(f, "x", 1, 10L << 30)); return 0; }'
            )
        ),
        Expectation(verdicts=("RUNTIME_ERROR",), says=("open=1",), never=("wrote",), facts=(signalled(25),)),
    ),
    _program(
        "F24-ignored",
        "a file past its limit, signal ignored",
        "Ignoring the signal leaves the error.",
        "RLIMIT_FSIZE",
        Program(
            source=c(
                'ATTACK { signal(SIGXFSZ, SIG_IGN); int f = open("/tmp/big", O_CREAT | O_WRONLY, 0600); TRY("wrote", pwrite(f, "x", 1, 10L << 30)); return 0; }'
            )
        ),
        Expectation(verdicts=("SUCCESS",), says=("wrote=27",)),
    ),
    _program(
        "F25",
        "memory behind the end of a file",
        "SIGBUS is told as what it is.",
        "init's true status",
        Program(
            source=c(
                'ATTACK { int f = memfd_create("x", 0); char *p = mmap(0, 4096, 3, MAP_SHARED, f, 0); say("mapped", p != MAP_FAILED); p[0] = 1; puts("survived"); return 0; }'
            )
        ),
        Expectation(verdicts=("RUNTIME_ERROR",), says=("mapped=1",), never=("survived",), facts=(signalled(7),)),
    ),
    _program(
        "F26",
        "a huge core",
        "A crash leaves no core and calls nobody on the host.",
        "RLIMIT_CORE",
        Program(
            source=c(r"""
ATTACK {
    struct rlimit r; getrlimit(RLIMIT_CORE, &r); say("core", r.rlim_max);
    r.rlim_cur = r.rlim_max = RLIM_INFINITY; TRY("raise", setrlimit(RLIMIT_CORE, &r));
    volatile char *m = malloc(20 << 20); for (int k = 0; k < 20 << 20; k += 4096) m[k] = 1; pid_t p = fork(); int s;
    if (p == 0) abort();
    waitpid(p, &s, 0); say("dumped", !!WCOREDUMP(s));
    TRY("file", access("core", F_OK)); abort(); }
""")
        ),
        Expectation(
            verdicts=("RUNTIME_ERROR",), says=("core=0", "raise=1", "dumped=0", "file=2"), facts=(signalled(6),)
        ),
    ),
    _paths(
        "F27",
        "the list of mounts",
        "Where our files lie on the host is not told.",
        {"mountinfo": "/proc/self/mountinfo", "mounts": "/proc/mounts", "etc_mtab": "/etc/mtab"},
    ),
)
