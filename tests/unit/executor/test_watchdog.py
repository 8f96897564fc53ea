"""When the CPU counter is read again."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from services.executor.sandbox.watchdog import SHORTEST_WAIT, CpuWatchdog, next_look

MS = 1_000_000


def test_the_next_look_comes_when_all_cpus_could_have_burned_the_rest() -> None:
    assert next_look(200 * MS, 1000 * MS, cpus=2) == 0.4


@given(st.integers(0, 10**12), st.integers(1, 10**12), st.integers(1, 256))
def test_it_is_never_later_than_the_earliest_instant_and_never_too_soon(used: int, limit: int, cpus: int) -> None:
    wait = next_look(used, limit, cpus)

    assert wait >= SHORTEST_WAIT
    assert wait <= max(SHORTEST_WAIT, (limit - used) / cpus / 1e9)


async def test_it_fires_once_at_the_limit_and_not_before() -> None:
    loop, used, fired = asyncio.get_running_loop(), [0], list[int]()
    dog = CpuWatchdog(loop, lambda: used[0], 1, lambda: fired.append(used[0]))
    dog.start(5 * MS)
    used[0] = 4 * MS
    await asyncio.sleep(0.02)
    assert fired == []
    used[0] = 5 * MS
    await asyncio.sleep(0.03)
    dog.stop()

    assert fired == [5 * MS]


async def test_a_stopped_watchdog_is_silent() -> None:
    fired: list[int] = []
    dog = CpuWatchdog(asyncio.get_running_loop(), lambda: 10**12, 1, lambda: fired.append(1))
    dog.start(MS)
    dog.stop()
    await asyncio.sleep(0.02)

    assert fired == []
