"""`sentinel run` as a process, against a scripted service."""

import asyncio
import json
import signal
from pathlib import Path

import grpc
import pytest
from sentinel.v1 import event_pb2, evidence_pb2, submission_pb2

from cli import exits
from tests.unit.cli.scripted import (
    JOB,
    Refusal,
    Sentinel,
    Served,
    Start,
    output,
    result,
    snapshot,
    status,
)

pytestmark = pytest.mark.asyncio

LOST = Refusal(grpc.StatusCode.UNAVAILABLE, "upstream connect error")


@pytest.fixture
def hello(tmp_path: Path) -> str:
    path = tmp_path / "hello.py"
    path.write_text("print('hello')\n")
    return str(path)


async def test_output_goes_to_the_streams_it_came_from_byte_for_byte(
    served: Served, sentinel: Sentinel, hello: str
) -> None:
    """Bytes that are no UTF-8 and lines without an end included; nothing of ours in between."""
    served.service.runs = [
        [
            snapshot(),
            status(1, submission_pb2.RUNNING),
            output(2, b"\xff\x00no newline", 0),
            output(3, b"to stderr", 0, stream=evidence_pb2.STREAM_STDERR),
            result(stdout="x", stdout_base64=b"\xff\x00no newline", stderr="to stderr"),
        ]
    ]

    ended = await sentinel("run", hello)

    assert (ended.code, ended.stdout, ended.stderr) == (0, b"\xff\x00no newline", b"to stderr")


async def test_the_request_says_what_the_command_line_says(served: Served, sentinel: Sentinel, hello: str) -> None:
    served.service.runs = [[snapshot(), result()]]

    await sentinel(
        "run", hello, "--env", "A=b=c", "--compile-arg", "-O0", "--time-limit-ms", "1000", "--memory-limit-kb", "65536",
        "--", "--json", "-x", "--", "ä",
        stdin=b"in\xff",
    )  # fmt: skip

    asked = served.service.asked["Run"][0]
    sent = asked.submission
    assert asked.keep_on_disconnect
    assert (sent.language, sent.source_code) == ("python", "print('hello')\n")
    assert list(sent.args) == ["--json", "-x", "--", "ä"]
    assert dict(sent.env) == {"A": "b=c"}
    assert list(sent.compile_args) == ["-O0"]
    assert (sent.time_limit_ms, sent.memory_limit_kb) == (1000, 65536)
    assert not sent.HasField("cpu_time_limit_ms")
    assert sent.stdin_base64 == b"in\xff"
    assert sent.idempotency_key


async def test_several_files_keep_their_places_and_the_first_is_started(
    served: Served, sentinel: Sentinel, tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    for name in ("main.cpp", "lib/a.h"):
        (tmp_path / name).write_text(f"// {name}")
    served.service.runs = [[snapshot(), result()]]

    await sentinel("run", str(tmp_path / "main.cpp"), str(tmp_path / "lib/a.h"))

    sent = served.service.asked["Run"][0].submission
    assert [(f.name, f.content) for f in sent.files] == [
        ("main.cpp", "// main.cpp"),
        ("lib/a.h", "// lib/a.h"),
    ]
    assert (sent.language, sent.source_code) == ("cpp", "")


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (result(submission_pb2.RUNTIME_ERROR, exit_code=7), 7),
        (result(submission_pb2.RUNTIME_ERROR, signal=11), 139),
        (result(submission_pb2.COMPILATION_ERROR), 120),
        (result(submission_pb2.OUTPUT_LIMIT_EXCEEDED), 121),
        (result(submission_pb2.MEMORY_LIMIT_EXCEEDED, signal=9), 122),
        (result(submission_pb2.SECURITY_VIOLATION, signal=31), 123),
        (result(submission_pb2.TIMEOUT, signal=9), 124),
        (result(submission_pb2.CANCELLED), 130),
        (result(submission_pb2.INTERNAL_ERROR), 70),
    ],
)
async def test_the_exit_code_says_how_it_ended(
    served: Served, sentinel: Sentinel, hello: str, event: event_pb2.Event, code: int
) -> None:
    served.service.runs = [[snapshot(), event]]

    ended = await sentinel("run", hello)

    assert code == ended.code


async def test_a_broken_line_loses_and_doubles_nothing(served: Served, sentinel: Sentinel, hello: str) -> None:
    """Twice broken: once with an error, once by a stream that just ends."""
    served.service.runs = [[snapshot(), status(1, submission_pb2.RUNNING), output(2, b"one ", 0), LOST]]
    served.service.watches = [
        [snapshot(submission_pb2.RUNNING, 1_000_002), output(3, b"two ", 4)],
        [snapshot(submission_pb2.RUNNING, 1_000_003), output(4, b"three", 8), result(stdout="one two three")],
    ]

    ended = await sentinel("run", hello)

    assert (ended.code, ended.stdout) == (0, b"one two three")
    assert [w.after_sequence for w in served.service.asked["WatchSubmission"]] == [1_000_002, 1_000_003]


async def test_a_line_that_breaks_before_the_first_event_submits_again_under_the_same_key(
    served: Served, sentinel: Sentinel, hello: str
) -> None:
    served.service.runs = [[LOST], [snapshot(), result()]]

    ended = await sentinel("run", hello)

    keys = [r.submission.idempotency_key for r in served.service.asked["Run"]]
    assert ended.code == 0
    assert len(keys) == 2
    assert keys[0] == keys[1] != ""


async def test_output_of_a_lost_attempt_is_declared_void(served: Served, sentinel: Sentinel, hello: str) -> None:
    served.service.runs = [
        [
            snapshot(),
            output(1, b"lost\n", 0),
            output(1, b"kept\n", 0, attempt=2),
            output(2, b"late voice\n", 5),
            result(attempt=2, stdout="kept\n"),
        ]
    ]

    ended = await sentinel("run", hello)

    assert ended.stdout == b"lost\nkept\n"
    assert "attempt 1 was lost" in ended.told


async def test_what_a_slow_reader_missed_comes_with_the_result(served: Served, sentinel: Sentinel, hello: str) -> None:
    gap = event_pb2.Event(
        sequence=1_000_001, attempt=1, gap=event_pb2.Gap(from_sequence=1_000_002, to_sequence=1_000_002)
    )
    served.service.runs = [
        [snapshot(), output(1, b"a", 0), gap, output(3, b"c", 2), result(stdout="abc")],
    ]

    ended = await sentinel("run", hello)

    assert ended.stdout == b"abc"


async def test_ctrl_c_cancels_and_waits_for_the_end(served: Served, start: Start, hello: str) -> None:
    served.service.runs = [
        [
            snapshot(),
            output(1, b"before\n", 0),
            served.service.cancelled,
            output(2, b"last words\n", 7),
            result(submission_pb2.CANCELLED, stdout="before\nlast words\n"),
        ]
    ]
    process = await start("run", hello)
    assert process.stdout
    assert await process.stdout.readline() == b"before\n"

    process.send_signal(signal.SIGINT)
    rest, _ = await asyncio.wait_for(process.communicate(), 10)

    assert (process.returncode, rest) == (exits.CANCELLED, b"last words\n")
    assert [r.job_id for r in served.service.asked["Cancel"]] == [JOB]


async def test_a_second_ctrl_c_leaves_at_once(served: Served, start: Start, hello: str) -> None:
    served.service.runs = [[snapshot(), output(1, b"before\n", 0), asyncio.Event()]]
    process = await start("run", hello)
    assert process.stdout
    await process.stdout.readline()

    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(served.service.cancelled.wait(), 10)
    process.send_signal(signal.SIGINT)

    assert await asyncio.wait_for(process.wait(), 5) == exits.CANCELLED


async def test_a_reader_that_goes_away_ends_the_program(served: Served, start: Start, hello: str) -> None:
    """As with `sentinel run … | head -1`."""
    many = [output(n, b"x" * 65536, (n - 1) * 65536) for n in range(1, 20)]
    served.service.runs = [[snapshot(), *many, asyncio.Event()]]
    process = await start("run", hello)
    assert process.stdout
    await process.stdout.readexactly(10)

    process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]

    assert await asyncio.wait_for(process.wait(), 10) == exits.BROKEN_PIPE
    assert served.service.cancelled.is_set()


async def test_json_is_one_event_per_line_as_the_websocket_tells_them(
    served: Served, sentinel: Sentinel, hello: str
) -> None:
    served.service.runs = [
        [
            snapshot(),
            status(1, submission_pb2.RUNNING),
            output(2, b"hi", 0),
            output(3, b"\xff", 2),
            result(stdout="hi\ufffd", stdout_base64=b"hi\xff", time_used_ms=12),
        ]
    ]

    ended = await sentinel("run", hello, "--json")

    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["type"] for line in lines] == ["status", "status", "output", "output", "result"]
    assert lines[0]["job_id"] == JOB
    assert lines[1] == {"type": "status", "sequence": 1_000_001, "attempt": 1, "status": "RUNNING"}
    assert tuple(lines[2][k] for k in ("stream", "offset", "text")) == ("stdout", 0, "hi")
    assert lines[3]["base64"] == "/w=="
    done = lines[4]["submission"]
    assert tuple(done[k] for k in ("status", "exit_code", "time_used_ms", "stdout_base64")) == (
        "SUCCESS",
        0,
        12,
        "aGn/",
    )
    assert "signal" not in done
    assert ended.stderr == b""


async def test_the_verdict_line_shows_the_evidence(served: Served, sentinel: Sentinel, hello: str) -> None:
    evidence = evidence_pb2.Evidence(
        limit=evidence_pb2.LIMIT_WALL_TIME, explanation="wall time reached 1000 ms.", signal_name="SIGKILL"
    )
    served.service.runs = [
        [
            snapshot(),
            result(submission_pb2.TIMEOUT, signal=9, evidence=evidence, time_used_ms=1001, memory_used_kb=2048),
        ]
    ]

    ended = await sentinel("run", hello, "--verdict")

    assert ended.told == "TIMEOUT · SIGKILL · wall time reached 1000 ms · 1001 ms wall · 2.0 MiB\n"


async def test_an_unknown_extension_lists_what_there_is(sentinel: Sentinel, tmp_path: Path) -> None:
    path = tmp_path / "prog.zig"
    path.write_text("x")

    ended = await sentinel("run", str(path))

    assert ended.code == exits.REFUSED
    assert "no language goes with the extension .zig" in ended.told
    assert "available: cpp, python" in ended.told


async def test_an_alias_is_an_extension_too(served: Served, sentinel: Sentinel, tmp_path: Path) -> None:
    path = tmp_path / "prog.CC"
    path.write_text("x")
    served.service.runs = [[snapshot(), result()]]

    await sentinel("run", str(path))

    assert served.service.asked["Run"][0].submission.language == "cpp"


async def test_a_language_the_service_does_not_know_lists_what_there_is(
    served: Served, sentinel: Sentinel, hello: str
) -> None:
    served.service.runs = [
        [
            Refusal(
                grpc.StatusCode.INVALID_ARGUMENT,
                "language",
                reason="UNKNOWN_LANGUAGE",
                fields={"language": "no such language: zig"},
            )
        ]
    ]

    ended = await sentinel("run", hello, "--language", "zig")

    assert ended.code == exits.REFUSED
    assert ended.told == "sentinel: language: no such language: zig (available: cpp, python)\n"


async def test_a_field_out_of_range_is_named(served: Served, sentinel: Sentinel, hello: str) -> None:
    served.service.runs = [
        [
            Refusal(
                grpc.StatusCode.INVALID_ARGUMENT,
                "invalid",
                reason="INVALID_FIELD",
                fields={"time_limit_ms": "must be at most 30000"},
            )
        ]
    ]

    ended = await sentinel("run", hello, "--time-limit-ms", "99999", "--json")

    assert (ended.code, ended.told) == (exits.REFUSED, "sentinel: time_limit_ms: must be at most 30000\n")
    body = json.loads(ended.stdout)
    assert (body["error"], body["code"]) == ("time_limit_ms: must be at most 30000", "INVALID_ARGUMENT")
    assert body["details"][0]["reason"] == "INVALID_FIELD"


async def test_a_rate_limit_tells_when_to_try_again(served: Served, sentinel: Sentinel, hello: str) -> None:
    served.service.runs = [
        [
            Refusal(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "too many submissions",
                reason="RATE_LIMITED",
                retry_seconds=17,
            )
        ]
    ]

    ended = await sentinel("run", hello)

    assert (
        ended.code,
        ended.told,
    ) == (exits.TRY_LATER, "sentinel: rate limited: too many submissions; try again in 17 s\n")


async def test_an_unreadable_file_is_told_before_anything_is_asked(served: Served, sentinel: Sentinel) -> None:
    ended = await sentinel("run", "missing.py", "--language", "python")

    assert (ended.code, ended.told) == (exits.NO_INPUT, "sentinel: missing.py: No such file or directory\n")
    assert not served.service.asked


async def test_a_program_may_come_from_standard_input(served: Served, sentinel: Sentinel) -> None:
    served.service.runs = [[snapshot(), result()]]

    await sentinel("run", "-", "-l", "python", stdin=b"print(1)")

    sent = served.service.asked["Run"][0].submission
    assert (sent.source_code, sent.stdin_base64) == ("print(1)", b"")


async def test_nothing_listens_says_what_to_do(sentinel: Sentinel, hello: str) -> None:
    ended = await sentinel("run", hello, "--endpoint", "127.0.0.1:1")

    assert ended.code == exits.UNAVAILABLE
    assert (
        ended.told
        == "sentinel: nothing listens on 127.0.0.1:1; start it with `make up` or name another with --endpoint\n"
    )
