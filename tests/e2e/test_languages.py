"""Every language that this machine has, by every word for it, through Envoy and the whole mesh."""

from typing import Any

import aiohttp
import pytest

from tests.languages.case import HERE, cases
from tests.mesh import RunningMesh


@pytest.fixture(scope="module")
async def http(mesh: RunningMesh) -> Any:
    async with aiohttp.ClientSession(mesh.url) as session:
        yield session


@pytest.fixture(scope="module")
async def languages(http: aiohttp.ClientSession) -> dict[str, dict[str, Any]]:
    async with http.get("/api/v1/languages") as answer:
        assert answer.status == 200
        return {language["name"]: language for language in (await answer.json())["languages"]}


async def test_every_language_is_offered_with_the_version_the_machine_has(languages: dict[str, dict[str, Any]]) -> None:
    assert set(languages) == {path.parent.name for path in HERE.glob("*/cases.toml")}
    for language in languages.values():
        assert any(digit.isdigit() for digit in language["version"] + language.get("compiler", "")), language


async def test_every_language_says_hello_by_each_of_its_names(
    http: aiohttp.ClientSession, languages: dict[str, dict[str, Any]]
) -> None:
    hello = {case.language: case.request({}).source_code for case in cases() if case.name == "hello"}
    words = [(word, name) for name in languages for word in (name.upper(), *languages[name]["aliases"])]
    jobs = await _batch(http, [{"language": word, "source_code": hello[name]} for word, name in words])
    for (word, name), job in zip(words, jobs, strict=True):
        ended = await _end(http, job)
        assert (ended["status"], ended["stdout"]) == ("SUCCESS", "Hello, world!\n"), (word, ended)
        assert ended["language"] == name


async def test_the_program_to_start_from_runs_as_it_is(
    http: aiohttp.ClientSession, languages: dict[str, dict[str, Any]]
) -> None:
    sent = [{"language": name, "source_code": languages[name]["template"], "stdin": "Ada\n"} for name in languages]
    for job in await _batch(http, sent):
        ended = await _end(http, job)
        assert ended["status"] == "SUCCESS", ended
        assert "Hello, " in ended["stdout"]


async def test_a_compiler_option_reaches_the_compiler_and_is_told_again(http: aiohttp.ClientSession) -> None:
    source = '#include <stdio.h>\nint main(void) {\n#ifdef DEBUG\n  puts("debug");\n#endif\n}\n'
    (job,) = await _batch(http, [{"language": "c", "source_code": source, "compile_args": ["-DDEBUG", "-O0"]}])
    ended = await _end(http, job)
    assert (ended["stdout"], ended["compile_args"]) == ("debug\n", ["-DDEBUG", "-O0"])


async def _batch(http: aiohttp.ClientSession, submissions: list[dict[str, Any]]) -> list[str]:
    async with http.post("/api/v1/submissions:batch", json={"submissions": submissions}) as answer:
        items = (await answer.json())["items"]
    assert not [item for item in items if not item.get("job_id")], items
    return [item["job_id"] for item in items]


async def _end(http: aiohttp.ClientSession, job: str) -> Any:
    async with http.get(f"/api/v1/submissions/{job}?wait_ms=60000") as answer:
        assert answer.status == 200
        return await answer.json()
