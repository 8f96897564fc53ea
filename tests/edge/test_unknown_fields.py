"""A misspelt field is refused, not swallowed; nothing that the contract allows is refused with it."""

import json
import time
from typing import Any

import pytest

from deploy.envoy.fields import Contract
from deploy.envoy.render import DESCRIPTORS
from tests.edge.envoys import Answer, TestEdge
from tests.edge.upstream import JOB

HELLO = {"language": "python", "source_code": "print(1)"}
JSON = {"Content-Type": "application/json"}


async def submit(edge: TestEdge, text: str | bytes, path: str = "/api/v1/submissions") -> Answer:
    return await edge.call("POST", path, data=text, headers=JSON)


def fields(answer: Answer) -> list[str]:
    return [violation["field"] for violation in answer.json["details"][1]["field_violations"]]


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("langauge", "language"),
        ("source", None),
        ("sourcecode", "source_code"),
        ("time_limit", "time_limit_ms"),
        ("memoryLimitKB", "memory_limit_kb"),
        ("arg", "args"),
        ("zzzzzzzzzzzz", None),
        ("", None),
    ],
)
async def test_a_misspelt_field_is_named_and_the_nearest_one_offered(
    edge: TestEdge, misspelt: str, meant: str | None
) -> None:
    answer = await edge.post("/api/v1/submissions", {**HELLO, misspelt: 1})

    hint = f'; did you mean "{meant}"?' if meant else ""
    assert (answer.status, answer.json["code"]) == (400, "INVALID_ARGUMENT")
    assert answer.json["error"] == f'unknown field "{misspelt}"{hint}'
    assert answer.json["details"][0]["reason"] == "INVALID_FIELD"
    assert fields(answer) == [misspelt]
    assert edge.scheduler.calls == []


async def test_fields_inside_messages_and_lists_are_looked_at_too(edge: TestEdge) -> None:
    files = [{"name": "a.py", "content": "x"}, {"name": "b.py", "contents": "y"}]
    answer = await edge.post("/api/v1/submissions", {"language": "python", "files": files})
    batch = await edge.post("/api/v1/submissions:batch", {"submissions": [HELLO, {**HELLO, "stdni": ""}]})
    run = await edge.post("/api/v1/submissions:run", {**HELLO, "keep": True})
    cancel = await edge.post(f"/api/v1/submissions/{JOB}:cancel", {"reason": "bored"})

    assert answer.json["error"] == 'unknown field "contents" in files[1]; did you mean "content"?'
    assert fields(answer) == ["files[1].contents"]
    assert fields(batch) == ["submissions[1].stdni"]
    assert fields(run) == ["keep"]
    assert (cancel.status, fields(cancel)) == (400, ["reason"])


async def test_both_spellings_and_every_field_of_the_contract_pass(edge: TestEdge) -> None:
    samples: dict[str, Any] = {
        "language": "python", "sourceCode": "x", "stdin": "", "stdinBase64": "", "args": [], "env": {},
        "timeLimitMs": 5, "cpuTimeLimitMs": 5, "memoryLimitKb": 4096, "outputLimitKb": 1, "processLimit": 1,
        "network": False, "idempotencyKey": "",
    }  # fmt: skip
    known = Contract(DESCRIPTORS).fields_of("sentinel.v1.SubmitRequest")["sentinel.v1.SubmitRequest"]

    camel = await edge.post("/api/v1/submissions", samples)
    snake = await edge.post(
        "/api/v1/submissions",
        {"language": "python", "files": [{"name": "a.py", "content_base64": "eA=="}], "time_limit_ms": 7},
    )

    assert set(samples) <= set(known)
    assert (camel.status, snake.status) == (202, 202)
    assert edge.scheduler.requests[0].time_limit_ms == 5
    assert edge.scheduler.requests[1].files[0].content_base64 == b"x"


@pytest.mark.parametrize(
    "text",
    [
        '{"language":"python","source_code":"x","env":{"langauge":"1","any":"2"}}',
        '{"language":"python","source_code":"{\\"langauge\\": 1}"}',
        '{"language":"python","source_code":"a\\\\","args":["}","\\"","]"]}',
        ' \r\n\t{ "language" : "python" , "source_code" : "x" , "files" : [ ] , "args" : [ "a" ] } \n',
        '{"language":"python","source_code":"x","stdin":null,"files":null,"time_limit_ms":null}',
        '{"\\u006canguage":"python","source\\u005fcode":"x"}',
        '{"language":"python","source_code":"\\ud83d\\ude00 \u2028 ü"}',
        '{"language":"python","source_code":"x","time_limit_ms":1e3,"network":false}',
    ],
)
async def test_what_looks_unknown_but_is_not_passes(edge: TestEdge, text: str) -> None:
    answer = await submit(edge, text.encode())

    assert answer.status == 202, answer.text


@pytest.mark.parametrize(
    "text",
    [
        '{"language":"python","source_code":"x","\\u006cangauge":1}',
        '{"\\\\u006canguage":1,"language":"python","source_code":"x"}',
        '{"langauge":{"deep":[{"er":"}"}]},"language":"python","source_code":"x"}',
        '{"language":"python","source_code":"x","langauge":null}',
        '{"language":"python","source_code":"x","Language":"c"}',
        '{"language":"python","source_code":"x","sentinel.v1":1}',
    ],
)
async def test_no_disguise_gets_an_unknown_field_through(edge: TestEdge, text: str) -> None:
    answer = await submit(edge, text)

    assert answer.status == 400, answer.text
    assert answer.json["error"].startswith("unknown field")


async def test_hostile_keys_make_valid_json_and_no_header(edge: TestEdge) -> None:
    for key in (b'a\\"b', b"a\\nb\\r\\nX-Evil: 1", b"\xff\xfe", "ü€😀".encode(), b"k" * 100_000, b"\\u0000"):
        answer = await submit(edge, b'{"language":"python","source_code":"x","' + key + b'":1}')
        assert (answer.status, answer.json["code"]) == (400, "INVALID_ARGUMENT"), key[:20]
        assert answer.header("x-evil") is None
        assert len(answer.text) < 2000


async def test_many_unknown_fields_are_told_ten_at_a_time(edge: TestEdge) -> None:
    answer = await edge.post("/api/v1/submissions", {f"field_{n}": n for n in range(10_000)})

    assert (answer.status, len(fields(answer))) == (400, 10)


@pytest.mark.parametrize("depth", [50, 100_000])
async def test_deep_nesting_costs_neither_stack_nor_time(edge: TestEdge, depth: int) -> None:
    begun = time.monotonic()
    for value in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        for field in ("stdin", "files"):
            answer = await submit(edge, f'{{"language":"python","source_code":"x","{field}":{value}}}')
            assert answer.status == 400, (field, value[:10])
    assert time.monotonic() - begun < 5
    assert (await edge.post("/api/v1/submissions", HELLO)).status == 202


async def test_a_list_in_a_list_of_messages_is_refused(edge: TestEdge) -> None:
    """The transcoder would flatten it, and take what is inside without a look at its fields."""
    answer = await edge.post("/api/v1/submissions", {"language": "python", "files": [[{"name": "a", "contents": 1}]]})

    assert (answer.status, fields(answer)) == (400, ["files[0]"])


async def test_a_source_full_of_escapes_costs_at_most_a_few_milliseconds_more(edge: TestEdge) -> None:
    """Against a body of the same size whose one string has none; mean over 200 calls each way."""
    escaped = json.dumps({"language": "python", "source_code": 'print("\n")' * 5000})
    plain = json.dumps({"language": "python", "source_code": "y" * (len(escaped) - 50)})

    async def mean(text: str) -> float:
        begun = time.monotonic()
        for _ in range(200):
            assert (await submit(edge, text)).status in {202, 400}
        return (time.monotonic() - begun) / 200

    await mean(plain)
    assert await mean(escaped) - await mean(plain) < 0.004
