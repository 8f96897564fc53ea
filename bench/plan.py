"""How long everything is measured: the full run, and one for trying."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Counts and seconds. Every part is bounded by one of them."""

    pairs: int
    """Bare and mesh in turns, so that a machine that changes its pace changes it for both."""
    phase_seconds: float
    warm_seconds: float
    """At the beginning of each mesh phase, not counted."""
    callers: int = 8

    rounds: int
    """Repetitions of each latency."""
    runs: int
    """Per round, back to back."""
    spaced_runs: int
    """Per round, with idle gaps."""
    gap_seconds: float = 0.04
    first_bytes: int
    """Programs per way of watching."""

    burst_rate: float = 520.0
    """A little above the goal: what is accepted until the last answer has come must still be the goal."""
    burst_count: int
    further_rates: tuple[float, ...]
    """Tried one after the other beyond the goal, to see where the knee is."""
    further_seconds: float = 5.0

    held_first: int
    """Waiting submissions at the first look at memory, and at the last."""
    held_last: int
    settle_seconds: float
    """Before each look at memory."""


FULL = Plan(
    pairs=5,
    phase_seconds=12,
    warm_seconds=2,
    rounds=5,
    runs=120,
    spaced_runs=60,
    first_bytes=150,
    burst_count=10_000,
    further_rates=(750.0, 1000.0),
    held_first=20_000,
    held_last=100_000,
    settle_seconds=30,
)

QUICK = Plan(
    pairs=2,
    phase_seconds=4,
    warm_seconds=1,
    rounds=2,
    runs=40,
    spaced_runs=20,
    first_bytes=30,
    burst_count=2_500,
    further_rates=(),
    held_first=5_000,
    held_last=10_000,
    settle_seconds=3,
)
