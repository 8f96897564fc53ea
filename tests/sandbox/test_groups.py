"""Owners of control groups: one at a time, and what the dead leave is swept by the living."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from services.executor.sandbox.cgroup import CgroupDriver, detect_driver
from services.executor.sandbox.ids import BLOCK_SIZE, take_ids

HOLDER = """
import sys, time
from services.executor.sandbox.cgroup import detect_driver
driver = detect_driver(sys.argv[1])
driver.open()
assert driver.take("4096000")
group = driver.create("left")
import subprocess
child = subprocess.Popen(["/bin/sleep", "60"])
group.attach(child.pid)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def driver(cgroup_parent: str) -> Iterator[CgroupDriver]:
    made = detect_driver(cgroup_parent)
    made.open()
    yield made
    made.close()


def test_two_executors_take_different_blocks(driver: CgroupDriver, cgroup_parent: str) -> None:
    other = detect_driver(cgroup_parent)
    other.open()
    try:
        first, second = take_ids(driver, 5_000_000), take_ids(other, 5_000_000)
    finally:
        other.close()

    assert first % BLOCK_SIZE == 0
    assert first >= 5_000_000
    assert second == first + BLOCK_SIZE


def test_what_a_dead_owner_left_is_killed_and_removed_and_the_living_are_let_be(
    driver: CgroupDriver, cgroup_parent: str
) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, cgroup_parent], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert driver.sweep() == 0
        assert not driver.take("4096000")
        holder.kill()
        holder.wait()
        began = time.monotonic()

        assert driver.sweep() == 1
        assert time.monotonic() - began < 2
    assert driver.take("4096000")
