"""`run` and `watch`: see a program while it runs."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Annotated

import typer
from sentinel.v1 import event_pb2, scheduler_pb2

from cli import exits, options, program
from cli.commands.language import choose, with_choices
from cli.connection import Client
from cli.faults import Fault
from cli.follow import Follower
from cli.session import DEADLINE_SECONDS, call, interruptible, perform
from cli.show import JsonShow, LiveShow, Show
from cli.transcript import Transcript

Verdict = Annotated[
    bool | None,
    typer.Option("--verdict/--no-verdict", help="Verdict and evidence on standard error; default on a terminal."),
]
_CANCEL_AGAIN_SECONDS = 0.5


def run(
    ctx: typer.Context,
    *,
    files: options.Files,
    language: options.Language = None,
    stdin: options.Stdin = None,
    env: options.Env = None,
    compile_arg: options.CompileArgs = None,
    time_limit_ms: options.TimeLimit = None,
    cpu_time_limit_ms: options.CpuTimeLimit = None,
    memory_limit_kb: options.MemoryLimit = None,
    output_limit_kb: options.OutputLimit = None,
    process_limit: options.ProcessLimit = None,
    network: options.Network = False,
    verdict: Verdict = None,
    as_json: options.Json = False,
    endpoint: options.Endpoint = options.DEFAULT_ENDPOINT,
) -> None:
    """Run a program and show its output as it comes. Words after `--` are the program's arguments.

    Exits with the program's own code, or 128 plus the signal that ended it; 120 compilation error, 121 output limit,
    122 memory limit, 123 security violation, 124 timeout, 130 cancelled, 70 the service failed, 69 no connection,
    75 try later, 64 refused, 66 unreadable file. The first Ctrl-C cancels and waits for the end, the second leaves.
    """
    chosen = program.Options(
        stdin=stdin,
        args=options.program_args(ctx),
        env=env or (),
        compile_args=compile_arg or (),
        time_limit_ms=time_limit_ms,
        cpu_time_limit_ms=cpu_time_limit_ms,
        memory_limit_kb=memory_limit_kb,
        output_limit_kb=output_limit_kb,
        process_limit=process_limit,
        network=network,
    )
    show = _show(0, verdict=verdict, as_json=as_json)

    async def work(client: Client) -> int:
        request = scheduler_pb2.RunRequest(
            submission=program.build(await choose(client, language, files[0]), files, chosen),
            # A broken line must not end the program: whether it ends is for Ctrl-C to say.
            keep_on_disconnect=True,
        )
        try:
            return await _run(client, request, show)
        except Fault as refused:
            raise await with_choices(client, refused) from refused

    perform(endpoint, work, as_json=as_json)


def watch(
    *,
    job_id: options.JobId,
    after: Annotated[int, typer.Option("--after", min=0, metavar="N", help="Only events after this sequence.")] = 0,
    verdict: Verdict = None,
    as_json: options.Json = False,
    endpoint: options.Endpoint = options.DEFAULT_ENDPOINT,
) -> None:
    """Show a submission from its beginning, live or long after its end. Exits as `run` does.

    Ctrl-C stops watching and leaves the program alone.
    """
    show = _show(after, verdict=verdict, as_json=as_json)

    async def work(client: Client) -> int:
        follower = Follower(client, show.notice)
        return await _show_all(follower.watch(job_id, after), show)

    perform(endpoint, work, as_json=as_json)


def _show(after: int, *, verdict: bool | None, as_json: bool) -> Show:
    if as_json:
        return JsonShow()
    return LiveShow(Transcript.after(after), with_verdict=os.isatty(2) if verdict is None else verdict)


async def _run(client: Client, request: scheduler_pb2.RunRequest, show: Show) -> int:
    follower = Follower(client, show.notice)
    with interruptible(lambda: show.notice("cancelling; Ctrl-C again leaves at once")) as asked:
        canceller = asyncio.create_task(_cancel_when(asked, client, follower), name="cancel when asked")
        try:
            return await _show_all(follower.run(request), show)
        except BrokenPipeError:
            await _cancel(client, follower.job_id)
            raise
        finally:
            canceller.cancel()


async def _show_all(events: AsyncIterator[event_pb2.Event], show: Show) -> int:
    async for event in events:
        await show.event(event)
        if event.HasField("result"):
            return exits.exit_code(event.result.submission)
    raise AssertionError("a follower ends with a result or a Fault")


async def _cancel_when(asked: asyncio.Event, client: Client, follower: Follower) -> None:
    await asked.wait()
    await follower.known.wait()
    while True:
        try:
            await _cancel(client, follower.job_id)
        except Fault as fault:
            if fault.exit_code != exits.REFUSED:
                await asyncio.sleep(_CANCEL_AGAIN_SECONDS)
                continue
        return


async def _cancel(client: Client, job_id: str) -> None:
    request = scheduler_pb2.CancelRequest(job_id=job_id)
    await call(client, lambda: client.scheduler.Cancel(request, timeout=DEADLINE_SECONDS))
