"""Steps with their times, so that whoever types `make up` sees what is going on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape


class Progress:
    """Prints one line per step: turning while it goes on, with its time once it is done."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step. An exception marks it failed and passes on."""
        begun = time.monotonic()
        try:
            with self.console.status(escape(title)):
                yield
        except BaseException:
            self._line("[red]✗[/red]", title, begun)
            raise
        self._line("[green]✓[/green]", title, begun)

    def _line(self, mark: str, title: str, begun: float) -> None:
        self.console.print(f" {mark} {escape(title):<58} [dim]{time.monotonic() - begun:5.1f} s[/dim]", highlight=False)

    def note(self, text: str) -> None:
        """A line between steps."""
        self.console.print(f"   [yellow]{escape(text)}[/yellow]", highlight=False)
