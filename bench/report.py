"""RESULTS.md and results.json, from what a run found out."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.figures import Figure, Section, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the whole."""

    command: str
    began: str
    minutes: float
    revision: str
    mesh: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    sections: Sequence[Section]
    doubt: str = ""
    """Why the figures may mislead; empty where nothing speaks against them."""


def markdown(run: Run) -> str:
    """The whole page, ending with a line break."""
    judged = [figure for section in run.sections for figure in section.figures if figure.goal]
    kept = sum(1 for figure in judged if figure.met)
    lines = [
        "# Results",
        "",
        (
            f"`{run.command}`, {run.began}, {run.minutes:.1f} minutes, revision {run.revision}. Written by the run; "
            "edits are lost with the next one."
        ),
        "",
        (
            f"**{kept} of {len(judged)} goals kept.** Only ratios taken in one run travel to another machine; the rest "
            "belongs to this one."
        ),
        "",
        *_figures(judged),
        *(["", f"**Not to be trusted:** {run.doubt}"] if run.doubt else []),
        "",
        "## Where and what",
        "",
        *_grid(["", ""], [*run.machine.items(), ("Mesh", run.mesh)]),
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in run.versions.items()) + ".",
    ]
    for section in run.sections:
        lines += ["", f"## {section.title}", "", section.method, "", *_figures(section.figures)]
        for table in section.tables:
            lines += ["", f"### {table.title}", "", *_table(table)]
        if section.notes:
            lines += ["", *(f"- {note}" for note in section.notes)]
    return "\n".join(lines) + "\n"


def as_json(run: Run) -> str:
    """The same for machines, ending with a line break."""
    content = dataclasses.asdict(run)
    for told, section in zip(content["sections"], run.sections, strict=True):
        for each, figure in zip(told["figures"], section.figures, strict=True):
            each["met"] = figure.met
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def number(value: float) -> str:
    """As many digits as are worth reading."""
    if value == 0:
        return "0"
    magnitude = abs(value)
    if magnitude >= 1000:
        return f"{value:,.0f}"
    if magnitude >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if magnitude >= 10 else f"{value:.2f}"


def verdict(figure: Figure) -> str:
    """One word or two; nothing where there is no goal."""
    match figure.met:
        case None:
            return ""
        case True:
            return "pass"
        case False:
            return "**falls short**"


def _figures(figures: Iterable[Figure]) -> list[str]:
    return _grid(
        ["", "figure", "value", "goal", "", "spread"],
        [
            (
                figure.key,
                figure.title,
                _with_unit(number(figure.value), figure.unit),
                f"{figure.goal.sign} {_with_unit(number(figure.goal.bound), figure.unit)}" if figure.goal else "",
                verdict(figure),
                _spread(figure),
            )
            for figure in figures
        ],
    )


def _with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}".strip()


def _spread(figure: Figure) -> str:
    if len(figure.samples) < 2:
        return ""
    return f"{number(min(figure.samples))}–{number(max(figure.samples))} of {len(figure.samples)}"


def _table(table: Table) -> list[str]:
    return _grid(table.columns, table.rows)


def _grid(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_row(columns), _row(["---"] * len(columns)), *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
