"""Cancel, in every state a submission can be in; a running program is dead within 100 ms."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from sentinel.v1 import scheduler_pb2, scheduler_pb2_grpc, status_pb2, status_pb2_grpc, submission_pb2

from deploy.local import jails
from tests.mesh import RunningMesh

if TYPE_CHECKING:
    # They exist in the stub file only: at run time one class serves both ways of calling.
    Scheduler = scheduler_pb2_grpc.SchedulerServiceAsyncStub
    Status = status_pb2_grpc.StatusServiceAsyncStub

BUSY = "import time\nprint('here', flush=True)\ntime.sleep(25)"
# Each level doubles what the compiler instantiates: seconds of work, little memory.
SLOW_TO_COMPILE = """
template <unsigned long n, unsigned long salt> struct T {
  static constexpr unsigned long value = T<n - 1, salt * 2>::value + T<n - 1, salt * 2 + 1>::value;
};
template <unsigned long salt> struct T<0, salt> { static constexpr unsigned long value = salt & 1; };
int main() { return T<16, 1>::value == 0; }
"""


@pytest.fixture
async def stubs(mesh: RunningMesh) -> AsyncIterator[tuple[Scheduler, Status]]:
    async with mesh.channel() as channel:
        yield scheduler_pb2_grpc.SchedulerServiceStub(channel), status_pb2_grpc.StatusServiceStub(channel)


def program(source: str, language: str = "python", time_limit_ms: int = 30_000) -> scheduler_pb2.SubmitRequest:
    return scheduler_pb2.SubmitRequest(language=language, source_code=source, time_limit_ms=time_limit_ms)


async def until(status: Status, job: str, wanted: submission_pb2.Status.ValueType) -> None:
    """Returns when the submission has that status."""
    async with asyncio.timeout(20):
        while (await status.GetSubmission(status_pb2.GetSubmissionRequest(job_id=job))).submission.status != wanted:
            await asyncio.sleep(0.02)


async def cancel(scheduler: Scheduler, job: str) -> submission_pb2.Submission:
    return (await scheduler.Cancel(scheduler_pb2.CancelRequest(job_id=job))).submission


def job_processes(mesh: RunningMesh) -> list[str]:
    """Pythons in jails of this mesh: their uid is one that only those have."""
    first = jails.first_user_id(mesh.mesh)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if first <= process.stat().st_uid < first + 1_000_000 and b"python" in command:
                found.append(process.name)
        except OSError:
            continue
    return found


async def test_a_running_program_is_dead_within_100_ms(stubs: tuple[Scheduler, Status], mesh: RunningMesh) -> None:
    """And the row is CANCELLED, with what the program had said."""
    scheduler, status = stubs
    before = set(job_processes(mesh))
    job = (await scheduler.Submit(program(BUSY))).job_id
    watch = status.WatchSubmission(status_pb2.WatchSubmissionRequest(job_id=job))
    async with asyncio.timeout(20):
        async for response in watch:
            if response.event.HasField("output"):
                break
    (pid,) = set(job_processes(mesh)) - before

    begun = time.monotonic()
    answer = asyncio.ensure_future(cancel(scheduler, job))
    while pid in job_processes(mesh):
        await asyncio.sleep(0.002)
        assert time.monotonic() - begun < 5
    took = time.monotonic() - begun
    cancelled = await answer

    assert took < 0.1, f"dead after {took * 1000:.0f} ms"
    assert (cancelled.status, cancelled.stdout) == (submission_pb2.CANCELLED, "here\n")


async def test_a_compiling_program_is_cancelled(stubs: tuple[Scheduler, Status]) -> None:
    scheduler, status = stubs
    job = (await scheduler.Submit(program(SLOW_TO_COMPILE, "cpp"))).job_id
    await until(status, job, submission_pb2.COMPILING)
    await asyncio.sleep(0.2)
    cancelled = await cancel(scheduler, job)
    assert cancelled.status == submission_pb2.CANCELLED
    assert not any(phase.phase == 3 for phase in cancelled.evidence.phases)


async def test_a_queued_program_is_cancelled_and_never_runs(stubs: tuple[Scheduler, Status], mesh: RunningMesh) -> None:
    scheduler, status = stubs
    slots = mesh.mesh.executors * mesh.mesh.pool_size
    blockers = [(await scheduler.Submit(program(BUSY))).job_id for _ in range(slots)]
    for blocker in blockers:
        await until(status, blocker, submission_pb2.RUNNING)
    job = (await scheduler.Submit(program("print('ran')"))).job_id
    cancelled = await cancel(scheduler, job)
    assert (cancelled.status, cancelled.attempt) == (submission_pb2.CANCELLED, 0)
    for blocker in blockers:
        assert (await cancel(scheduler, blocker)).status == submission_pb2.CANCELLED
    final = await status.GetSubmission(status_pb2.GetSubmissionRequest(job_id=job, wait_ms=300))
    assert (final.submission.status, final.submission.stdout) == (submission_pb2.CANCELLED, "")


async def test_a_finished_program_stays_as_it_is(stubs: tuple[Scheduler, Status]) -> None:
    scheduler, status = stubs
    job = (await scheduler.Submit(program("print(42)"))).job_id
    await until(status, job, submission_pb2.SUCCESS)
    for _ in range(2):
        assert (await cancel(scheduler, job)).status == submission_pb2.SUCCESS


async def test_a_caller_of_run_who_leaves_ends_the_program(stubs: tuple[Scheduler, Status]) -> None:
    scheduler, status = stubs
    call = scheduler.Run(scheduler_pb2.RunRequest(submission=program(BUSY)))
    job = ""
    async for response in call:
        job = job or response.event.snapshot.job_id
        if response.event.HasField("output"):
            break
    call.cancel()
    await until(status, job, submission_pb2.CANCELLED)


async def test_a_caller_of_interact_may_cancel_and_sees_the_end(stubs: tuple[Scheduler, Status]) -> None:
    scheduler, _ = stubs
    call = scheduler.Interact()
    run = scheduler_pb2.RunRequest(submission=program(BUSY))
    await call.write(scheduler_pb2.InteractRequest(run=run))
    last = None
    async with asyncio.timeout(20):
        async for response in call:
            last = response.event
            if last.HasField("output"):
                await call.write(scheduler_pb2.InteractRequest(cancel=True))
    assert last is not None
    assert last.result.submission.status == submission_pb2.CANCELLED
    assert await call.code() is grpc.StatusCode.OK
