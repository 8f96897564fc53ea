"""What a run found out: figures with goals, tables, notes. Knows nothing of how they were measured."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "≤": operator.le,
    "<": operator.lt,
    "≥": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound that a figure should keep."""

    sign: Literal["≤", "<", "≥"]
    bound: float

    def met(self, value: float) -> bool:
        """Whether the value keeps it."""
        return _HOLDS[self.sign](value, self.bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number, how it spread over repetitions, and what it should be."""

    key: str
    """Short and stable, such as P2."""
    title: str
    value: float
    unit: str = ""
    goal: Goal | None = None
    """None: told for information."""
    samples: Sequence[float] = ()
    """The same figure from each repetition alone."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is kept; None where there is none."""
        return None if self.goal is None else self.goal.met(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text under a title."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What one benchmark has to say."""

    title: str
    method: str
    """How it was measured, in sentences."""
    figures: Sequence[Figure]
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    """What a reader must know to judge the figures, from this run."""
