"""Showing a submission while it runs: the program's bytes where they belong, everything else on standard error."""

import asyncio
import os
import select
import sys
from typing import Protocol

from rich.console import Console
from rich.text import Text
from sentinel.v1 import event_pb2, evidence_pb2, submission_pb2

from cli import verdict
from cli.jsonout import document, frame
from cli.transcript import Piece, Transcript, Void

_STDOUT, _STDERR = 1, 2


class Show(Protocol):
    """Where events go."""

    async def event(self, event: event_pb2.Event) -> None:
        """Shows one event; waits while the reader is slow. Raises BrokenPipeError when the reader has gone."""

    def notice(self, text: str) -> None:
        """Tells a person something about the line, not about the program."""


class LiveShow:
    """The program's output as its exact bytes, and a verdict line for people."""

    def __init__(self, transcript: Transcript, *, with_verdict: bool) -> None:
        self._transcript = transcript
        self._with_verdict = with_verdict
        self._terminal = os.isatty(_STDERR)
        self._at_line_start = True

    async def event(self, event: event_pb2.Event) -> None:
        """Shows what is new in this event."""
        for news in self._transcript.feed(event):
            if isinstance(news, Piece):
                await self._piece(news)
            else:
                self._void(news)
        if event.HasField("result") and self._with_verdict:
            self._verdict(event.result.submission)

    def notice(self, text: str) -> None:
        """Shown to people only: a file gets the program's bytes and nothing between them."""
        if self._terminal:
            self._say(text)

    async def _piece(self, piece: Piece) -> None:
        descriptor = _STDOUT if piece.stream == evidence_pb2.STREAM_STDOUT else _STDERR
        self._at_line_start = piece.data.endswith(b"\n")
        # In a thread, so that a stuck reader does not keep Ctrl-C from being heard.
        await asyncio.to_thread(write, descriptor, piece.data)

    def _void(self, void: Void) -> None:
        self._say(
            f"attempt {void.attempt} was lost and what it printed is void; "
            f"attempt {void.next_attempt} starts from the beginning"
        )

    def _verdict(self, submission: submission_pb2.Submission) -> None:
        self._fresh_line()
        line = Text.assemble((verdict.status_word(submission), f"bold {verdict.style(submission.status)}"))
        if facts := verdict.facts(submission):
            line.append(f" · {facts}", style="dim")
        Console(stderr=True, soft_wrap=True, highlight=False).print(line)

    def _say(self, text: str) -> None:
        self._fresh_line()
        print(f"sentinel: {text}", file=sys.stderr, flush=True)

    def _fresh_line(self) -> None:
        if not self._at_line_start:
            print(file=sys.stderr, flush=True)
            self._at_line_start = True


class JsonShow:
    """Every event as one line of JSON."""

    async def event(self, event: event_pb2.Event) -> None:
        """Writes the event."""
        await asyncio.to_thread(write, _STDOUT, document(frame(event)).encode() + b"\n")

    def notice(self, text: str) -> None:
        """Says nothing: the events tell."""


def write(descriptor: int, data: bytes) -> None:
    """All of `data`, even where somebody made the descriptor non-blocking."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
