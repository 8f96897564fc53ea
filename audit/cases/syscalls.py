"""System calls: what the kernel is never asked, and what it answers to the rest."""

from typing import Unpack

from audit.case import ANY_ENDING, Case, Expectation, Marks, Program, signalled
from audit.programs import answered, c, fatal, fatal_in_children, python

SECCOMP = "seccomp"
_NAMESPACES = {
    "mount": "CLONE_NEWNS",
    "cgroup": "CLONE_NEWCGROUP",
    "uts": "CLONE_NEWUTS",
    "ipc": "CLONE_NEWIPC",
    "user": "CLONE_NEWUSER",
    "pid": "CLONE_NEWPID",
    "net": "CLONE_NEWNET",
}


def _case(
    number: str, name: str, claim: str, pair: tuple[Program, Expectation], layer: str = SECCOMP, **more: Unpack[Marks]
) -> Case:
    return Case(id=number, name=name, claim=claim, layer=layer, program=pair[0], expect=pair[1], **more)


CASES = (
    _case(
        "S01",
        "ptrace itself",
        "Asking to be traced ends the program.",
        fatal("ptrace(PTRACE_TRACEME, 0, 0, 0)"),
        classic=True,
        fast=True,
    ),
    _case(
        "S01-attach",
        "ptrace PID 1",
        "Attaching to our init ends the program.",
        fatal("ptrace(PTRACE_ATTACH, 1, 0, 0)"),
    ),
    Case(
        id="S02",
        name="forbidden call in a thread",
        claim="The whole program ends, not the one thread.",
        layer="seccomp KILL_PROCESS",
        program=Program(
            source=c(r"""
static void *bad(void *x) { ptrace(PTRACE_TRACEME, 0, 0, 0); return x; }
ATTACK { pthread_t t; say("calling", 1); pthread_create(&t, 0, bad, 0); pthread_join(t, 0); puts("survived"); return 0; }
""")
        ),
        expect=Expectation(
            verdicts=("SECURITY_VIOLATION",), says=("calling=1",), never=("survived",), facts=(signalled(31),)
        ),
        fast=True,
    ),
    _case(
        "S03",
        "forbidden call in a child",
        "A child that breaks the policy dies, even where the parent then exits with 0.",
        fatal_in_children({"child": "ptrace(PTRACE_TRACEME, 0, 0, 0)"}),
    ),
    _case(
        "S04",
        "unshare namespaces",
        "No program makes a namespace, least of all a user namespace.",
        answered({n: (f"unshare({flag})", 1) for n, flag in _NAMESPACES.items()}),
        classic=True,
        fast=True,
    ),
    _case(
        "S05",
        "clone with namespaces",
        "No flag of clone makes a namespace.",
        answered({n: (f"syscall(SYS_clone, {flag} | SIGCHLD, 0, 0, 0, 0)", 1) for n, flag in _NAMESPACES.items()}),
        fast=True,
    ),
    Case(
        id="S06",
        name="clone3 with namespaces",
        claim="clone3, whose flags no filter sees, is as on an older kernel, and threads still work.",
        layer=SECCOMP,
        program=Program(
            source=c(r"""
static void *work(void *x) { *(int *)x = 42; return 0; }
ATTACK {
    unsigned long args[11] = { CLONE_NEWUSER };
    TRY("clone3", syscall(SYS_clone3, args, sizeof args));
    pthread_t t; int answer = 0; say("create", pthread_create(&t, 0, work, &answer)); pthread_join(t, 0);
    say("answer", answer); return 0; }
""")
        ),
        expect=Expectation(verdicts=("SUCCESS",), says=("clone3=38", "create=0", "answer=42")),
    ),
    _case(
        "S07",
        "i386 door",
        "int 0x80 ends the program.",
        fatal('long r; __asm__ volatile ("int $0x80" : "=a"(r) : "a"(20))'),
        layer="seccomp architecture check",
        fast=True,
    ),
    _case(
        "S08",
        "x32 numbers",
        "System calls of the x32 interface do not exist.",
        answered(
            {"x32": ("syscall(0x40000000 | 39)", 38), "x32_ptrace": ("syscall(0x40000000 | 521, 0, 0, 0, 0)", 38)}
        ),
    ),
    _case(
        "S09",
        "mount and its kin",
        "Every way to mount ends the process that tries.",
        fatal_in_children(
            {
                "mount": 'syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, 0)',
                "umount": 'syscall(SYS_umount2, "/tmp", 2)',
                "pivot_root": 'syscall(SYS_pivot_root, "/tmp", "/tmp")',
                "fsopen": 'syscall(SYS_fsopen, "tmpfs", 0)',
                "open_tree": 'syscall(SYS_open_tree, -100, "/", 1)',
                "move_mount": 'syscall(SYS_move_mount, -1, "", -100, "/tmp", 4)',
                "fsmount": "syscall(SYS_fsmount, -1, 0, 0)",
                "mount_setattr": "syscall(442, -100, 0, 0, 0, 0)",
            }
        ),
        classic=True,
        fast=True,
    ),
    _case("S10", "setns", "Entering a namespace ends the program.", fatal("syscall(SYS_setns, 0, 0)")),
    _case(
        "S11",
        "bpf",
        "Loading kernel programs ends the program.",
        fatal("char a[128] = {0}; syscall(SYS_bpf, 5, a, sizeof a)"),
    ),
    _case(
        "S12",
        "perf events",
        "The performance counters of the machine do not exist.",
        answered({"perf": ("syscall(SYS_perf_event_open, argv, 0, -1, -1, 0)", 38)}),
    ),
    _case(
        "S13",
        "userfaultfd",
        "userfaultfd, the favourite of kernel exploits, does not exist.",
        answered({"user_only": ("syscall(SYS_userfaultfd, 1)", 38), "full": ("syscall(SYS_userfaultfd, 0)", 38)}),
    ),
    _case(
        "S14",
        "io_uring",
        "io_uring, whose calls no filter sees, does not exist.",
        answered(
            {
                "setup": ("syscall(SYS_io_uring_setup, 8, argv)", 38),
                "enter": ("syscall(SYS_io_uring_enter, 3, 1, 0, 0, 0, 0)", 38),
                "register": ("syscall(SYS_io_uring_register, 3, 0, 0, 0)", 38),
            }
        ),
        fast=True,
    ),
    _case(
        "S15",
        "kernel keyrings",
        "Keyrings, which no namespace separates, do not exist.",
        answered(
            {
                "add_key": ('syscall(SYS_add_key, "user", "audit", "x", 1, -2)', 38),
                "request_key": ('syscall(SYS_request_key, "user", "audit", 0, -2)', 38),
                "keyctl": ("syscall(SYS_keyctl, 0, -3, 1, 0, 0)", 38),
            }
        ),
    ),
    _case(
        "S16",
        "kernel modules and kexec",
        "Replacing or extending the kernel ends the process that tries.",
        fatal_in_children(
            {
                "kexec_load": "syscall(SYS_kexec_load, 0, 0, 0, 0)",
                "kexec_file_load": "syscall(SYS_kexec_file_load, -1, -1, 0, 0, 0)",
                "init_module": 'syscall(SYS_init_module, "", 0, "")',
                "finit_module": 'syscall(SYS_finit_module, 0, "", 0)',
                "delete_module": 'syscall(SYS_delete_module, "loop", 0)',
            }
        ),
        classic=True,
    ),
    _case(
        "S17",
        "reboot and swap",
        "Stopping the machine ends the process that tries.",
        fatal_in_children(
            {
                "reboot": "syscall(SYS_reboot, 0xfee1dead, 672274793, 0x4321fedc, 0)",
                "swapon": 'syscall(SYS_swapon, "/tmp/x", 0)',
                "swapoff": 'syscall(SYS_swapoff, "/tmp/x")',
            }
        ),
        classic=True,
        fast=True,
    ),
    _case(
        "S17-settings",
        "settings of the machine",
        "Host name, clock, ports and accounting are not a program's.",
        answered(
            {
                "acct": ("syscall(SYS_acct, 0)", 38),
                "settimeofday": ("syscall(SYS_settimeofday, 0, 0)", 38),
                "sethostname": ('syscall(SYS_sethostname, "owned", 5)', 38),
                "setdomainname": ('syscall(SYS_setdomainname, "owned", 5)', 38),
                "iopl": ("syscall(SYS_iopl, 3)", 38),
                "ioperm": ("syscall(SYS_ioperm, 0, 1, 1)", 38),
                "syslog": ("syscall(SYS_syslog, 3, argv, 8)", 38),
                "quotactl": ("syscall(SYS_quotactl, 0, 0, 0, 0)", 38),
                "vhangup": ("syscall(SYS_vhangup)", 38),
            }
        ),
    ),
    _case(
        "S18",
        "reading the memory of PID 1",
        "Reading another process's memory ends the process that tries.",
        fatal_in_children(
            {
                "vm_readv": "syscall(SYS_process_vm_readv, 1, argv, 1, argv, 1, 0)",
                "vm_writev": "syscall(SYS_process_vm_writev, 1, argv, 1, argv, 1, 0)",
            }
        ),
        fast=True,
    ),
    _case(
        "S18-pidfd",
        "taking descriptors of PID 1",
        "The channel of our init cannot be taken out of it.",
        answered(
            {
                "getfd": ("syscall(438, syscall(SYS_pidfd_open, 1, 0), 3, 0)", 38),
                "madvise": ("syscall(440, 3, 0, 0, 0, 0)", 38),
            }
        ),
    ),
    _case(
        "S19",
        "limits of PID 1",
        "Our init cannot be given limits that kill it.",
        answered(
            {
                "cpu": ("syscall(SYS_prlimit64, 1, RLIMIT_CPU, (long[]){1, 1}, 0)", 1),
                "nofile": ("syscall(SYS_prlimit64, 1, RLIMIT_NOFILE, (long[]){0, 0}, 0)", 1),
                "parent": ("syscall(SYS_prlimit64, getppid(), RLIMIT_AS, (long[]){0, 0}, 0)", 1),
            }
        ),
    ),
    _case(
        "S20",
        "outliving the parent",
        "A program cannot ask not to die with its parent.",
        answered({"pdeathsig": ("prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)", 1)}),
    ),
    _case(
        "S20-high",
        "arguments with bits that nobody reads",
        "Bits of an argument that the kernel ignores hide nothing from the filter.",
        answered(
            {
                "pdeathsig": ("syscall(SYS_prctl, 0x100000001L, 0, 0, 0, 0)", 1),
                "limit": ("syscall(SYS_prlimit64, 0x100000001L, RLIMIT_CPU, (long[]){1, 1}, 0)", 1),
                "vsock": ("syscall(SYS_socket, 0x100000028L, 1, 0)", 97),
                "packet": ("syscall(SYS_socket, 0x100000011L, 3, 0)", 97),
                "netlink": ("syscall(SYS_socket, 0x8000000000000010L, 3, 0)", 97),
            }
        ),
        fast=True,
    ),
    _case(
        "S21",
        "becoming root",
        "There is one user in the jail, and root is not it.",
        answered(
            {
                "setuid": ("setuid(0)", 22),
                "setgid": ("setgid(0)", 22),
                "setresuid": ("setresuid(0, 0, 0)", 22),
                "setreuid": ("setreuid(0, 0)", 22),
                "setgroups": ("syscall(SYS_setgroups, 1, (int[]){0})", 1),
                "uid": ("getuid() == 1000 && geteuid() == 1000 ? 0 : (errno = 99, -1)", 0),
            }
        ),
        layer="user namespace with one id",
        classic=True,
        fast=True,
    ),
    _case(
        "S22",
        "device nodes",
        "A program makes no device.",
        answered(
            {
                "memory": ('mknod("mem", S_IFCHR | 0600, 0x101)', 1),
                "disk": ('mknod("/tmp/disk", S_IFBLK | 0600, 0x800)', 1),
            }
        ),
        layer="no capabilities",
    ),
    _case(
        "S23",
        "priority over others",
        "No program is served before others or pins memory.",
        answered(
            {
                "fifo": ("sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){1})", 1),
                "nice": ("setpriority(PRIO_PROCESS, 0, -5)", 13),
                "mlock": ("mlock(mmap(0, 9 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 9 << 20)", 12),
            }
        ),
        layer="rlimits, no capabilities",
    ),
    _case(
        "S24",
        "personality",
        "The execution domain is not a program's to change.",
        answered({"read_implies_exec": ("syscall(SYS_personality, 0x400000)", 38)}),
    ),
    Case(
        id="S25",
        name="random system calls",
        claim="Random calls with random arguments harm neither the host nor the kernel.",
        layer="all",
        program=Program(
            source=c(r"""
static unsigned long s;
static unsigned long next(void) { s ^= s << 13; s ^= s >> 7; s ^= s << 17; return s; }
static long any(void) { switch (next() % 6) { case 0: return 0; case 1: return -1; case 2: return next() % 64;
    case 3: return (long)&s; case 4: return 1L << next() % 64; default: return (long)next(); } }
ATTACK {
    s = strtoul(argv[0], 0, 16) | 1;
    long calls = 0, end = now_ms() + 1200, rounds = 0;
    while (now_ms() < end) {
        int s_; pid_t p = fork();
        if (p == 0) {
            setsid(); close(0); close(1); close(2); alarm(1);
            for (int i = 0; i < 100000; i++) syscall(next() % 470, any(), any(), any(), any(), any(), any());
            _exit(0);
        }
        if (p < 0) { usleep(1000); continue; }
        for (long stop = now_ms() + 100; waitpid(p, &s_, WNOHANG) == 0; usleep(500)) if (now_ms() > stop) kill(p, 9);
        next(); rounds++; calls++;
        if (rounds == 20) say("twenty", 1);
    }
    say("rounds", rounds); return 0; }
"""),
            wall_ms=4000,
            memory_kb=131_072,
        ),
        expect=Expectation(verdicts=(*ANY_ENDING, "OUTPUT_LIMIT_EXCEEDED"), says=(r"twenty=1",)),
    ),
    Case(
        id="S26",
        name="programs of other machines",
        claim="A 32-bit program makes no call, and a foreign one does not start.",
        layer="seccomp architecture check",
        program=Program(
            language="python",
            source=python(r"""
import os, struct
def elf(machine, code):
    head = b"\x7fELF\x01\x01\x01" + bytes(9)
    head += struct.pack("<HHIIIIIHHHHHH", 2, machine, 1, 0x8048054, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    size = 84 + len(code)
    return head + struct.pack("<IIIIIIII", 1, 0, 0x8048000, 0x8048000, size, size, 5, 4096) + code
for name, machine, code in (("i386", 3, b"\xb8\x14\0\0\0\xcd\x80\xb8\x01\0\0\0\xcd\x80"), ("arm", 40, bytes(8))):
    with open(name, "wb") as f: f.write(elf(machine, code))
    os.chmod(name, 0o755)
    pid = os.fork()
    if pid == 0:
        try: os.execv("./" + name, [name])
        except OSError as error: os._exit(error.errno)
    status = os.waitpid(pid, 0)[1]
    print(f"{name}={'signal' if os.WIFSIGNALED(status) else 'errno'} {status & 127 or status >> 8}", flush=True)
"""),
        ),
        expect=Expectation(verdicts=("SUCCESS",), says=(r"i386=(signal 31|errno 8)", "arm=errno 8")),
    ),
)
