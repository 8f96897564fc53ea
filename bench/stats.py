"""Medians, percentiles, and histograms of an open model."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from hdrh.histogram import HdrHistogram

_MOST_MICROSECONDS = 120_000_000
_DIGITS = 3


def median(values: Sequence[float]) -> float:
    """The middle. Raises ValueError where there are none."""
    if not values:
        raise ValueError("no values")
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed (nearest rank). Raises ValueError where there are none."""
    if not values:
        raise ValueError("no values")
    rank = max(1, math.ceil(len(values) * percent / 100))
    return sorted(values)[rank - 1]


class Latencies:
    """Latencies by the second in which their operation was meant to begin.

    Where every latency counts from the *intended* time, an operation that waited behind a slow one carries its
    waiting, and percentiles hide nothing (no coordinated omission).
    """

    def __init__(self) -> None:
        self._seconds: dict[int, Any] = {}

    def record(self, intended_s: float, latency_s: float) -> None:
        """One operation; `intended_s` counts from the beginning of the run. Below a microsecond counts as one."""
        second = int(intended_s)
        if second not in self._seconds:
            self._seconds[second] = _histogram()
        self._seconds[second].record_value(min(_MOST_MICROSECONDS, max(1, round(latency_s * 1e6))))

    @property
    def count(self) -> int:
        """How many."""
        return int(self._merged().get_total_count())

    def percentile_ms(self, percent: float) -> float:
        """Over all seconds, in milliseconds; 0 where there are none."""
        return float(self._merged().get_value_at_percentile(percent)) / 1e3

    def max_ms(self) -> float:
        """The longest, in milliseconds."""
        return float(self._merged().get_max_value()) / 1e3

    def by_second_ms(self, percent: float) -> list[float]:
        """The percentile of each second by itself, in milliseconds, in order."""
        return [float(self._seconds[second].get_value_at_percentile(percent)) / 1e3 for second in sorted(self._seconds)]

    def _merged(self) -> Any:
        merged = _histogram()
        for histogram in self._seconds.values():
            merged.add(histogram)
        return merged


def _histogram() -> Any:
    return HdrHistogram(1, _MOST_MICROSECONDS, _DIGITS)
