"""The other commands, against a scripted service."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from sentinel.v1 import evidence_pb2, scheduler_pb2, status_pb2, submission_pb2

from cli import VERSION, exits
from tests.unit.cli.scripted import JOB, Refusal, Sentinel, Served, output, result, snapshot

pytestmark = pytest.mark.asyncio


def answer(word: "submission_pb2.Status.ValueType", **fields: Any) -> status_pb2.GetSubmissionResponse:
    return status_pb2.GetSubmissionResponse(
        submission=submission_pb2.Submission(job_id=JOB, status=word, language="python", **fields)
    )


async def test_submit_prints_the_job_id_and_nothing_else(served: Served, sentinel: Sentinel, tmp_path: Path) -> None:
    source = tmp_path / "a.py"
    source.write_text("x")
    served.service.answers["Submit"] = [scheduler_pb2.SubmitResponse(job_id=JOB, status=submission_pb2.QUEUED)]

    plain = await sentinel("submit", str(source), "--idempotency-key", "k")
    as_json = await sentinel("submit", str(source), "--json")

    assert (0, f"{JOB}\n".encode(), b"") == (plain.code, plain.stdout, plain.stderr)
    assert json.loads(as_json.stdout) == {"job_id": JOB, "status": "QUEUED"}
    assert served.service.asked["Submit"][0].idempotency_key == "k"


async def test_submit_asks_again_when_the_line_breaks_and_waits_when_told(
    served: Served, sentinel: Sentinel, tmp_path: Path
) -> None:
    source = tmp_path / "a.py"
    source.write_text("x")
    served.service.answers["Submit"] = [
        Refusal(grpc.StatusCode.UNAVAILABLE, "reset"),
        scheduler_pb2.SubmitResponse(job_id=JOB, status=submission_pb2.QUEUED),
    ]
    served.service.answers["GetSubmission"] = [
        answer(submission_pb2.RUNNING),
        answer(submission_pb2.RUNTIME_ERROR, exit_code=3),
    ]

    ended = await sentinel("submit", str(source), "--wait")

    assert (3, f"{JOB}\n".encode()) == (ended.code, ended.stdout)
    assert ended.told == "RUNTIME_ERROR · exit 3\n"
    keys = {r.idempotency_key for r in served.service.asked["Submit"]}
    assert len(keys) == 1


async def test_get_shows_the_record_and_makes_control_characters_visible(served: Served, sentinel: Sentinel) -> None:
    evidence = evidence_pb2.Evidence(
        executor="executor-1",
        phases=[evidence_pb2.PhaseTime(phase=evidence_pb2.PHASE_RUN, duration_ms=12.25)],
    )
    served.service.answers["GetSubmission"] = [
        answer(submission_pb2.SUCCESS, exit_code=0, stdout="\x1b[31mred\n", attempt=2, evidence=evidence)
    ]

    ended = await sentinel("get", JOB)

    text = ended.stdout.decode()
    assert text.startswith("SUCCESS · exit 0 · attempt 2\n")
    assert "run 12.2 ms" in text
    assert "\\x1b[31mred" in text


async def test_get_output_writes_the_exact_bytes(served: Served, sentinel: Sentinel) -> None:
    served.service.answers["GetSubmission"] = [
        answer(submission_pb2.SUCCESS, stdout="\ufffd", stdout_base64=b"\xff\x1b")
    ]

    ended = await sentinel("get", JOB, "--output", "stdout")

    assert ended.stdout == b"\xff\x1b"


async def test_an_unknown_job_is_refused_with_the_services_words(served: Served, sentinel: Sentinel) -> None:
    served.service.answers["GetSubmission"] = [
        Refusal(grpc.StatusCode.NOT_FOUND, "there is no submission 1", reason="UNKNOWN_JOB")
    ]

    ended = await sentinel("get", JOB)

    assert (ended.code, ended.told) == (exits.REFUSED, "sentinel: there is no submission 1\n")


async def test_watch_resumes_after_a_sequence_and_does_not_repeat_what_came_before(
    served: Served, sentinel: Sentinel
) -> None:
    served.service.watches = [
        [
            snapshot(submission_pb2.RUNNING, 1_000_002),
            output(3, b"new", 3),
            result(stdout="oldnew", stderr="old too"),
        ]
    ]

    ended = await sentinel("watch", JOB, "--after", "1000002")

    assert (ended.code, ended.stdout, ended.stderr) == (0, b"new", b"")
    assert served.service.asked["WatchSubmission"][0].after_sequence == 1_000_002


async def test_watch_tells_an_unknown_job_at_once(served: Served, sentinel: Sentinel) -> None:
    served.service.watches = [[Refusal(grpc.StatusCode.NOT_FOUND, "no such job", reason="UNKNOWN_JOB")]]

    ended = await sentinel("watch", JOB)

    assert (ended.code, ended.told) == (exits.REFUSED, "sentinel: no such job\n")


async def test_cancel_tells_where_it_stands_then(sentinel: Sentinel) -> None:
    ended = await sentinel("cancel", JOB)

    assert (ended.code, ended.stdout) == (0, b"CANCELLED\n")


async def test_list_turns_pages_until_it_has_enough(served: Served, sentinel: Sentinel) -> None:
    def page(count: int, token: str) -> status_pb2.ListSubmissionsResponse:
        one = submission_pb2.Submission(job_id=JOB, status=submission_pb2.SUCCESS, language="python")
        return status_pb2.ListSubmissionsResponse(submissions=[one] * count, next_page_token=token)

    served.service.answers["ListSubmissions"] = [page(100, "more"), page(20, "yet more")]

    ended = await sentinel("list", "--limit", "120", "--status", "success", "--language", "python")

    first, second = served.service.asked["ListSubmissions"]
    assert len(ended.stdout.splitlines()) == 120
    assert (first.page_size, first.page_token, first.status) == (100, "", submission_pb2.SUCCESS)
    assert (second.page_size, second.page_token, second.language) == (20, "more", "python")


async def test_a_misspelt_status_lists_the_words(sentinel: Sentinel) -> None:
    ended = await sentinel("list", "--status", "DONE")

    assert ended.code == exits.USAGE
    assert "RUNTIME_ERROR" in ended.told


async def test_languages_are_tab_separated_into_a_pipe(sentinel: Sentinel) -> None:
    ended = await sentinel("languages")

    assert ended.stdout == b"cpp\tC++\t12.2.0\t.cpp\tcc\npython\tPython\t3.11.2\t.py\tpy\n"


@pytest.mark.parametrize(("word", "code"), [("ok", 0), ("degraded", exits.UNAVAILABLE)])
async def test_health_is_in_the_exit_code(served: Served, sentinel: Sentinel, word: str, code: int) -> None:
    services = status_pb2.ServiceHealth(postgres="ok", rabbitmq="ok" if code == 0 else "no answer", redis="ok")
    served.service.answers["GetHealth"] = [status_pb2.GetHealthResponse(status=word, services=services)]

    plain = await sentinel("health")
    as_json = await sentinel("health", "--json")

    assert (code, word) == (plain.code, plain.stdout.split()[1].decode())
    assert {
        "status": word,
        "services": {"postgres": "ok", "rabbitmq": services.rabbitmq, "redis": "ok"},
    } == json.loads(as_json.stdout)


async def test_the_version_is_that_of_the_project(sentinel: Sentinel) -> None:
    ended = await sentinel("--version")

    assert ended.stdout == f"sentinel {VERSION}\n".encode()
    assert f'version = "{VERSION}"' in (Path(__file__).parents[3] / "pyproject.toml").read_text()


@pytest.mark.parametrize("text", ["ftp://x", "localhost:0", "localhost:http", "http://", "a/b"])
async def test_an_endpoint_that_makes_no_sense_is_a_usage_error(sentinel: Sentinel, text: str) -> None:
    ended = await sentinel("health", "--endpoint", text)

    assert ended.code == exits.USAGE
    assert text in ended.told
