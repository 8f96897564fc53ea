"""`python -m deploy.local`: the commands behind the Makefile."""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from deploy.local import edge, first_program, foreground, infrastructure, jails, ready, services
from deploy.local.down import delete_data, take_down
from deploy.local.mesh import Mesh
from deploy.local.progress import Progress
from deploy.local.supervisor import Supervisor
from deploy.local.up import Bringup, Refused, alone, migrate

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The Sentinel mesh on this machine, loopback only.")
console = Console()


@contextmanager
def _mesh() -> Iterator[Mesh]:
    """The mesh of this environment; what is expected to go wrong ends as one sentence and exit status 1."""
    try:
        yield Mesh.from_environment()
    except (Refused, ready.NotReady, first_program.FirstProgramFailed, ValueError, FileNotFoundError) as error:
        console.print(f"\n[red]{escape(str(error))}[/red]", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


@app.command()
def up() -> None:
    """Start everything, run a first program through it, and say where it is."""
    with _mesh() as mesh:
        progress = Progress(console)
        console.print("\n[bold]Sentinel[/bold] · bringing the mesh up\n")
        with alone(mesh):
            bringup = Bringup(mesh, progress)
            bringup.infrastructure()
            bringup.services()
        console.print("\n[bold]A first program[/bold], through Envoy\n")
        first_program.run(mesh, console)
        _say_where(mesh)


@app.command()
def up_infra() -> None:
    """Start PostgreSQL, RabbitMQ and Redis only."""
    with _mesh() as mesh, alone(mesh):
        Bringup(mesh, Progress(console)).infrastructure()
        for name, value in services.credentials(mesh).items():
            console.print(f"{name}={value}", highlight=False, soft_wrap=True)


@app.command()
def down() -> None:
    """Stop everything in order; data stays."""
    with _mesh() as mesh, alone(mesh):
        take_down(mesh, Progress(console))
        console.print("Nothing of this mesh runs any more; its data stays (make down-clean deletes it).")


@app.command()
def down_clean() -> None:
    """Stop everything and delete its data."""
    with _mesh() as mesh:
        with alone(mesh):
            take_down(mesh, Progress(console))
        delete_data(mesh)
        console.print("Stopped, and all data deleted.")


@app.command()
def health() -> None:
    """Ask the edge how the service is; exit status 1 unless it is well."""
    with _mesh() as mesh:
        request = f"{mesh.url}/api/v1/health"
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310  always http on loopback
                status, body = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read()
        except OSError as error:
            raise Refused(f"nothing answers at {mesh.url} ({error}); is it up? Try: make up") from None
        try:
            answer = json.loads(body)
        except ValueError:
            raise Refused(f"{request} gave {status} and no JSON: {body[:200]!r}") from None
        console.print_json(data=answer)
        if status != 200 or answer.get("status") != "ok":
            raise typer.Exit(1)


@app.command()
def logs(names: Annotated[list[str] | None, typer.Argument(help="Such as scheduler-0 or scheduler")] = None) -> None:
    """Follow the logs, of all processes or of those named."""
    with _mesh() as mesh:
        wanted = sorted(mesh.logs.glob("*.log"))
        if names:
            wanted = [path for path in wanted if path.stem in names or path.stem.rpartition("-")[0] in names]
        if not wanted:
            raise Refused(f"no such log in {mesh.logs}")
        os.execvp("tail", ["tail", "-n", "20", "-F", *map(str, wanted)])  # noqa: S606


@app.command()
def status() -> None:
    """Which processes run."""
    with _mesh() as mesh:
        supervisor = Supervisor(mesh)
        pids = supervisor.pids()
        states = supervisor.states()
        for name, state in states.items():
            console.print(f"{name:<16} {state:<10} {pids.get(name, '')}", highlight=False)
        if not states:
            raise Refused("this mesh is not up")


@app.command("migrate")
def migrate_up() -> None:
    """Bring the database schema up to date."""
    with _mesh() as mesh, Progress(console).step("Database schema"):
        migrate(mesh, "up")


@app.command()
def migrate_down() -> None:
    """Take the last migration back."""
    with _mesh() as mesh, Progress(console).step("Last migration taken back"):
        migrate(mesh, "down")


@app.command()
def dev_api() -> None:
    """Run one scheduler, one gateway and Envoy in the foreground."""
    with _mesh() as mesh:
        _need_infrastructure(mesh)
        _need_stopped(mesh, "scheduler", "gateway", "envoy")
        migrate(mesh, "up")
        edge.prepare(mesh)
        programs = [services.schedulers(mesh)[0], services.gateways(mesh)[0], edge.program(mesh)]
        console.print(
            f"Edge at {mesh.url}; executors dial {mesh.ports.scheduler_sessions(0).address}; Ctrl-C ends all."
        )
        raise typer.Exit(foreground.run(programs))


@app.command()
def dev_worker() -> None:
    """Run one executor in the foreground."""
    with _mesh() as mesh:
        _need_stopped(mesh, "executor")
        jails.prepare(mesh)
        raise typer.Exit(foreground.run([services.executors(mesh)[0]]))


def _need_infrastructure(mesh: Mesh) -> None:
    for _, _, check in infrastructure.checks(mesh):
        if reason := check():
            raise Refused(f"{reason}; run: make up-infra")


def _need_stopped(mesh: Mesh, *roles: str) -> None:
    if running := [name for name in Supervisor(mesh).pids() if name.rpartition("-")[0] in roles or name in roles]:
        raise Refused(f"already running in the background: {', '.join(running)}; stop them with: make down")


def _say_where(mesh: Mesh) -> None:
    url = mesh.url
    management = f"http://localhost:{mesh.ports.rabbitmq_management.number}"
    console.print(f"""
[bold green]Sentinel is up.[/bold green]

   page, REST, gRPC     {url}
   API description      {url}/docs
   RabbitMQ             {management}  (sentinel / sentinel_secret)
   logs, health, stop   make logs · make health · make down
""", highlight=False)  # fmt: skip
    console.print("Try it:\n", highlight=False)
    sys.stdout.flush()
    # Not through rich: a wrapped line would not survive being pasted.
    sys.stdout.write(
        f"curl -s '{url}/api/v1/submissions:run' -H 'Content-Type: application/json' "
        """-d '{"language":"python","source_code":"print(6 * 7)"}'\n\n"""
    )


if __name__ == "__main__":
    app()
