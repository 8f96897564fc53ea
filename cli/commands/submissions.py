"""`submit`, `get`, `cancel` and `list`: submissions as records."""

import sys
from enum import StrEnum
from typing import Annotated

import typer
from sentinel.v1 import evidence_pb2, scheduler_pb2, status_pb2, submission_pb2

from cli import exits, options, program, tables, verdict
from cli.commands.language import choose, with_choices
from cli.connection import Client
from cli.faults import Fault
from cli.jsonout import as_dict, document
from cli.session import DEADLINE_SECONDS, call, perform
from cli.show import write
from cli.transcript import outputs

_WAIT_MS = 20_000
"""Short enough for any proxy on the way; the wait as a whole is as long as it takes."""
_PAGE = 100
_FIRST_TERMINAL = submission_pb2.SUCCESS
"""From this one on, every status is terminal."""

_STATUS_NAMES = tuple(name for name, number in submission_pb2.Status.items() if number)


def _status(name: str | None) -> str | None:
    """The name as the proto spells it."""
    if name is None or name.upper() in _STATUS_NAMES:
        return name and name.upper()
    raise typer.BadParameter(f"{name} is none of {', '.join(_STATUS_NAMES)}")


class OutputName(StrEnum):
    """What `get --output` can write."""

    STDOUT = "stdout"
    STDERR = "stderr"
    COMPILE = "compile"


_STREAMS = {
    OutputName.STDOUT: evidence_pb2.STREAM_STDOUT,
    OutputName.STDERR: evidence_pb2.STREAM_STDERR,
    OutputName.COMPILE: evidence_pb2.STREAM_COMPILE,
}


def submit(
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
    idempotency_key: options.IdempotencyKey = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end and exit as `run` does.")] = False,
    as_json: options.Json = False,
    endpoint: options.Endpoint = options.DEFAULT_ENDPOINT,
) -> None:
    """Submit a program and print its job id. It runs whether or not anybody watches.

    Words after `--` are the program's arguments.
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
        idempotency_key=idempotency_key or program.new_key(),
    )

    async def work(client: Client) -> int:
        request = program.build(await choose(client, language, files[0]), files, chosen)
        try:
            receipt = await call(client, lambda: client.scheduler.Submit(request, timeout=DEADLINE_SECONDS))
        except Fault as refused:
            raise await with_choices(client, refused) from refused
        if not as_json:
            print(receipt.job_id, flush=True)
        if not wait:
            if as_json:
                print(document(as_dict(receipt)))
            return 0
        submission = await _finished(client, receipt.job_id)
        if as_json:
            print(document(as_dict(submission)))
        else:
            print(f"{verdict.status_word(submission)} · {verdict.facts(submission)}", file=sys.stderr)
        return exits.exit_code(submission)

    perform(endpoint, work, as_json=as_json)


def get(
    *,
    job_id: options.JobId,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end first.")] = False,
    output: Annotated[
        OutputName | None,
        typer.Option("--output", help="Write the exact bytes of this stream and nothing else."),
    ] = None,
    as_json: options.Json = False,
    endpoint: options.Endpoint = options.DEFAULT_ENDPOINT,
) -> None:
    """Show a submission: where it stands, what it printed, and why its verdict is what it is."""

    async def work(client: Client) -> int:
        submission = await (_finished(client, job_id) if wait else _get(client, job_id, 0))
        if output is not None:
            write(1, outputs(submission)[_STREAMS[output]])
        elif as_json:
            print(document(as_dict(submission)))
        else:
            tables.submission(submission)
        return 0

    perform(endpoint, work, as_json=as_json)


def cancel(
    *,
    job_id: options.JobId,
    as_json: options.Json = False,
    endpoint: options.Endpoint = options.DEFAULT_ENDPOINT,
) -> None:
    """End a submission. Doing it twice, or after its end, changes nothing."""

    async def work(client: Client) -> int:
        request = scheduler_pb2.CancelRequest(job_id=job_id)
        answer = await call(client, lambda: client.scheduler.Cancel(request, timeout=DEADLINE_SECONDS))
        print(document(as_dict(answer.submission)) if as_json else verdict.status_word(answer.submission))
        return 0

    perform(endpoint, work, as_json=as_json)


def list_(
    *,
    status: Annotated[
        str | None,
        typer.Option("--status", metavar="STATUS", callback=_status, help="Only those with this status."),
    ] = None,
    language: Annotated[str, typer.Option("--language", "-l", metavar="NAME", help="Only this language.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="Most rows.")] = 20,
    as_json: options.Json = False,
    endpoint: options.Endpoint = options.DEFAULT_ENDPOINT,
) -> None:
    """List submissions, newest first."""
    request = status_pb2.ListSubmissionsRequest(language=language)
    if status is not None:
        request.status = submission_pb2.Status.Value(status)

    async def work(client: Client) -> int:
        page = await _pages(client, request, limit)
        if as_json:
            print(document(as_dict(page)))
        else:
            tables.submissions(page.submissions)
        return 0

    perform(endpoint, work, as_json=as_json)


async def _get(client: Client, job_id: str, wait_ms: int) -> submission_pb2.Submission:
    request = status_pb2.GetSubmissionRequest(job_id=job_id, wait_ms=wait_ms)
    deadline = DEADLINE_SECONDS + wait_ms / 1000
    answer = await call(client, lambda: client.status.GetSubmission(request, timeout=deadline))
    return answer.submission


async def _finished(client: Client, job_id: str) -> submission_pb2.Submission:
    while True:
        submission = await _get(client, job_id, _WAIT_MS)
        if submission.status >= _FIRST_TERMINAL:
            return submission


async def _pages(
    client: Client, request: status_pb2.ListSubmissionsRequest, limit: int
) -> status_pb2.ListSubmissionsResponse:
    """Up to `limit` submissions as one page, with the token for what comes after them."""
    whole = status_pb2.ListSubmissionsResponse()
    while True:
        request.page_size = min(_PAGE, limit - len(whole.submissions))
        page = await call(client, lambda: client.status.ListSubmissions(request, timeout=DEADLINE_SECONDS))
        whole.submissions.extend(page.submissions)
        whole.next_page_token = request.page_token = page.next_page_token
        if not page.next_page_token or len(whole.submissions) >= limit:
            return whole
