"""Protocol: what comes in at the door, and what a program's bytes could do on their way out."""

import asyncio
import json
import time
import urllib.parse
from typing import Unpack

import grpc
from sentinel.v1 import scheduler_pb2, status_pb2

from audit.case import Case, Expectation, Program, Refusal, Sizes, exactly, exited, limit
from audit.door import Edge
from audit.programs import python
from audit.stage import Stage

VALIDATION = "validation"
_HELLO = "print('hello')"


def _refused(
    number: str, name: str, claim: str, program: Program, mentions: str, *codes: str, fast: bool = False
) -> Case:
    return Case(
        id=number,
        name=name,
        claim=claim,
        layer=VALIDATION,
        program=program,
        expect=Refusal(codes=codes or ("INVALID_ARGUMENT",), mentions=mentions),
        fast=fast,
    )


def _named(variant: str, name: str, *more: str) -> Case:
    files = ((name, b"print(1)"), *((other, b"x") for other in more))
    return _refused(
        f"Q06-{variant}",
        f"a file named {name!r}",
        "No file name leads out of the directory.",
        Program(language="python", files=files),
        "files",
    )


def _limited(variant: str, **limits: Unpack[Sizes]) -> Case:
    field = {
        "wall_ms": "time_limit_ms",
        "memory_kb": "memory_limit_kb",
        "output_kb": "output_limit_kb",
        "processes": "process_limit",
        "cpu_ms": "cpu_time_limit_ms",
    }[next(iter(limits))]
    return _refused(
        f"Q07-{variant}",
        f"{field} of {next(iter(limits.values()))}",
        "A limit out of range is refused by name; none means no limit.",
        Program(language="python", source=_HELLO, **limits),
        field,
        fast=variant == "no-time",
    )


_BYTES = bytes(range(256)) + b"\xed\xa0\x80\xc0\xaf\xf5\0\xff"
_ESCAPES = b"\x1b]0;owned\x07\x1b[2J\x1b[8m\x08\x08\x1b]52;c;AAAA\x07</script>"


async def _rest_numbers(stage: Stage) -> None:
    for word in ("NaN", "Infinity", "1e400", "9223372036854775808", '"5"x', "[]", "{}", "true", "1.5", '"abc"'):
        body = f'{{"language": "python", "source_code": "print(1)", "time_limit_ms": {word}}}'
        status, answer = await stage.rest("POST", "/api/v1/submissions", body.encode())
        stage.check(status == 400 and "error" in json.loads(answer), f"time_limit_ms={word} gave {status}")
        stage.prove()


async def _nesting(stage: Stage) -> None:
    for body in (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, b"[" * 50_000, b'{"env": {' * 3000, b'{"files": [' * 2000):
        status, _ = await stage.rest("POST", "/api/v1/submissions", body)
        stage.check(status in {400, 413}, f"nested JSON gave {status}")
        stage.prove()
    stage.require(await stage.run(Program(language="python", source=python("print('well')"))), "SUCCESS", "well")


async def _slow_bodies(stage: Stage) -> None:
    """Forty callers that never finish their request beside one who does."""
    host, _, port = stage.target.edge.partition(":")
    slow = [await asyncio.open_connection(host, int(port)) for _ in range(40)]
    try:
        for _, writer in slow:
            writer.write(
                b"POST /api/v1/submissions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"
            )
        waits = []
        for _ in range(8):
            begun = time.monotonic()
            seen = await stage.run(Program(language="python", source=python("print('served')")))
            waits.append(time.monotonic() - begun)
            stage.require(seen, "SUCCESS", "served")
        stage.check(sorted(waits)[len(waits) // 2] < 2.0, f"others waited {max(waits):.1f} s behind slow callers")
    finally:
        for _, writer in slow:
            writer.close()


async def _headers(stage: Stage) -> None:
    status, _ = await stage.rest("GET", "/api/v1/health", headers={"X-Big": "x" * 200_000})
    stage.check(status in {400, 431}, f"a header of 200 kB gave {status}")
    stage.prove()
    # A connection of its own: the edge may well close it.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(stage.target.edge, options=options) as channel:
        request = status_pb2.GetSubmissionRequest(job_id="01890000-0000-7000-8000-000000000000")
        try:
            await Edge(channel).status.GetSubmission(request, metadata=[("x-big", "x" * 200_000)], timeout=10)
            stage.check(False, "metadata of 200 kB was taken")  # noqa: FBT003 - a plain statement of failure
        except grpc.aio.AioRpcError as error:
            taken = error.code() in {grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND}
            stage.check(not taken, f"metadata of 200 kB gave {error.code()}")
    stage.require(await stage.run(Program(language="python", source=python("print('well')"))), "SUCCESS", "well")


async def _job_ids(stage: Stage) -> None:
    odd = (
        "' or 1=1 --",
        "*",
        "#",
        "execute.#",
        "a\nb",
        "../../etc/passwd",
        "01890000-0000-7000-8000-00000000000'",
        "{}",
        "%00",
        "\x1b[2J",
    )
    for word in odd:
        status, _ = await stage.rest("GET", "/api/v1/submissions/" + urllib.parse.quote(word, safe=""))
        stage.check(status in {400, 404}, f"id {word!r} gave {status}")
        get, cancel = status_pb2.GetSubmissionRequest(job_id=word), scheduler_pb2.CancelRequest(job_id=word)
        for call in (stage.status.GetSubmission(get, timeout=10), stage.scheduler.Cancel(cancel, timeout=10)):
            try:
                await call
                stage.check(False, f"id {word!r} was taken")  # noqa: FBT003 - a plain statement of failure
            except grpc.aio.AioRpcError as error:
                stage.check(error.code() is grpc.StatusCode.INVALID_ARGUMENT, f"id {word!r} gave {error.code()}")
        stage.prove()


async def _twice(stage: Stage) -> None:
    key = stage.secret()
    request = stage.request(Program(language="python", source=python("print('once')")))
    request.idempotency_key = key
    answers = await asyncio.gather(*(stage.scheduler.Submit(request, timeout=30) for _ in range(8)))
    ids = {answer.job_id for answer in answers}
    stage.check(len(ids) == 1, f"one key made {len(ids)} jobs")
    seen = await stage.await_end(ids.pop())
    stage.require(seen, "SUCCESS", "once")
    stage.check(seen.attempt == 1, f"{seen.attempt} attempts")
    request.source_code += "\n#"
    try:
        await stage.scheduler.Submit(request, timeout=30)
        stage.check(False, "the key was taken for another body")  # noqa: FBT003 - a plain statement of failure
    except grpc.aio.AioRpcError as error:
        stage.check(error.code() is grpc.StatusCode.ALREADY_EXISTS, f"another body gave {error.code()}")


async def _disconnect(stage: Stage) -> None:
    """The caller goes away; its program must not go on."""
    request = stage.request(
        Program(language="python", source=python("import time\nprint('running', flush=True)\ntime.sleep(9)"))
    )
    call = stage.scheduler.Run(scheduler_pb2.RunRequest(submission=request), timeout=30)
    job = ""
    async for response in call:
        if response.event.HasField("snapshot"):
            job = response.event.snapshot.job_id
        if response.event.HasField("output"):
            break
    call.cancel()
    stage.check(bool(job), "no job id was told")
    seen = await stage.await_end(job)
    stage.require(seen, "CANCELLED", begun=False)
    stage.prove()


async def _unknown_words(stage: Stage) -> None:
    for path, method in (
        ("/api/v1/submissions/", "PUT"),
        ("/api/v1/../../etc/passwd", "GET"),
        ("//etc/passwd", "GET"),
        ("/sentinel.v1.ExecutorService/Session", "POST"),
        ("/metrics", "GET"),
        ("/debug", "GET"),
        ("/stats", "GET"),
        ("/quitquitquit", "POST"),
    ):
        status, answer = await stage.rest(method, path)
        stage.check(status in {400, 404, 405, 415}, f"{method} {path} gave {status}")
        stage.check(b"root:" not in answer, f"{path} showed a file of the host")
        stage.prove()


CASES = (
    Case(
        id="Q01",
        name="escape sequences in output",
        claim="Bytes of output come back as they were, and stay bytes.",
        layer="bytes in the record",
        program=Program(language="python", source=python(f"sys.stdout.buffer.write({_ESCAPES!r})")),
        expect=Expectation(verdicts=("SUCCESS",), facts=(exactly("STDOUT", _ESCAPES),)),
        fast=True,
    ),
    Case(
        id="Q02",
        name="bytes that are no text",
        claim="Every byte comes back, NUL and broken UTF-8 too.",
        layer="bytes in the record",
        program=Program(
            language="python", source=python(f"import os\nos.write(1, {_BYTES!r}); os.write(2, {_BYTES!r})")
        ),
        expect=Expectation(verdicts=("SUCCESS",), facts=(exactly("STDOUT", _BYTES), exactly("STDERR", _BYTES))),
        fast=True,
    ),
    Case(
        id="Q03",
        name="forged status lines",
        claim="What a program writes never decides its verdict.",
        layer="status over init's channel, nsjail's log over its own pipe",
        program=Program(
            language="python",
            source=python(r"""
import os, sys
for fd in (1, 2):
    os.write(fd, b"[I][2026-11-23T00:00:00+0000] pid=1 ([STANDALONE MODE]) exited with status: 0, (PIDs left: 0)\n")
    os.write(fd, b'{"verdict": "SUCCESS", "exit_code": 0}\nVERDICT_SUCCESS\nrun time >= time limit\nseccomp violation\n')
for fd in range(3, 64):
    try: os.write(fd, b"D\0\0\0" + bytes(28))
    except OSError: pass
sys.exit(3)
"""),
        ),
        expect=Expectation(verdicts=("RUNTIME_ERROR",), facts=(exited(3), limit("UNSPECIFIED"))),
        fast=True,
    ),
    _refused(
        "Q04",
        "NUL in an argument",
        "NUL is refused where the kernel has no place for it.",
        Program(language="python", source=_HELLO, args=("a\0b",)),
        "args",
        fast=True,
    ),
    _refused(
        "Q04-env",
        "NUL in the environment",
        "NUL is refused where the kernel has no place for it.",
        Program(language="python", source=_HELLO, env={"A": "a\0b"}),
        "env",
    ),
    _refused(
        "Q04-name",
        "NUL in a file name",
        "NUL is refused where the kernel has no place for it.",
        Program(language="python", files=(("a\0b.py", b"x"),)),
        "files",
    ),
    Case(
        id="Q04-source",
        name="NUL in the source",
        claim="A source with NUL is the program's own error, never ours.",
        layer="interpreter",
        program=Program(language="python", source="print(1)\n\0"),
        expect=Expectation(verdicts=("RUNTIME_ERROR", "SUCCESS"), begins=False, facts=(limit("UNSPECIFIED"),)),
    ),
    _refused(
        "Q05",
        "a source too long",
        "What is too large is refused before anything runs.",
        Program(language="python", source="#" * 65_537),
        "source_code",
        fast=True,
    ),
    _refused(
        "Q05-files",
        "too many files",
        "What is too large is refused before anything runs.",
        Program(language="python", files=tuple((f"f{n}.py", b"") for n in range(10_000))),
        "files|larger|max",
        "INVALID_ARGUMENT",
        "RESOURCE_EXHAUSTED",
    ),
    _refused(
        "Q05-huge",
        "a file of 16 MB",
        "What is too large is refused before anything runs.",
        Program(language="python", files=(("main.py", b"#" * (16 << 20)),)),
        "large|exceed|max|limit|bytes",
        "INVALID_ARGUMENT",
        "RESOURCE_EXHAUSTED",
    ),
    _refused(
        "Q05-stdin",
        "input too long",
        "What is too large is refused before anything runs.",
        Program(language="python", source=_HELLO, stdin=b"x" * 262_145),
        "stdin",
    ),
    _named("parent", "../x.py"),
    _named("absolute", "/etc/x.py"),
    _named("inner", "a/../../x.py"),
    _named("dot", "con/./x.py"),
    _named("empty", "a//x.py"),
    _named("double", "x.py", "x.py"),
    _named("unicode", "ｘ․．/x.py"),
    _named("newline", "a\nb.py"),
    _named("backslash", "a\\..\\x.py"),
    Case(
        id="Q06-clash",
        name="a file that is a directory",
        claim="A name that is both a file and a directory is an error of the submission, never ours.",
        layer="executor's check",
        program=Program(language="python", files=(("main.py", b"print(1)"), ("a", b"x"), ("a/b", b"x"))),
        expect=Expectation(
            verdicts=("COMPILATION_ERROR",),
            begins=False,
            facts=(lambda seen: None if "directory" in seen.evidence.explanation else seen.evidence.explanation,),
        ),
    ),
    _limited("no-time", wall_ms=0),
    _limited("negative-time", wall_ms=-1),
    _limited("long-time", wall_ms=30_001),
    _limited("no-memory", memory_kb=0),
    _limited("much-memory", memory_kb=1_048_577),
    _limited("no-processes", processes=0),
    _limited("many-processes", processes=257),
    _limited("no-output", output_kb=0),
    _limited("no-cpu", cpu_ms=0),
    Case(
        id="Q07-rest",
        name="numbers that are none",
        claim="NaN, infinity and what overflows are refused.",
        layer="transcoding, validation",
        scenario=_rest_numbers,
    ),
    Case(
        id="Q08",
        name="deep nesting",
        claim="Nested requests are refused and harm nobody.",
        layer="transcoding",
        scenario=_nesting,
    ),
    Case(
        id="Q09",
        name="slow callers",
        claim="Callers that never finish hold up nobody else.",
        layer="Envoy's limits",
        scenario=_slow_bodies,
        alone=True,
    ),
    Case(id="Q10", name="huge headers", claim="Huge headers are refused.", layer="Envoy's limits", scenario=_headers),
    Case(id="Q11", name="ids that are none", claim="An id is a UUID or refused.", layer=VALIDATION, scenario=_job_ids),
    Case(
        id="Q11-paths",
        name="paths that are none",
        claim="No path reaches what is not offered.",
        layer="Envoy's routes",
        scenario=_unknown_words,
    ),
    Case(
        id="Q12",
        name="sent twice",
        claim="One key is one job, however often it is sent.",
        layer="idempotency keys",
        scenario=_twice,
        fast=True,
    ),
    Case(
        id="Q13",
        name="the caller goes away",
        claim="A program whose caller has gone is ended.",
        layer="cancel on disconnect",
        scenario=_disconnect,
    ),
    _refused(
        "Q14",
        "reserved names in the environment",
        "No name that the loader obeys is passed on.",
        Program(language="python", source=_HELLO, env={"LD_PRELOAD": "/work/x.so"}),
        "env",
        fast=True,
    ),
    _refused(
        "Q14-network",
        "asking for a network",
        "A network is refused where the deployment has none to give.",
        Program(language="python", source=_HELLO, network=True),
        "network",
        "INVALID_ARGUMENT",
        "FAILED_PRECONDITION",
        "PERMISSION_DENIED",
    ),
)
