"""The command as people type it, through Envoy, against everything real."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.mesh import RunningMesh

HELLO = {
    "hello.py": "import sys\nprint('hello')\nsys.exit(int(sys.argv[1]))\n",
    "hello.c": (
        '#include <stdio.h>\n#include <stdlib.h>\nint main(int n, char **v) { puts("hello"); return atoi(v[1]); }\n'
    ),
    "hello.cpp": (
        '#include <iostream>\nint main(int n, char **v) { std::cout << "hello\\n"; return std::stoi(v[1]); }\n'
    ),
}
ENDLESS = "import time\nprint('begun', flush=True)\ntime.sleep(20)\n"
SECONDS = 30


class Cli:
    """`sentinel` in a folder of its own."""

    def __init__(self, mesh: RunningMesh, folder: Path) -> None:
        self.mesh = mesh
        self._folder = folder
        self._environment = os.environ | {"SENTINEL_ENDPOINT": mesh.target, "TERM": "dumb"}

    def write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text)

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "cli", *words],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, *words: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [sys.executable, "-m", "cli", *words],
            cwd=self._folder,
            env=self._environment,
            input=stdin,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )


@pytest.fixture
def cli(mesh: RunningMesh, tmp_path: Path) -> Cli:
    return Cli(mesh, tmp_path)


@pytest.mark.parametrize("name", HELLO)
def test_hello_in_every_language_with_its_exit_code(cli: Cli, name: str) -> None:
    cli.write(name, HELLO[name])

    ended = cli("run", name, "--", "7")

    assert (ended.returncode, ended.stdout, ended.stderr) == (7, b"hello\n", b"")


def test_standard_input_and_odd_bytes_go_through_unchanged(cli: Cli) -> None:
    cli.write("cat.py", "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())\n")
    odd = bytes(range(256)) * 20

    ended = cli("run", "cat.py", stdin=odd)

    assert (ended.returncode, ended.stdout) == (0, odd)


@pytest.mark.parametrize(
    ("source", "options", "code"),
    [
        ("import os; os.kill(os.getpid(), 11)", (), 139),
        ("while True: pass", ("--time-limit-ms", "300"), 124),
        ("b = bytearray(200 << 20)", ("--memory-limit-kb", "65536"), 122),
        ("while True: print('x' * 1000)", ("--output-limit-kb", "1"), 121),
    ],
)
def test_every_end_has_its_exit_code(cli: Cli, source: str, options: tuple[str, ...], code: int) -> None:
    cli.write("a.py", source)

    ended = cli("run", "a.py", *options)

    assert ended.returncode == code, ended.stderr


def test_a_compilation_error_shows_what_the_compiler_said(cli: Cli) -> None:
    cli.write("bad.c", "int main( {")

    ended = cli("run", "bad.c")

    assert (ended.returncode, ended.stdout) == (120, b"")
    assert b"error" in ended.stderr


def test_ctrl_c_cancels_the_program_and_not_just_the_command(cli: Cli) -> None:
    cli.write("endless.py", ENDLESS)
    process = cli.start("run", "endless.py", "--time-limit-ms", "30000")
    assert process.stdout
    assert process.stdout.readline() == b"begun\n"

    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)

    assert process.returncode == 130
    assert time.monotonic() - began < 3
    newest = json.loads(cli("list", "--json", "--limit", "1").stdout)["submissions"][0]
    assert newest["status"] == "CANCELLED"


@pytest.mark.parametrize("victim", ["scheduler-0", "scheduler-1", "gateway-0", "envoy", "executor-0"])
def test_a_killed_process_costs_no_byte(cli: Cli, victim: str) -> None:
    """Where the attempt itself is lost, the next one's output is whole, and the first one's is declared void."""
    cli.write("slow.py", "import time\nfor n in range(30):\n    print(n, flush=True)\n    time.sleep(0.1)\n")
    process = cli.start("run", "slow.py", "--time-limit-ms", "30000")
    assert process.stdout
    first = process.stdout.readline()

    cli.mesh.kill(victim)
    try:
        rest, told = process.communicate(timeout=60)
    finally:
        cli.mesh.await_ready()

    whole = "".join(f"{n}\n" for n in range(30)).encode()
    assert process.returncode == 0, told
    assert (first + rest).endswith(whole), told
    assert first + rest == whole or b"void" in told


def test_json_has_the_shape_of_rest(cli: Cli) -> None:
    cli.write("hello.py", "print('hello')\n")

    lines = [json.loads(line) for line in cli("run", "hello.py", "--json").stdout.splitlines()]
    job = lines[0]["job_id"]
    record = json.loads(cli("get", job, "--json").stdout)

    assert lines[-1]["type"] == "result"
    assert lines[-1]["submission"] == record
    assert (record["status"], record["stdout"], record["exit_code"]) == ("SUCCESS", "hello\n", 0)
    text = "".join(line["text"] for line in lines if line["type"] == "output")
    assert text == "hello\n"
    assert [line["sequence"] for line in lines] == sorted(line["sequence"] for line in lines)


def test_submit_watch_and_get_tell_the_same(cli: Cli) -> None:
    cli.write("hello.py", "print('hello')\n")

    job = cli("submit", "hello.py").stdout.decode().strip()
    watched = cli("watch", job)
    again = cli("watch", job, "--after", "1000002")
    kept = cli("get", job, "--output", "stdout")

    assert (watched.returncode, watched.stdout) == (0, b"hello\n")
    assert b"hello\n".endswith(again.stdout)
    assert kept.stdout == b"hello\n"


def test_the_same_key_gives_the_same_job(cli: Cli) -> None:
    cli.write("hello.py", "print('hello')\n")

    receipts = {cli("submit", "hello.py", "--idempotency-key", "tests/cli").stdout for _ in range(2)}

    assert len(receipts) == 1


def test_what_the_service_can_do_is_told(cli: Cli) -> None:
    names = [line.split("\t")[0] for line in cli("languages").stdout.decode().splitlines()]

    assert names == sorted(names)
    assert {"c", "cpp", "python"} <= set(names)
    assert json.loads(cli("health", "--json").stdout)["services"] == dict.fromkeys(
        ("postgres", "rabbitmq", "redis"), "ok"
    )


def test_an_unknown_language_lists_the_known_ones(cli: Cli) -> None:
    cli.write("a.py", "1")

    ended = cli("run", "a.py", "--language", "cobol")

    assert ended.returncode == 64
    assert b"python" in ended.stderr
