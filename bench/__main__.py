"""`python -m bench`: brings a mesh up, measures it, takes it down, writes what it found."""

import argparse
import asyncio
import datetime as dt
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from bench import burst, first_byte, hold, latency, machine, report, throughput
from bench.figures import Section
from bench.plan import FULL, QUICK, Plan
from bench.private_mesh import BenchMesh, private_mesh
from deploy.local.progress import Progress
from deploy.local.ready import NotReady
from deploy.local.up import Refused

HERE = Path(__file__).resolve().parent

_LOOK_SECONDS = 1.5

Measure = Callable[[BenchMesh, asyncio.Runner, Plan], Section]

# In this order: a burst leaves a backlog, and holding the queue stops the executors.
BENCHMARKS: Mapping[str, Measure] = {
    "throughput": throughput.measure,
    "latency": latency.measure,
    "first_byte": first_byte.measure,
    "burst": burst.measure,
    "hold": hold.measure,
}


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 0 once everything was measured, whether or not every goal was kept."""
    options = _parse(arguments)
    console = Console(stderr=True)
    # What ends the process ends the mesh as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plan = QUICK if options.quick else FULL
    began, begun = dt.datetime.now(dt.UTC), time.monotonic()
    busy = [machine.busy_fraction(_LOOK_SECONDS)]
    try:
        with private_mesh(console, schedulers=options.schedulers, executors=options.executors) as mesh:
            described = mesh.describe()
            sections = _measure(mesh, plan, options.only, console, busy)
    except (Refused, NotReady) as reason:
        console.print(f"{reason}", style="red", markup=False)
        return 1
    run = report.Run(
        command=" ".join(["python -m bench", *arguments]) if arguments else "make bench",
        began=f"{began:%Y-%m-%d %H:%M} UTC",
        minutes=(time.monotonic() - begun) / 60,
        revision=machine.revision(),
        mesh=described,
        machine={
            **machine.facts(),
            "Others' work": f"{machine.others(busy)} of all cores, looked at {len(busy)} times before parts of the run",
        },
        versions=machine.versions(),
        sections=sections,
        doubt=machine.doubt(busy),
    )
    page = report.markdown(run)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "RESULTS.md").write_text(page)
        (options.out / "results.json").write_text(report.as_json(run))
    print(page, end="")
    return 0


def _measure(mesh: BenchMesh, plan: Plan, names: Sequence[str], console: Console, busy: list[float]) -> list[Section]:
    """Adds to `busy` how busy the machine is before each part that begins with an idle mesh."""
    progress = Progress(console)
    sections: list[Section] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for name in names:
            if name != "hold":
                # A burst leaves work behind, which would look like others'.
                busy.append(machine.busy_fraction(_LOOK_SECONDS))
            with progress.step(f"Measuring {name}"):
                sections.append(BENCHMARKS[name](mesh, runner, plan))
    return sections


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short phases, for trying; writes no files")
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="some of: %(default)s")
    parser.add_argument("--schedulers", type=int, default=1, help="schedulers (default: 1, as two cores want)")
    parser.add_argument("--executors", type=int, default=1, help="executors that share the slots (default: 1)")
    parser.add_argument("--out", type=Path, help="folder for RESULTS.md and results.json (full runs: bench/)")
    options = parser.parse_args(arguments)
    options.only = [name for name in BENCHMARKS if name in options.only.split(",")]
    if options.out is None and not options.quick and len(options.only) == len(BENCHMARKS):
        options.out = HERE
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
