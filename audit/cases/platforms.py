"""Platform: what the executor itself holds, and what becomes of it."""

import asyncio
import contextlib
import signal
import time

import aio_pika

from audit.case import Case, Expectation, Program, limit
from audit.programs import answered, opened, python
from audit.stage import Stage

_ENV = {
    "HOME",
    "LANG",
    "LC_ALL",
    "PATH",
    "TMPDIR",
    "USER",
    "AUDIT_ABSTRACT",
    "AUDIT_CANARY",
    "AUDIT_PORT",
    "AUDIT_PORTS",
    "AUDIT_PATHS",
}


async def _hungry(stage: Stage) -> None:
    """Eight programs at once that each eat past their limit."""
    eat = python("print('eating', flush=True)\nx = bytearray(400 << 20)\nprint('survived')")
    programs = [Program(language="python", source=eat, memory_kb=131_072) for _ in range(8)]
    for seen in await asyncio.gather(*(stage.run(program) for program in programs)):
        stage.require(seen, "MEMORY_LIMIT_EXCEEDED", "eating")


async def _odd_endings(stage: Stage) -> None:
    """Endings, output and races of every kind, all at once."""
    sources = [
        "import os; os._exit({n} % 256)",
        "import os; os.write(1, bytes([{n} % 256]) * 70000)",
        "import os; os.close(1); os.close(0); os.kill(os.getpid(), {n} % 31 + 1)",
        "import os\nfor _ in range(5):\n    if os.fork() == 0: os.write(2, b'x'); os._exit(1)",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.dup2(0, 1); os.kill(-1, 9)",
    ]
    programs = [
        Program(language="python", source=python(sources[n % len(sources)].replace("{n}", str(n))), wall_ms=1000)
        for n in range(36)
    ]
    ok = ("SUCCESS", "RUNTIME_ERROR", "OUTPUT_LIMIT_EXCEEDED", "TIMEOUT", "SECURITY_VIOLATION")
    for seen in await asyncio.gather(*(stage.run(program) for program in programs)):
        stage.require(seen, ok)


async def _poison(stage: Stage) -> None:
    """Messages that are none of ours, straight into the queue."""
    connection = await aio_pika.connect(stage.target.amqp_url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("sentinel.direct", ensure=False)
        for body in (
            b"",
            b"\xff" * 1000,
            b"{}",
            b"01890000-0000-7000-8000-000000000000",
            b"'; drop table submissions; --",
        ):
            await exchange.publish(aio_pika.Message(body=body), routing_key="execute")
        for seen in await asyncio.gather(
            *(stage.run(Program(language="python", source=python("print('well')"))) for _ in range(8))
        ):
            stage.require(seen, "SUCCESS", "well")
        deadline = time.monotonic() + 10
        while (
            left := (await channel.declare_queue("execution_tasks", passive=True)).declaration_result.message_count
        ) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        stage.check(left == 0, f"{left} poisoned messages still wait")


async def _killed_executor(stage: Stage) -> None:
    """An executor is killed while an attack runs in it: nothing of it may stay, and the job ends once, elsewhere."""
    source = python(
        "import ctypes, os, signal, time\nctypes.CDLL(None).prctl(1, 0)\n"
        "for n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n    except OSError: pass\n"
        "if os.fork() == 0: os.setsid(); os.fork()\nprint('hiding', flush=True)\ntime.sleep(3)"
    )
    job = asyncio.ensure_future(stage.run(Program(language="python", source=source, wall_ms=2500)))
    marked: set[int] = set()
    deadline = time.monotonic() + 10
    while len(marked) < 3 and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        marked = set(stage.host.programs())
    stage.check(len(marked) >= 3, "the program was never seen on the host")
    name = stage.host.executor_of(next(iter(marked)))
    stage.check(bool(name), "its executor was never found")
    stage.host.kill(name, signal.SIGKILL)
    killed = time.monotonic()
    while marked & set(stage.host.programs()) and time.monotonic() < killed + 5:
        await asyncio.sleep(0.01)
    gone = time.monotonic() - killed
    stage.check(gone < 1.0, f"a program outlived its executor by {gone:.2f} s")
    seen = await job
    stage.require(seen, "TIMEOUT", "hiding")
    stage.check(seen.attempt == 2, f"{seen.attempt} attempts")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(20):
            while not stage.host.executors_up():
                await asyncio.sleep(0.1)


CASES = (
    Case(
        id="K01",
        name="the environment",
        claim="A program's environment holds its own variables and nothing of the service.",
        layer="init",
        program=Program(
            language="python",
            source=python(f"import os\nprint('foreign', sorted(set(os.environ) - {_ENV!r}), flush=True)"),
        ),
        expect=Expectation(
            verdicts=("SUCCESS",),
            says=(r"foreign \[\]",),
            never=("sentinel_secret", "postgres://", "amqp://", "redis://"),
        ),
        classic=True,
        fast=True,
    ),
    Case(
        id="K02",
        name="the service account",
        claim="No credential of the platform is there.",
        layer="mounts",
        program=(
            _token := opened(
                {
                    "token": "/var/run/secrets/kubernetes.io/serviceaccount/token",
                    "run": "/run/secrets",
                    "aws": "/root/.aws/credentials",
                    "kubelet": "/var/lib/kubelet/config.yaml",
                },
                2,
            )
        )[0],
        expect=_token[1],
    ),
    Case(
        id="K03",
        name="the executor's memory",
        claim="The executor is nobody's parent inside, and its memory is not there.",
        layer="PID namespace",
        program=(
            _parent := answered(
                {
                    "parent": ("getppid() == 1 ? 0 : -1", 0),
                    "mem": ('open("/proc/1/mem", O_RDWR)', 2),
                    "null": ('open("/proc/0/mem", O_RDWR)', 2),
                }
            )
        )[0],
        expect=_parent[1],
    ),
    Case(
        id="K04",
        name="the service's own ports",
        claim="Scheduler, broker, database, Redis and Envoy cannot be reached from a jail.",
        layer="network namespace",
        program=Program(
            language="python",
            source=python(
                "import os, socket\nports = os.environ['AUDIT_PORTS'].split(','); met = set()\nfor port in ports:\n"
                "    s = socket.socket(); s.settimeout(1)\n    met.add(s.connect_ex(('127.0.0.1', int(port))))\n"
                "print('tried', len(ports) > 5, 'met', sorted(met), flush=True)"
            ),
        ),
        expect=Expectation(verdicts=("SUCCESS",), says=(r"tried True met \[101\]",)),
        fast=True,
    ),
    Case(
        id="K05",
        name="our policy and configuration",
        claim="Neither the policy nor the program that builds the walls can be read.",
        layer="mounts",
        program=Program(
            language="python",
            source=python(
                "import os\npaths = os.environ['AUDIT_PATHS'].split(':')\nprint('tried', len(paths) > 3, 'found', [p for p in paths if os.path.exists(p)], flush=True)"
            ),
        ),
        expect=Expectation(verdicts=("SUCCESS",), says=(r"tried True found \[\]",)),
        fast=True,
    ),
    Case(
        id="K06",
        name="names of hosts",
        claim="Nobody's name resolution can be poisoned.",
        layer="read-only mounts",
        program=(
            _hosts := answered(
                {
                    "hosts": ('open("/etc/hosts", O_WRONLY | O_TRUNC)', "(13|30)"),
                    "resolv": ('open("/etc/resolv.conf", O_CREAT | O_WRONLY, 0600)', 30),
                    "swap": ('rename("/etc", "/etc2")', 30),
                    "hostname": ('open("/etc/hostname", O_WRONLY)', "(13|30)"),
                }
            )
        )[0],
        expect=_hosts[1],
    ),
    Case(
        id="K07",
        name="endings of every kind",
        claim="No ending of a program ends an executor.",
        layer="executor",
        scenario=_odd_endings,
        crowd=True,
    ),
    Case(
        id="K08",
        name="poisoned messages",
        claim="A message that is none is dropped, and work goes on.",
        layer="scheduler",
        scenario=_poison,
        alone=True,
    ),
    Case(
        id="K09",
        name="the host's disk",
        claim="All that a program can write is memory of its own.",
        layer="tmpfs",
        program=Program(
            language="python",
            source=python(r"""
import os
writable = sorted(h for t in ("/",) for h, d, _ in os.walk(t) if os.access(h, os.W_OK))
print("writable", writable, flush=True)
print("bytes", sum(os.statvfs(p).f_blocks * os.statvfs(p).f_frsize for p in ("/work", "/tmp")) <= 128 << 20, flush=True)
"""),
        ),
        expect=Expectation(verdicts=("SUCCESS",), says=(r"writable \['/tmp', '/work'\]", "bytes True")),
    ),
    Case(
        id="K10",
        name="many hungry programs",
        claim="Programs that eat memory together end each by its own limit.",
        layer="memory groups",
        scenario=_hungry,
        crowd=True,
        alone=True,
        fast=True,
    ),
    Case(
        id="K11",
        name="an executor killed in mid-job",
        claim="What a killed executor ran is gone within a second, and its job ends once, elsewhere.",
        layer="PID namespace, leases, sweeping",
        crowd=True,
        scenario=_killed_executor,
        alone=True,
        renews_executors=True,
    ),
    Case(
        id="P13",
        name="clearing the parent-death signal",
        claim="A program that wants to outlive its executor is refused the means, and ends with its clock.",
        layer="seccomp, killed by namespace",
        program=Program(
            language="python",
            source=python(
                "import ctypes, time\nlibc = ctypes.CDLL(None, use_errno=True)\nprint('cleared', libc.prctl(1, 0), ctypes.get_errno(), flush=True)\ntime.sleep(9)"
            ),
            wall_ms=500,
        ),
        expect=Expectation(verdicts=("TIMEOUT",), says=("cleared -1 1",), facts=(limit("WALL_TIME"),)),
    ),
)
