"""Network: a namespace of its own with nothing in it, not even loopback."""

import asyncio
import contextlib
import errno
import socket
from typing import Unpack

from audit.case import Case, Expectation, Marks, Program, exactly
from audit.programs import answered, c, python
from audit.stage import Stage

NETWORK = "network namespace"


def _connects(targets: str) -> str:
    return python(f"""
import os, socket
for name, family, address in {targets}:
    s = socket.socket(family, socket.SOCK_STREAM); s.settimeout(2)
    attempt(name, s.connect, address)
""")


def _family(number: str, name: str, claim: str, table: dict[str, tuple[str, int | str]], **more: Unpack[Marks]) -> Case:
    program, expect = answered(table)
    return Case(id=number, name=name, claim=claim, layer="seccomp", program=program, expect=expect, **more)


async def _listening(stage: Stage) -> None:
    """A program listens everywhere; nobody outside finds it."""
    port = stage.free_port()
    source = python(
        f'import socket, time\ns = socket.socket(); s.bind(("0.0.0.0", {port})); s.listen()\n'
        'print("listening", flush=True); time.sleep(1)'
    )
    job = asyncio.ensure_future(stage.run(Program(language="python", source=source)))
    met: set[int | None] = set()
    while not job.done():
        with socket.socket() as probe:
            probe.setblocking(False)  # noqa: FBT003 - the socket's own interface
            with contextlib.suppress(BlockingIOError):
                met.add(probe.connect_ex(("127.0.0.1", port)))
        await asyncio.sleep(0.02)
    seen = await job
    stage.require(seen, "SUCCESS", "listening")
    stage.check(met <= {errno.ECONNREFUSED, errno.EINPROGRESS}, f"the host reached port {port}: {met}")


async def _abstract(stage: Stage) -> None:
    """One job listens on an abstract name; another calls it, and so does the host."""
    name = stage.secret()
    serve = python(
        'import os, socket, time\ns = socket.socket(socket.AF_UNIX); s.bind("\\0" + os.environ["NAME"]); s.listen()\n'
        'print("serving", flush=True); s.settimeout(1.5)\n'
        'try: s.accept(); print("called", flush=True)\nexcept OSError: print("alone", flush=True)'
    )
    call = python(
        "import os, socket, time\ntime.sleep(0.4)\ns = socket.socket(socket.AF_UNIX)\n"
        'attempt("peer", s.connect, "\\0" + os.environ["NAME"])\n'
        'attempt("canary", s.connect, "\\0" + os.environ["AUDIT_ABSTRACT"])'
    )
    server, caller = await asyncio.gather(
        stage.run(Program(language="python", source=serve, env={"NAME": name})),
        stage.run(Program(language="python", source=call, env={"NAME": name})),
    )
    stage.require(server, "SUCCESS", "serving", "alone")
    stage.require(caller, "SUCCESS", "peer=111", "canary=111")


_INET = "socket.AF_INET"
CASES = (
    Case(
        id="N01",
        name="TCP to the internet",
        claim="No address of the internet can be reached.",
        layer=NETWORK,
        program=Program(
            language="python",
            source=_connects(f'[("dns", {_INET}, ("8.8.8.8", 53)), ("web", {_INET}, ("1.1.1.1", 443))]'),
        ),
        expect=Expectation(verdicts=("SUCCESS",), says=("dns=101", "web=101")),
        classic=True,
        fast=True,
    ),
    Case(
        id="N02",
        name="UDP and name resolution",
        claim="No datagram leaves, and no name is resolved.",
        layer=NETWORK,
        program=Program(
            language="python",
            source=python(
                "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                'attempt("udp", s.sendto, b"x", ("8.8.8.8", 53))\n'
                'try: socket.getaddrinfo("example.com", 80); print("resolved")\nexcept OSError: print("no name", flush=True)'
            ),
        ),
        expect=Expectation(verdicts=("SUCCESS",), says=("udp=101", "no name"), never=("resolved",)),
        classic=True,
    ),
    Case(
        id="N03",
        name="metadata service",
        claim="The cloud's metadata service cannot be reached.",
        layer=NETWORK,
        program=Program(
            language="python",
            source=_connects(
                f'[("metadata", {_INET}, ("169.254.169.254", 80)), ("ecs", {_INET}, ("169.254.170.2", 80))]'
            ),
        ),
        expect=Expectation(verdicts=("SUCCESS",), says=("metadata=101", "ecs=101")),
        fast=True,
    ),
    Case(
        id="N04",
        name="services of the host's loopback",
        claim="The host's loopback, and a canary that listens on it, cannot be reached.",
        layer=NETWORK,
        program=Program(
            language="python",
            source=_connects(
                f'[("canary", {_INET}, ("127.0.0.1", int(os.environ["AUDIT_PORT"])))] + '
                f'[(f"p{{p}}", {_INET}, ("127.0.0.1", p)) for p in (22, 80, 2375, 6443, 8080, 9090, 10250)]'
            ),
        ),
        expect=Expectation(
            verdicts=("SUCCESS",), says=("canary=101", *(f"p{p}=101" for p in (22, 80, 2375, 6443, 8080, 9090, 10250)))
        ),
        classic=True,
        fast=True,
    ),
    Case(
        id="N05",
        name="listening for strangers",
        claim="What a program listens on cannot be reached from the host.",
        layer=NETWORK,
        scenario=_listening,
    ),
    _family(
        "N06",
        "raw and packet sockets",
        "No program reads or forges packets.",
        {
            "raw": ("socket(AF_INET, SOCK_RAW, 1)", 1),
            "raw6": ("socket(AF_INET6, SOCK_RAW, 58)", 1),
            "packet": ("socket(AF_PACKET, SOCK_RAW, 0x300)", 97),
        },
        classic=True,
        fast=True,
    ),
    _family(
        "N07",
        "network settings",
        "No program speaks to the kernel about its network.",
        {f"netlink{n}": (f"socket(AF_NETLINK, SOCK_RAW, {n})", 97) for n in (0, 9, 12, 16)},
    ),
    _family(
        "N08",
        "vsock",
        "The hypervisor's socket family, which no namespace separates, does not exist.",
        {"stream": ("socket(40, SOCK_STREAM, 0)", 97), "datagram": ("socket(40, SOCK_DGRAM, 0)", 97)},
        fast=True,
    ),
    _family(
        "N09",
        "odd socket families",
        "Socket families that nobody needs do not exist.",
        {
            name: (f"socket({number}, SOCK_SEQPACKET, 0)", 97)
            for name, number in {
                "alg": 38,
                "xdp": 44,
                "key": 15,
                "rds": 21,
                "bluetooth": 31,
                "tipc": 30,
                "can": 29,
                "smc": 43,
                "qipcrtr": 42,
                "kcm": 41,
                "ax25": 3,
                "nfc": 39,
            }.items()
        },
    ),
    Case(
        id="N10",
        name="unix sockets of the host",
        claim="Sockets that lie in the host's files cannot be reached.",
        layer="mounts",
        program=Program(
            language="python",
            source=_connects(
                '[("canary", socket.AF_UNIX, os.environ["AUDIT_CANARY"] + "/socket"), ("docker", socket.AF_UNIX, "/run/docker.sock"), ("dbus", socket.AF_UNIX, "/run/dbus/system_bus_socket")]'
            ),
        ),
        expect=Expectation(verdicts=("SUCCESS",), says=("canary=2", "docker=2", "dbus=2")),
        fast=True,
    ),
    Case(
        id="N11",
        name="abstract sockets of others",
        claim="Abstract names of other jobs and of the host cannot be reached.",
        layer=NETWORK,
        scenario=_abstract,
        fast=True,
    ),
    Case(
        id="N12",
        name="inherited descriptors",
        claim="A program has three descriptors and no more.",
        layer="init, close_range",
        program=Program(
            source=c(
                'ATTACK { int n = 0; for (int fd = 0; fd < 65536; fd++) if (fcntl(fd, F_GETFD) >= 0) n++; say("open", n); TRY("three", fcntl(3, F_GETFD)); return 0; }'
            )
        ),
        expect=Expectation(verdicts=("SUCCESS",), says=("open=3", "three=9")),
        fast=True,
    ),
    Case(
        id="N13",
        name="IPv6",
        claim="IPv6 leads nowhere either.",
        layer=NETWORK,
        program=Program(
            language="python",
            source=_connects(
                '[(n, socket.AF_INET6, (a, 80)) for n, a in (("loopback", "::1"), ("global", "2001:4860:4860::8888"), ("mapped", "::ffff:127.0.0.1"))]'
            ),
        ),
        expect=Expectation(
            verdicts=("SUCCESS",), says=("loopback=(101|99|97)", "global=(101|99|97)", "mapped=(101|99|97)")
        ),
    ),
    Case(
        id="N14",
        name="changing our pipes",
        claim="A program that changes its pipes changes nothing for the reader.",
        layer="executor's readers",
        program=Program(
            language="python",
            source=python(r"""
import fcntl, os
for fd in (1, 2):
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND)
    try: fcntl.fcntl(fd, 1031, 4096)
    except OSError: pass
left = b"x" * 40000
while left:
    try: left = left[os.write(1, left[:5000]):]
    except BlockingIOError: pass
"""),
        ),
        expect=Expectation(verdicts=("SUCCESS",), facts=(exactly("STDOUT", b"x" * 40000),)),
    ),
)
