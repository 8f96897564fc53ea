"""The `sentinel` command: joins the commands, decides nothing."""

from typing import Annotated

import typer

from cli import VERSION
from cli.commands import run, service, submissions
from cli.options import ProgramCommand

app = typer.Typer(
    name="sentinel",
    help="Run untrusted programs in sandboxes and see what they do while they do it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the value
    if wanted:
        print(f"sentinel {VERSION}")
        raise typer.Exit


@app.callback()
def sentinel(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run untrusted programs in sandboxes and see what they do while they do it."""


app.command("run", cls=ProgramCommand)(run.run)
app.command("submit", cls=ProgramCommand)(submissions.submit)
app.command("get")(submissions.get)
app.command("watch")(run.watch)
app.command("cancel")(submissions.cancel)
app.command("list")(submissions.list_)
app.command("languages")(service.languages)
app.command("health")(service.health)


def main() -> None:
    """Runs the command line."""
    app()
