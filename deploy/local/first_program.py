"""The first program: submitted as any client would, its output shown while it appears."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape

from deploy.local.mesh import Mesh

SOURCE = """\
import time

for planet in ("Mercury", "Venus", "Earth", "Mars"):
    print("Hello from the sandbox,", planet, flush=True)
    time.sleep(0.25)
"""


_SEQUENCES_PER_ATTEMPT = 1_000_000


class FirstProgramFailed(Exception):
    """The mesh answers, but a program did not come back as it should."""


def run(mesh: Mesh, console: Console) -> None:
    """Submits, follows the event stream, prints. Raises FirstProgramFailed unless it ends with SUCCESS."""
    connection = _connect(mesh)
    body = json.dumps({"language": "python", "source_code": SOURCE})
    connection.request("POST", "/api/v1/submissions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    if response.status != 202:
        raise FirstProgramFailed(f"submitting gave {response.status}: {answer.get('error', answer)}")
    console.print(f"   POST /api/v1/submissions → 202 [dim]{answer['job_id']}[/dim]", highlight=False)
    line, attempt = "", 1
    for event in _events(mesh, answer["job_id"]):
        if event.get("sequence", 0) >= (attempt + 1) * _SEQUENCES_PER_ATTEMPT:
            attempt, line = event["sequence"] // _SEQUENCES_PER_ATTEMPT, ""
            console.print(f"   [yellow]attempt {attempt} begins: the one before was lost[/yellow]", highlight=False)
        match event.get("type"):
            case "output":
                # Bytes come as the program wrote them, which need not be line by line.
                *whole, line = (line + event.get("text", "")).split("\n")
                for text in whole:
                    console.print(f"   [cyan]│[/cyan] {escape(text)}", highlight=False)
            case "result":
                _judge(event["submission"], console)
                return
    raise FirstProgramFailed("the event stream ended without a result")


def _judge(submission: dict[str, Any], console: Console) -> None:
    status = submission["status"]
    if status != "SUCCESS":
        why = submission.get("failure") or submission.get("evidence") or submission.get("stderr")
        raise FirstProgramFailed(f"it ended as {status}: {why}")
    console.print(
        f"   [green]{status}[/green] in {submission.get('time_used_ms', '?')} ms, "
        f"{submission.get('memory_used_kb', '?')} KiB at most",
        highlight=False,
    )


def _events(mesh: Mesh, job_id: str) -> Iterator[dict[str, Any]]:
    """The `data:` of each server-sent event, parsed, the moment it arrives."""
    connection = _connect(mesh)
    connection.request("GET", f"/api/v1/submissions/{job_id}/events", headers={"Accept": "text/event-stream"})
    response = connection.getresponse()
    if response.status != 200:
        raise FirstProgramFailed(f"the event stream gave {response.status}: {response.read(500)!r}")
    data: list[str] = []
    try:
        while line := response.readline():
            text = line.decode().rstrip("\r\n")
            if text.startswith("data:"):
                data.append(text[5:].removeprefix(" "))
            elif not text and data:
                yield json.loads("\n".join(data))
                data.clear()
    finally:
        connection.close()


def _connect(mesh: Mesh) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", mesh.ports.edge.number, timeout=30)
