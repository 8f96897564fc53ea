"""What an honest program may do, and that it is measured truly."""

import asyncio

import pytest

from services.executor.sandbox.protocol import Cause, Command, Exited, Killed, Signalled, Stdin, Stream
from tests.sandbox.conftest import ENV, LIMITS, Laboratory


async def test_hello_in_python(lab: Laboratory) -> None:
    outcome = await lab.python("print('hello')")

    assert (outcome.ending, outcome.stdout) == (Exited(0), "hello\n")


async def test_hello_in_c(lab: Laboratory) -> None:
    outcome = await lab.c('#include <stdio.h>\nint main(void) { puts("hello"); return 3; }')

    assert (outcome.ending, outcome.stdout) == (Exited(3), "hello\n")


async def test_hello_in_cpp(lab: Laboratory) -> None:
    outcome = await lab.cpp('#include <iostream>\nint main() { std::cout << "hello\\n"; }')

    assert (outcome.ending, outcome.stdout) == (Exited(0), "hello\n")


async def test_the_compilers_memory_is_not_counted_against_the_program(lab: Laboratory) -> None:
    outcome = await lab.cpp('#include <iostream>\nint main() { std::cout << "hello\\n"; }')

    assert 0 < outcome.usage.memory_peak_bytes < 8 << 20


async def test_input_comes_through_and_ends(lab: Laboratory) -> None:
    outcome = await lab.python("import sys; data = sys.stdin.read(); print(len(data), data[:3])", stdin=b"abc" * 50_000)

    assert outcome.stdout == "150000 abc\n"


async def test_eight_megabytes_of_input_that_nobody_reads_block_nothing(lab: Laboratory) -> None:
    outcome = await lab.python("import time; time.sleep(0.2); print('done')", stdin=b"x" * (8 << 20))

    assert (outcome.ending, outcome.stdout) == (Exited(0), "done\n")
    assert outcome.usage.wall_ms < 1000


async def test_the_ordinary_library_works(lab: Laboratory) -> None:
    outcome = await lab.python(
        """
import asyncio, concurrent.futures, ctypes, decimal, hashlib, json, multiprocessing, os, pathlib, random, re
import socket, sqlite3, ssl, subprocess, tempfile, threading, time, uuid, zlib
con = sqlite3.connect("/work/a.db"); con.execute("create table t (x)"); con.execute("insert into t values (1)")
con.commit(); print(con.execute("select * from t").fetchall())
print(subprocess.check_output(["/bin/echo", "child"]))
with tempfile.NamedTemporaryFile() as f: f.write(b"x"); f.flush(); print(os.path.dirname(f.name))
thread = threading.Thread(target=lambda: print("thread")); thread.start(); thread.join()
with concurrent.futures.ThreadPoolExecutor(4) as pool: print(sum(pool.map(abs, range(-9, 0))))
async def main():
    reader, writer = socket.socketpair(); writer.send(b"pair"); print(reader.recv(9)); await asyncio.sleep(0.01)
asyncio.run(main())
queue = multiprocessing.get_context("fork").SimpleQueue(); queue.put(5); print(queue.get())
import pwd; print(pwd.getpwuid(os.getuid()).pw_name, os.getuid(), os.path.expanduser("~"), os.getcwd())
""",
        wall_ms=30_000,
        cpu_ms=30_000,
    )

    assert outcome.ending == Exited(0), outcome.stderr
    assert outcome.stdout.splitlines() == [
        "[(1,)]",
        "b'child\\n'",
        "/tmp",
        "thread",
        "45",
        "b'pair'",
        "5",
        "sandbox 1000 /work /work",
    ]


@pytest.mark.parametrize(
    ("source", "ending"),
    [
        ("import os; os.abort()", Signalled(6)),
        ("import os; os.kill(os.getpid(), 9)", Signalled(9)),
        ("import os; os.kill(os.getpid(), 15)", Signalled(15)),
        ("import ctypes; ctypes.string_at(0)", Signalled(11)),
        ("raise SystemExit(137)", Exited(137)),
        ("raise SystemExit(159)", Exited(159)),
        ("raise SystemExit(255)", Exited(255)),
        ("import os; os._exit(127)", Exited(127)),
        ("1 / 0", Exited(1)),
    ],
)
async def test_the_status_is_the_programs_own(lab: Laboratory, source: str, ending: Exited | Signalled) -> None:
    outcome = await lab.python(source)

    assert outcome.ending == ending
    assert outcome.usage.oom_events == 0


async def test_output_arrives_while_the_program_runs(lab: Laboratory) -> None:
    loop, arrived = asyncio.get_running_loop(), list[tuple[float, bytes]]()
    async with lab.pool.checkout() as box:
        began = loop.time()
        await box.run(
            Command(argv=["/bin/sh", "-c", "echo one; sleep 0.3; echo two"], env=ENV),
            LIMITS,
            stdin=Stdin(),
            output=lambda _, data: arrived.append((loop.time() - began, data)),
        )

    assert [data for _, data in arrived] == [b"one\n", b"two\n"]
    assert arrived[0][0] < 0.15
    assert arrived[1][0] > 0.28


async def test_a_signal_reaches_the_program_and_its_children(lab: Laboratory) -> None:
    async with lab.pool.checkout() as box:
        said = bytearray()

        def output(_: Stream, data: bytes) -> None:
            said.extend(data)
            if b"ready" in data:
                box.signal(2)

        ending, _ = await box.run(
            Command(
                argv=["/bin/sh", "-c", "trap 'echo caught; exit 5' INT; sleep 9 & echo ready; wait"],
                env=ENV,
            ),
            LIMITS,
            stdin=Stdin(),
            output=output,
        )

    assert (ending, bytes(said)) == (Exited(5), b"ready\ncaught\n")


async def test_input_may_come_later(lab: Laboratory) -> None:
    stdin = Stdin(open_end=True)
    async with lab.pool.checkout() as box:
        said = bytearray()

        def output(_: Stream, data: bytes) -> None:
            said.extend(data)
            if data == b"name?\n":
                stdin.feed(b"Ada\n")
                stdin.end()

        ending, _ = await box.run(
            Command(argv=["/bin/sh", "-c", "echo 'name?'; read n; echo hello $n; cat"], env=ENV),
            LIMITS,
            stdin=stdin,
            output=output,
        )

    assert (ending, bytes(said)) == (Exited(0), b"name?\nhello Ada\n")


async def test_a_stop_kills_within_100_ms(lab: Laboratory) -> None:
    loop = asyncio.get_running_loop()
    async with lab.pool.checkout() as box:
        running = asyncio.ensure_future(
            box.run(
                Command(argv=["/bin/sleep", "9"], env=ENV), LIMITS, stdin=Stdin(), output=lambda _stream, _data: None
            )
        )
        await asyncio.sleep(0.1)
        asked = loop.time()
        box.stop()
        ending, _ = await running
        took = loop.time() - asked

    assert ending == Killed(Cause.CANCELLED)
    assert took < 0.1


async def test_a_stop_before_the_start_is_kept(lab: Laboratory) -> None:
    async with lab.pool.checkout() as box:
        box.stop()
        ending, _ = await box.run(
            Command(argv=["/bin/sleep", "9"]), LIMITS, stdin=Stdin(), output=lambda _stream, _data: None
        )

    assert ending == Killed(Cause.CANCELLED)


async def test_cancelling_the_run_kills_the_program(lab: Laboratory) -> None:
    async def run() -> None:
        async with lab.pool.checkout() as box:
            await box.run(Command(argv=["/bin/sleep", "9"]), LIMITS, stdin=Stdin(), output=lambda _stream, _data: None)

    running = asyncio.ensure_future(run())
    await asyncio.sleep(0.1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_what_runs_on_after_the_main_process_is_killed_and_its_output_kept(lab: Laboratory) -> None:
    outcome = await lab.shell("(while :; do echo x; sleep 0.01; done) & sleep 0.1")

    assert outcome.ending == Exited(0)
    assert outcome.usage.wall_ms < 500
    assert 0 < outcome.stdout.count("x") < 20


async def test_cpu_and_peaks_are_measured(lab: Laboratory) -> None:
    outcome = await lab.python(
        """
import time, subprocess
end = time.process_time() + 0.3
while time.process_time() < end: pass
data = bytearray(20 << 20)
kids = [subprocess.Popen(["/bin/sleep", "0.2"]) for _ in range(4)]
for kid in kids: kid.wait()
"""
    )

    assert 300 <= outcome.usage.cpu_ms < 1500
    assert 20 << 20 < outcome.usage.memory_peak_bytes < 40 << 20
    assert outcome.usage.peak_processes in {0, 5}


async def test_five_hundred_short_programs_never_meet_the_one_second_stall(lab: Laboratory) -> None:
    """nsjail can sleep through the death of its child; ours does not wait for nsjail."""
    slow = 0
    for _ in range(250):
        outcomes = await asyncio.gather(lab.shell("exit 7"), lab.shell("exit 7"))
        assert [outcome.ending for outcome in outcomes] == [Exited(7), Exited(7)]
        slow += sum(outcome.usage.wall_ms > 500 for outcome in outcomes)

    assert slow == 0
