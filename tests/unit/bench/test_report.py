import dataclasses
import json

import pytest

from bench.figures import Figure, Goal, Section, Table
from bench.report import Run, as_json, markdown, number, verdict


def run_of(*figures: Figure, tables: tuple[Table, ...] = (), notes: tuple[str, ...] = ()) -> Run:
    return Run(
        command="make bench",
        began="2026-01-02 03:04 UTC",
        minutes=5.25,
        revision="abc1234",
        mesh="one of each",
        machine={"CPU": "two cores"},
        versions={"Python": "3.11"},
        sections=[Section(title="A part", method="By looking.", figures=figures, tables=tables, notes=notes)],
    )


KEPT = Figure(key="P2", title="ratio", value=0.8, goal=Goal("≥", 0.75), samples=(0.78, 0.82))
MISSED = Figure(key="P6", title="cost", value=0.3, goal=Goal("≤", 0.25))
TOLD = Figure(key="", title="rate", value=81.6, unit="jobs/s")


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (Goal("≥", 0.75), 0.75, True),
        (Goal("≥", 0.75), 0.74, False),
        (Goal("≤", 1.5), 1.5, True),
        (Goal("<", 250), 250, False),
    ],
)
def test_a_goal_is_kept_or_not(goal: Goal, value: float, met: bool) -> None:  # noqa: FBT001
    assert goal.met(value) is met


def test_a_figure_without_a_goal_is_not_judged() -> None:
    assert verdict(TOLD) == ""
    assert verdict(KEPT) == "pass"
    assert verdict(MISSED) == "**falls short**"


def test_the_page_says_how_many_goals_were_kept_and_shows_each() -> None:
    page = markdown(run_of(KEPT, MISSED, TOLD))

    assert "**1 of 2 goals kept.**" in page
    assert "| P2 | ratio | 0.80 | ≥ 0.75 | pass | 0.78–0.82 of 2 |" in page
    assert "| P6 | cost | 0.30 | ≤ 0.25 | **falls short** |  |" in page
    assert "|  | rate | 81.6 jobs/s |  |  |  |" in page
    assert "| CPU | two cores |" in page


def test_tables_and_notes_are_shown_and_bars_in_cells_break_nothing() -> None:
    page = markdown(run_of(tables=(Table(title="CPU", columns=["a", "b"], rows=[["x|y", "1"]]),), notes=("Mind.",)))

    assert "### CPU\n\n| a | b |\n| --- | --- |\n| x\\|y | 1 |\n" in page
    assert page.endswith("- Mind.\n")


def test_doubt_stands_beside_the_figures() -> None:
    run = run_of(KEPT)

    assert "Not to be trusted" not in markdown(run)
    assert "**Not to be trusted:** others ran" in markdown(dataclasses.replace(run, doubt="others ran"))


def test_machines_get_the_same_with_the_verdict() -> None:
    told = json.loads(as_json(run_of(KEPT, TOLD)))

    [first, second] = told["sections"][0]["figures"]
    assert first["met"] is True
    assert first["goal"] == {"sign": "≥", "bound": 0.75}
    assert second["met"] is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.1234, "0.12"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346"), (-0.5, "-0.50")],
)
def test_numbers_have_the_digits_that_are_worth_reading(value: float, text: str) -> None:
    assert number(value) == text
