"""`python -m audit`: a mesh of its own, every attack of the catalogue, and whether all of them held."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from audit import campaign
from audit.cases import CATALOGUE
from audit.local import local_target
from audit.report import merged
from audit.stage import Record
from audit.target import Target
from deploy.local.mesh import Mesh
from deploy.local.supervisor import Supervisor
from tests.mesh import running_mesh

TWO_EXECUTORS = {"EXECUTORS": "2", "POOL_SIZE": "4"}
"""Slots for one attack and four neighbours, so that none waits for another."""
ONE_EXECUTOR = {"EXECUTORS": "1", "POOL_SIZE": "8"}
"""For measuring neighbours: executors of one machine share its CPU by executor first, and by jail only within."""


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 0 only where everything held and was proved to."""
    options = _parse(arguments)
    console = Console(stderr=False, width=None if sys.stdout.isatty() else 150)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.attach:
        mesh = Mesh.from_environment()
        return _audit(local_target(mesh, Supervisor(mesh).pids), options, console)
    with running_mesh(**(ONE_EXECUTOR if options.neighbours else TWO_EXECUTORS)) as running:
        return _audit(local_target(running.mesh, running.pids), options, console)


def _audit(target: Target, options: argparse.Namespace, console: Console) -> int:
    cases = campaign.chosen(CATALOGUE, options.only)
    if not cases:
        console.print(f"--only {options.only} matches no case", style="red", markup=False)
        return 2

    def told(record: Record) -> None:
        if record.problems:
            console.print(f"[red]✗[/red] {record.case_id}", highlight=False)

    runs = []
    for _ in range(options.repeat):
        with console.status("Attacking"):
            runs.append(
                asyncio.run(
                    campaign.run(
                        target,
                        cases,
                        whole=not options.only,
                        neighbours=options.neighbours,
                        width=options.width,
                        on_record=told,
                    )
                )
            )
    report = merged(runs)
    report.show(console)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(report.as_json())
    console.print(f"report: {options.out}", markup=False)
    return 1 if report.verdict() else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m audit", description=__doc__)
    parser.add_argument("--only", default="", help="cases, as S01,F*,P01-perl (default: the whole catalogue)")
    parser.add_argument("--repeat", type=int, default=1, help="times the whole of it (default: 1)")
    parser.add_argument("--neighbours", type=int, default=0, help="honest jobs beside every attack (default: none)")
    parser.add_argument(
        "--width", type=int, default=campaign.WIDTH, help="attacks beside each other (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path(".sentinel/security-audit.json"), help="default: %(default)s")
    parser.add_argument(
        "--attach",
        action="store_true",
        help="attack the mesh of SENTINEL_STATE_DIR, idle but for this, instead of a fresh one",
    )
    options = parser.parse_args(arguments)
    if options.repeat < 1 or options.neighbours < 0 or options.width < 1:
        parser.error("numbers must be positive")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
