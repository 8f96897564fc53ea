import asyncio
import time

import pytest

from bench.schedule import constant_rate, follow


class Refusal(Exception):
    pass


def name_refusal(error: Exception) -> str | None:
    return "REFUSED" if isinstance(error, Refusal) else None


def test_a_constant_rate_is_spaced_evenly() -> None:
    assert list(constant_rate(4, 5)) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="more than none"):
        constant_rate(0, 1)


async def test_slow_answers_hold_back_no_call() -> None:
    """Ten calls of 50 ms each, 1 ms apart: a closed loop would take half a second."""

    async def send() -> None:
        await asyncio.sleep(0.05)

    outcome = await follow(constant_rate(1000, 10), send, refused=name_refusal)

    assert outcome.seconds < 0.3
    assert outcome.latencies.count == outcome.lags.count == 10


async def test_a_call_that_waits_behind_a_stall_carries_its_waiting() -> None:
    """The second and third call are due while the first blocks everything: their latency counts from then."""
    calls = 0

    async def send() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            time.sleep(0.1)  # noqa: ASYNC251  the stall is the point

    outcome = await follow(constant_rate(100, 3), send, refused=name_refusal)

    assert outcome.latencies.percentile_ms(50) >= 70
    assert outcome.lags.max_ms() >= 70


async def test_refusals_are_counted_and_kept_out_of_the_latencies() -> None:
    async def send() -> None:
        raise Refusal

    outcome = await follow(constant_rate(1000, 3), send, refused=name_refusal)

    assert outcome.refusals == {"REFUSED": 3}
    assert outcome.latencies.count == 0


async def test_an_error_that_is_no_answer_ends_the_run() -> None:
    async def send() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as raised:
        await follow(constant_rate(1000, 1), send, refused=name_refusal)

    assert raised.group_contains(ZeroDivisionError)
