"""The public face, call by call and error by error, through the real Envoy into the real mesh."""

import io
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from tests.mesh import RunningMesh

JSON = {"Content-Type": "application/json"}
HELLO = {"language": "python", "source_code": "print(42)"}
SIXFOLD = "print(int(input()) * 6)"
ENTRY = "import os, sys, lib.part\nprint(lib.part.word(), sys.argv[1:], os.environ['X'])"
NOBODY = "01a208d7-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
async def http(mesh: RunningMesh) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(mesh.url) as session:
        yield session


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """A call that must be refused, and how."""

    why: str
    method: str = "POST"
    path: str = "/api/v1/submissions"
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=lambda: JSON)
    status: int = 400
    code: str = "INVALID_ARGUMENT"
    says: str = ""


def _with(**fields: Any) -> dict[str, Any]:
    return {**HELLO, **fields}


ERRORS = [
    Wrong(why="no language", body={"source_code": "x"}, says="language"),
    Wrong(why="no source", body={"language": "python"}, says="source_code or files"),
    Wrong(why="source and files", body=_with(files=[{"name": "a.py", "content": "x"}]), says="not both"),
    Wrong(why="unknown language", body=_with(language="cobol"), says="this deployment runs "),
    Wrong(why="a misspelt field", body={"langauge": "python"}, says="language"),
    Wrong(why="time limit 0", body=_with(time_limit_ms=0), says="time_limit_ms"),
    Wrong(why="time limit above 30000", body=_with(time_limit_ms=30_001), says="30000"),
    Wrong(why="CPU limit above 30000", body=_with(cpu_time_limit_ms=30_001), says="cpu_time_limit_ms"),
    Wrong(why="memory below 4096", body=_with(memory_limit_kb=4095), says="4096"),
    Wrong(why="memory above 1048576", body=_with(memory_limit_kb=1_048_577), says="1048576"),
    Wrong(why="output limit 0", body=_with(output_limit_kb=0), says="output_limit_kb"),
    Wrong(why="output limit above 8192", body=_with(output_limit_kb=8193), says="8192"),
    Wrong(why="processes above 256", body=_with(process_limit=257), says="256"),
    Wrong(why="a network", body=_with(network=True), says="network"),
    Wrong(why="source above 64 KiB", body=_with(source_code="x" * 65_537), says="source_code"),
    Wrong(why="a file that climbs", body={"language": "c", "files": [{"name": "../x.c", "content": "x"}]}, says="name"),
    Wrong(why="an absolute file", body={"language": "c", "files": [{"name": "/x.c", "content": "x"}]}, says="name"),
    Wrong(why="a file like an option", body={"language": "c", "files": [{"name": "-o", "content": "x"}]}, says="name"),
    Wrong(
        why="the same file twice",
        body={"language": "c", "files": [{"name": "a.c", "content": "x"}, {"name": "a.c", "content": "y"}]},
        says="different",
    ),
    Wrong(
        why="an option of another compiler", body=_with(compile_args=["-O2"]), says="Python takes no compiler option"
    ),
    Wrong(
        why="an option that writes files",
        body={"language": "c", "source_code": "int main;", "compile_args": ["-O2", "-o/work/x"]},
        says="-o/work/x",
    ),
    Wrong(why="NUL in an argument", body=_with(args=["a\0b"]), says="NUL"),
    Wrong(why="a reserved variable", body=_with(env={"LD_PRELOAD": "x"}), says="LD_"),
    Wrong(why="a number that is none", body=_with(time_limit_ms="soon"), says="time_limit_ms"),
    Wrong(why="broken JSON", body="{", says=""),
    Wrong(why="an id that is none", method="GET", path="/api/v1/submissions/42", says="job_id"),
    Wrong(why="an id that is none, cancelled", path="/api/v1/submissions/42:cancel", says="job_id"),
    Wrong(why="a page size of 0", method="GET", path="/api/v1/submissions?page_size=0", says="page_size"),
    Wrong(why="a broken page token", method="GET", path="/api/v1/submissions?page_token=x", says="page_token"),
    Wrong(why="an unknown filter", method="GET", path="/api/v1/submissions?colour=red", says="colour"),
    Wrong(
        why="an unknown id",
        method="GET",
        path=f"/api/v1/submissions/{NOBODY}",
        status=404,
        code="NOT_FOUND",
        says=NOBODY,
    ),
    Wrong(why="an unknown id, cancelled", path=f"/api/v1/submissions/{NOBODY}:cancel", status=404, code="NOT_FOUND"),
    Wrong(
        why="events of an unknown id",
        method="GET",
        path=f"/api/v1/submissions/{NOBODY}/events",
        status=404,
        code="NOT_FOUND",
    ),
    Wrong(why="an unknown path", method="GET", path="/api/v1/nothing", status=404, code="NOT_FOUND"),
    Wrong(why="another method", method="DELETE", status=405, code="UNIMPLEMENTED"),
    Wrong(why="a body above 1 MiB", body=_with(stdin="x" * 1_100_000), status=413, code="OUT_OF_RANGE"),
    Wrong(why="another content type", headers={"Content-Type": "text/plain"}, status=415),
]


@pytest.mark.parametrize("wrong", ERRORS, ids=[wrong.why for wrong in ERRORS])
async def test_refused_with_a_sentence_a_code_and_details(http: aiohttp.ClientSession, wrong: Wrong) -> None:
    text = wrong.body if isinstance(wrong.body, str) else json.dumps(wrong.body)
    body = None if wrong.method == "GET" else io.BytesIO(text.encode())
    async with http.request(wrong.method, wrong.path, data=body, headers=wrong.headers) as answer:
        told = await answer.json()

    assert answer.status == wrong.status, told
    assert set(told) == {"error", "code", "details"}
    assert isinstance(told["details"], list)
    assert wrong.says in told["error"]
    if wrong.status in {400, 404}:
        assert told["code"] == wrong.code
    assert "grpc-status" not in answer.headers
    assert answer.headers["X-Request-ID"]


async def test_a_wrong_field_is_named_in_the_details(http: aiohttp.ClientSession) -> None:
    async with http.post("/api/v1/submissions", json=_with(time_limit_ms=0, process_limit=0)) as answer:
        details = (await answer.json())["details"]
    (bad,) = [d for d in details if d["@type"].endswith("BadRequest")]
    assert [v["field"] for v in bad["field_violations"]] == ["time_limit_ms", "process_limit"]
    (info,) = [d for d in details if d["@type"].endswith("ErrorInfo")]
    assert (info["reason"], info["domain"]) == ("INVALID_FIELD", "sentinel")


async def test_submit_then_get_then_list_then_run(http: aiohttp.ClientSession) -> None:
    async with http.post("/api/v1/submissions", json=HELLO) as answer:
        assert answer.status == 202
        receipt = await answer.json()
    assert set(receipt) == {"job_id", "status"}
    assert receipt["status"] == "QUEUED"
    assert uuid.UUID(receipt["job_id"]).version == 7

    async with http.get(f"/api/v1/submissions/{receipt['job_id']}?wait_ms=20000") as answer:
        assert answer.status == 200
        finished = await answer.json()
    assert (finished["status"], finished["stdout"], finished["exit_code"]) == ("SUCCESS", "42\n", 0)
    assert isinstance(finished["time_used_ms"], int)
    assert finished["evidence"]["wall_time_ms"] > 0

    async with http.get("/api/v1/submissions?page_size=100&status=SUCCESS&language=python") as answer:
        listed = await answer.json()
    assert receipt["job_id"] in {s["job_id"] for s in listed["submissions"]}

    async with http.post(
        "/api/v1/submissions:run", json=_with(stdin="7", source_code="print(int(input()) * 6)")
    ) as answer:
        assert answer.status == 200
        assert (await answer.json())["stdout"] == "42\n"


async def test_a_batch_has_one_outcome_per_item(http: aiohttp.ClientSession) -> None:
    async with http.post("/api/v1/submissions:batch", json={"submissions": [HELLO, {"language": "python"}]}) as answer:
        assert answer.status == 202
        good, bad = (await answer.json())["items"]
    assert (good["status"], bool(good["job_id"])) == ("QUEUED", True)
    assert "source_code or files" in bad["error"]["message"]


async def test_the_same_key_twice_is_one_submission_and_another_body_is_409(http: aiohttp.ClientSession) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    ids = set()
    for _ in range(2):
        async with http.post("/api/v1/submissions", json=HELLO, headers=headers) as answer:
            assert answer.status == 202
            ids.add((await answer.json())["job_id"])
    assert len(ids) == 1
    async with http.post("/api/v1/submissions", json=_with(args=["x"]), headers=headers) as answer:
        assert answer.status == 409
        assert (await answer.json())["code"] == "ALREADY_EXISTS"


async def test_bytes_that_are_no_text_are_also_given_exactly(http: aiohttp.ClientSession) -> None:
    source = "import sys; sys.stdout.buffer.write(b'a\\xffb'); sys.stderr.write('text')"
    async with http.post("/api/v1/submissions:run", json=_with(source_code=source)) as answer:
        told = await answer.json()
    assert (told["stdout"], told["stdout_base64"]) == ("a\ufffdb", "Yf9i")
    assert told["stderr"] == "text"
    assert "stderr_base64" not in told


async def test_several_files_arguments_environment_and_input_reach_the_program(http: aiohttp.ClientSession) -> None:
    body = {
        "language": "python",
        "files": [
            {
                "name": "main.py",
                "content": "import os, sys, lib.part\nprint(lib.part.word(), sys.argv[1:], os.environ['X'])",
            },
            {"name": "lib/part.py", "content": "def word():\n    return input()"},
        ],
        "args": ["a b", "--c"],
        "env": {"X": "ü"},
        "stdin": "hello\n",
    }
    async with http.post("/api/v1/submissions:run", json=body) as answer:
        told = await answer.json()
    assert told["stdout"] == "hello ['a b', '--c'] ü\n", told


async def test_every_documented_call_is_there_and_answers_as_documented(http: aiohttp.ClientSession) -> None:
    """Each path of the OpenAPI document, with each of its methods: none is 404 for want of a route, 405 or 500."""
    async with http.get("/api/v1/openapi.json") as answer:
        document = await answer.json()
    async with http.post("/api/v1/submissions", json=HELLO) as answer:
        job = (await answer.json())["job_id"]
    tried = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method not in {"get", "post"}:
                continue
            tried += 1
            url = path.replace("{job_id}", job)
            body = json.dumps(_body_for(path)) if method == "post" else None
            async with http.request(method.upper(), url, data=body, headers=JSON if body else {}) as answer:
                if not url.endswith("/stream"):
                    assert str(answer.status) in operation["responses"], (method, path, answer.status)
                    assert answer.status < 400, (method, path, await answer.text())
                else:
                    assert answer.status in {400, 426}, (path, answer.status)
    assert tried >= 10


def _body_for(path: str) -> dict[str, Any]:
    if path.endswith(":batch"):
        return {"submissions": [HELLO]}
    return {} if path.endswith(":cancel") else HELLO


async def test_health_is_exactly_the_documented_answer(http: aiohttp.ClientSession) -> None:
    async with http.get("/api/v1/health") as answer:
        assert answer.status == 200
        text = await answer.text()
    assert text == '{"status":"ok","services":{"postgres":"ok","rabbitmq":"ok","redis":"ok"}}'


async def test_languages_tell_detected_versions_and_defaults(http: aiohttp.ClientSession) -> None:
    async with http.get("/api/v1/languages") as answer:
        languages = {language["name"]: language for language in (await answer.json())["languages"]}
    assert {"c", "cpp", "python"} <= set(languages)
    python = languages["python"]
    assert python["version"].startswith("3.")
    assert python["file_extension"] == ".py"
    assert python["default_limits"]["time_limit_ms"] == 5000
    assert "py" in python["aliases"]
