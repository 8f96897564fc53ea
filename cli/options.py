"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from cli.connection import DEFAULT_ENDPOINT

_PROGRAM_ARGS = "cli.program_args"


class ProgramCommand(TyperCommand):
    """A command whose words after `--` belong to the program."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Puts them aside before the options are read."""
        if "--" in args:
            split = args.index("--")
            ctx.meta[_PROGRAM_ARGS] = args[split + 1 :]
            args = args[:split]
        return super().parse_args(ctx, args)


def program_args(ctx: typer.Context) -> list[str]:
    """The words after `--`."""
    args: list[str] = ctx.meta.get(_PROGRAM_ARGS, [])
    return args


Endpoint = Annotated[
    str,
    typer.Option("--endpoint", envvar="SENTINEL_ENDPOINT", metavar="HOST:PORT", help="Where the service listens."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON as REST does, one document or one event per line.")]
JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="As `submit` printed it.", show_default=False)]
Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", help="The program; the first file is started. `-` is standard input."),
]
Language = Annotated[
    str | None,
    typer.Option("--language", "-l", metavar="NAME", help="Language; else the file's extension tells."),
]
Stdin = Annotated[
    Path | None,
    typer.Option("--stdin", metavar="FILE", help="Standard input of the program; else what is piped in here."),
]
Env = Annotated[list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE", help="Environment of the program.")]
CompileArgs = Annotated[
    list[str] | None,
    typer.Option("--compile-arg", metavar="OPTION", help="Option for the compiler, such as -O0."),
]
TimeLimit = Annotated[
    int | None,
    typer.Option("--time-limit-ms", metavar="MS", help="Wall limit, 1 to 30000; service default 5000."),
]
CpuTimeLimit = Annotated[
    int | None,
    typer.Option("--cpu-time-limit-ms", metavar="MS", help="CPU limit, 1 to 30000; default the wall limit."),
]
MemoryLimit = Annotated[
    int | None,
    typer.Option("--memory-limit-kb", metavar="KIB", help="Memory limit, 4096 to 1048576; service default 262144."),
]
OutputLimit = Annotated[
    int | None,
    typer.Option("--output-limit-kb", metavar="KIB", help="Limit per stream, 1 to 8192; service default 64."),
]
ProcessLimit = Annotated[
    int | None,
    typer.Option("--process-limit", metavar="N", help="Processes and threads, 1 to 256; service default 64."),
]
Network = Annotated[bool, typer.Option("--network", help="Ask for a network; refused unless the deployment allows.")]
IdempotencyKey = Annotated[
    str | None,
    typer.Option("--idempotency-key", metavar="KEY", help="The same key gives the same job again, for 24 hours."),
]

__all__ = ["DEFAULT_ENDPOINT", "ProgramCommand", "program_args"]
