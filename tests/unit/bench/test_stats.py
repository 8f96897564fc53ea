import pytest

from bench.stats import Latencies, median, percentile


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]

    assert percentile(values, 50) == 3.0
    assert percentile(values, 99) == 5.0
    assert percentile(values, 0) == 1.0
    assert percentile(values, 20) == 1.0
    assert percentile(values, 20.1) == 2.0


def test_nothing_measured_has_no_middle() -> None:
    with pytest.raises(ValueError, match="no values"):
        median([])
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_latencies_merge_over_seconds_and_tell_each_second_by_itself() -> None:
    latencies = Latencies()
    for _ in range(99):
        latencies.record(0.5, 0.001)
    latencies.record(1.2, 0.5)

    assert latencies.count == 100
    assert latencies.percentile_ms(50) == pytest.approx(1.0, rel=0.01)
    assert latencies.percentile_ms(99) == pytest.approx(1.0, rel=0.01)
    assert latencies.max_ms() == pytest.approx(500, rel=0.01)
    assert latencies.by_second_ms(99) == pytest.approx([1.0, 500], rel=0.01)


def test_no_latencies_are_no_time() -> None:
    latencies = Latencies()

    assert latencies.count == 0
    assert latencies.percentile_ms(99) == 0
    assert latencies.max_ms() == 0
    assert latencies.by_second_ms(99) == []
