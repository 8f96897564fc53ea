"""The landing page and the list of calls: plain HTML, no script, nothing fetched from anywhere else."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

_FOLDER = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class Page:
    """What a browser gets."""

    body: bytes
    headers: dict[str, str]


def landing() -> Page:
    """What this is, and a first call to paste."""
    return _page("landing.html", {})


def docs(document: Mapping[str, Any]) -> Page:
    """Every call of the OpenAPI document with its parameters and answers."""
    calls = "\n".join(_call(path, method, call) for path, method, call in _calls(document))
    info = document["info"]
    words = {"title": info["title"], "version": info["version"], "description": info["description"]}
    return _page("docs.html", {**{name: escape(text) for name, text in words.items()}, "calls": calls})


def _page(template: str, values: Mapping[str, str]) -> Page:
    style = (_FOLDER / "page.css").read_text()
    body = Template((_FOLDER / template).read_text()).substitute(values, style=style)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    nothing = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    policy = f"{nothing}; style-src 'sha256-{digest}'"
    return Page(body.encode(), {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy})


def _calls(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, item in document["paths"].items():
        for method, call in item.items():
            yield path, method, call


def _call(path: str, method: str, call: Mapping[str, Any]) -> str:
    parameters = "".join(
        f"<li><code>{escape(p['name'])}</code> <i>{escape(p['in'])}</i> {escape(p.get('description', ''))}</li>"
        for p in call.get("parameters", ())
    )
    body = _body_reference(call)
    answers = " ".join(f"<code>{escape(status)}</code>" for status in call["responses"])
    return (
        f"<section><h2><b>{escape(method.upper())}</b> <code>{escape(path)}</code></h2>"
        f"<p>{escape(call['summary'])}</p>"
        + (f"<ul>{parameters}</ul>" if parameters else "")
        + (f"<p>Body: <code>{escape(body)}</code></p>" if body else "")
        + f"<p>Answers: {answers}</p></section>"
    )


def _body_reference(call: Mapping[str, Any]) -> str:
    content: Mapping[str, Any] = call.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).rpartition("/")[2]
