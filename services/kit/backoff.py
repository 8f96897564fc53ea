"""Waiting before another try: full jitter, so that a herd does not come back as one."""

import random
from collections.abc import Iterator


def full_jitter(first: float, most: float, rng: random.Random | None = None) -> Iterator[float]:
    """Endless delays in seconds: uniform in [first/4, ceiling], the ceiling doubling from `first` to `most`."""
    draw = (rng or random.Random()).uniform  # noqa: S311 - spreads load, guards nothing
    ceiling = first
    while True:
        yield draw(first / 4, ceiling)
        ceiling = min(most, ceiling * 2)
