"""What the audit found, for people and for machines."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from audit.case import SECTIONS, Case
from audit.stage import Kind, Record

WHOLE = 150
"""Entries of the catalogue that a whole run must cover."""


@dataclass(slots=True)
class Report:
    """One run."""

    began: dt.datetime
    cases: Mapping[str, Case]
    whole: bool
    """Nothing was left out by options."""
    records: list[Record] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    """What is wrong with the run itself."""
    controls: int = 0
    seconds: float = 0.0
    neighbours: list[tuple[str, float, float]] = field(default_factory=list)

    @property
    def held(self) -> list[Record]:
        """Cases that ran, proved something and showed no problem."""
        return [record for record in self.records if record.held]

    @property
    def entries(self) -> set[str]:
        """Entries of the catalogue with at least one variant that held."""
        return {self.cases[record.case_id].entry for record in self.held}

    def verdict(self) -> list[str]:
        """Why the run as a whole has failed; empty where it has not. Nothing run is failed, too."""
        found = list(self.troubles)
        failed = [record for record in self.records if record.problems]
        if failed:
            found.append(f"{len(failed)} cases failed")
        unproved = [record.case_id for record in self.records if not (record.held or record.problems or record.skipped)]
        if unproved:
            found.append(f"nothing was proved by {', '.join(unproved)}")
        if not self.held:
            found.append("no case was proved to hold")
        if self.controls == 0:
            found.append("no control program ran")
        missing = set(self.cases) - {record.case_id for record in self.records}
        if missing:
            found.append(f"never run: {', '.join(sorted(missing))}")
        if self.whole and len(self.entries) < WHOLE:
            found.append(f"only {len(self.entries)} entries of the catalogue, of at least {WHOLE}")
        return found

    def show(self, console: Console) -> None:
        """The table, and the end of it."""
        table = Table(title="Security audit", show_lines=False)
        for column in ("case", "attack", "layer", "ended", "ms", "result"):
            table.add_column(column, justify="right" if column == "ms" else "left", overflow="fold")
        section = ""
        for record in sorted(self.records, key=lambda r: (list(SECTIONS).index(r.case_id[0]), r.case_id)):
            case = self.cases[record.case_id]
            if case.section != section:
                section = case.section
                table.add_section()
                table.add_row(f"[bold]{section}[/bold]")
            table.add_row(
                record.case_id + (" ★" if case.classic else ""),
                case.name.replace("[", "\\["),
                case.layer,
                ", ".join(sorted(set(record.verdicts))),
                f"{record.wall_ms:.0f}",
                _result(record),
            )
        console.print(table)
        for record in self.records:
            for problem in record.problems:
                console.print(f"{record.case_id} {problem.kind}: {problem.text}", style="red", markup=False)
        skipped = [record for record in self.records if record.skipped]
        classics = {record.case_id for record in self.held if self.cases[record.case_id].classic}
        console.print(
            f"{len(self.held)} of {len(self.records)} cases held ({len(self.entries)} entries of the catalogue, "
            f"{len(classics)} of the seed guide's 22 ★), {len(skipped)} skipped, "
            f"{self.controls} controls passed, {self.seconds:.0f} s"
        )
        if self.neighbours:
            ratios = sorted(with_ / without for _, without, with_ in self.neighbours if without)
            console.print(
                f"neighbours: median {ratios[len(ratios) // 2]:.2f} ×, worst {ratios[-1]:.2f} × as long as without"
            )
        for text in self.verdict():
            console.print(f"failed: {text}", style="bold red", markup=False)

    def as_json(self) -> str:
        """Everything, for machines."""
        return json.dumps(
            {
                "began": self.began.isoformat(),
                "seconds": round(self.seconds, 1),
                "passed": not self.verdict(),
                "failed_because": self.verdict(),
                "controls": self.controls,
                "entries": sorted(self.entries),
                "neighbours": [{"cases": c, "without_ms": a, "with_ms": b} for c, a, b in self.neighbours],
                "cases": [
                    {**_described(self.cases[record.case_id]), **asdict(record), "held": record.held}
                    for record in self.records
                ],
            },
            indent=1,
        )


def _result(record: Record) -> str:
    if record.skipped:
        return f"[dim]skipped: {record.skipped}[/dim]"
    if record.problems:
        return "[bold red]" + ", ".join(sorted({str(problem.kind) for problem in record.problems})) + "[/bold red]"
    return "[green]held[/green]" if record.held else f"[bold red]{Kind.NEVER_BEGAN}[/bold red]"


def _described(case: Case) -> dict[str, object]:
    return {
        "name": case.name,
        "claim": case.claim,
        "layer": case.layer,
        "section": case.section,
        "classic": case.classic,
    }


def merged(runs: Sequence[Report]) -> Report:
    """Several runs as one: a case that failed in any has failed."""
    first = runs[0]
    return Report(
        began=first.began,
        cases=first.cases,
        whole=first.whole,
        records=[record for run in runs for record in run.records],
        troubles=[trouble for run in runs for trouble in run.troubles],
        controls=min(run.controls for run in runs),
        seconds=sum(run.seconds for run in runs),
        neighbours=[pair for run in runs for pair in run.neighbours],
    )
