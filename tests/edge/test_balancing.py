"""Which process gets a call, and what callers notice when one comes or goes."""

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import grpc
from sentinel.v1 import scheduler_pb2, status_pb2

from services.kit.errors import Unavailable
from tests.edge.envoys import TestEdge, running_edge
from tests.edge.upstream import JOB

HELLO = {"language": "python", "source_code": "print(1)"}


async def until(edge: TestEdge, stat: str, value: int) -> None:
    async with asyncio.timeout(10):
        while await edge.stat(stat) != value:
            await asyncio.sleep(0.02)


async def test_calls_are_shared_out_evenly_over_processes_with_ports_of_their_own(tmp_path: Path) -> None:
    """Behind one shared port (SO_REUSEPORT) Envoy's one connection per worker would pin all of them to one process."""
    async with running_edge(tmp_path, schedulers=3) as edge:
        for _ in range(60):
            assert (await edge.post("/api/v1/submissions", HELLO)).status == 202
        counts = [len(scheduler.calls) for scheduler in edge.schedulers]

    assert sum(counts) == 60
    assert min(counts) >= 15, counts


async def test_without_any_healthy_scheduler_the_answer_is_503_at_once(tmp_path: Path) -> None:
    """Envoy's panic mode would send to all of them instead."""
    async with running_edge(tmp_path, schedulers=2) as edge:
        for process in edge.scheduler_processes:
            await process.serving(serving=False)
        await until(edge, "cluster.scheduler.membership_healthy", 0)
        begun = time.monotonic()
        answer = await edge.post("/api/v1/submissions", HELLO)
        took = time.monotonic() - begun
        calls = [scheduler.calls for scheduler in edge.schedulers]
        grpc_error: grpc.aio.AioRpcError | None = None
        try:
            await edge.stub().Submit(scheduler_pb2.SubmitRequest(language="python", source_code="x"))
        except grpc.aio.AioRpcError as error:
            grpc_error = error
        health = await edge.get("/api/v1/health")

    assert (answer.status, answer.json["code"]) == (503, "UNAVAILABLE")
    assert answer.json["details"][1]["retry_delay"] == "1s"
    assert answer.header("retry-after") == "1"
    assert "upstream" not in answer.json["error"]
    assert took < 0.5
    assert calls == [[], []]
    assert grpc_error is not None
    assert grpc_error.code() is grpc.StatusCode.UNAVAILABLE
    assert "{" not in (grpc_error.details() or "")
    assert health.status == 200


async def test_a_scheduler_that_drains_costs_no_call(tmp_path: Path) -> None:
    """NOT_SERVING, a pause longer than a health interval, then stop: with traffic all the while."""
    async with running_edge(tmp_path, schedulers=2) as edge:
        statuses: list[int] = []
        done = asyncio.Event()

        async def traffic() -> None:
            while not done.is_set():
                statuses.append((await edge.post("/api/v1/submissions", HELLO)).status)

        load = [asyncio.create_task(traffic()) for _ in range(8)]
        await asyncio.sleep(0.3)
        leaving = edge.scheduler_processes[0]
        await leaving.serving(serving=False)
        await asyncio.sleep(2)
        before = len(edge.schedulers[0].calls)
        await asyncio.sleep(0.3)
        after = len(edge.schedulers[0].calls)
        await leaving.stop(grace=2)
        await asyncio.sleep(0.3)
        await leaving.start()
        await until(edge, "cluster.scheduler.membership_healthy", 2)
        begun = len(edge.schedulers[0].calls)
        await asyncio.sleep(0.3)
        done.set()
        await asyncio.gather(*load)

    assert set(statuses) == {202}
    assert before == after
    assert len(edge.schedulers[0].calls) > begun


async def test_a_scheduler_that_is_gone_without_a_word_costs_no_later_call(tmp_path: Path) -> None:
    async with running_edge(tmp_path, schedulers=2) as edge:
        await edge.scheduler_processes[0].stop(grace=0)
        answers = [await edge.post("/api/v1/submissions", HELLO) for _ in range(40)]

    assert [answer.status for answer in answers] == [202] * 40


async def test_an_honest_unavailable_reaches_the_caller_once_and_ejects_nobody(tmp_path: Path) -> None:
    async def full(_request: Any, _context: Any) -> Any:
        raise Unavailable("the database is away", retry_after=4)

    async with running_edge(tmp_path, schedulers=2) as edge:
        for scheduler in edge.schedulers:
            scheduler.submit = full
        refused = [await edge.post("/api/v1/submissions", HELLO) for _ in range(30)]
        attempts = sum(len(scheduler.calls) for scheduler in edge.schedulers)
        for scheduler in edge.schedulers:
            scheduler.submit = scheduler.accept
        well = await edge.post("/api/v1/submissions", HELLO)

    assert {(answer.status, answer.json["error"]) for answer in refused} == {(503, "the database is away")}
    # A submit that was answered is not sent again: without a key it would make a second submission.
    assert attempts == 30
    assert well.status == 202


async def test_reads_are_sent_again_where_the_first_process_says_unavailable(edge: TestEdge) -> None:
    tries = 0

    async def once(_request: Any, _context: Any) -> status_pb2.GetSubmissionResponse:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable("a moment")
        return status_pb2.GetSubmissionResponse(submission=edge.status.submission)

    edge.status.get = once
    answer = await edge.get(f"/api/v1/submissions/{JOB}")

    assert (answer.status, tries) == (200, 2)


async def test_envoy_drains_without_cutting_a_stream_and_dies_of_sigterm_at_once(tmp_path: Path) -> None:
    async with running_edge(tmp_path) as edge:
        interact = edge.stub().Interact()
        await interact.write(scheduler_pb2.InteractRequest(stdin=b"a"))
        await interact.read()
        for path in ("/healthcheck/fail", "/drain_listeners?graceful&skip_exit"):
            async with edge.session.post(edge.admin + path) as response:
                assert response.status == 200
        await asyncio.sleep(0.5)
        await interact.write(scheduler_pb2.InteractRequest(stdin=b"b"))
        reply: Any = await interact.read()
        await interact.done_writing()
        end = await interact.read()
        edge.envoy.send_signal(signal.SIGTERM)
        await asyncio.to_thread(edge.envoy.wait, 10)

    assert reply.event.output.data == b"b"
    assert end is grpc.aio.EOF
