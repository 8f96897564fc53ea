"""The pure parts of single benchmarks."""

import pytest
from sentinel.v1 import submission_pb2

from bench.client import WrongAnswer, check
from bench.first_byte import seconds_since
from bench.hold import change_percent
from bench.machine import cgroup_version, doubt, favordynmods


def test_the_programs_own_clock_is_the_beginning() -> None:
    assert seconds_since(b"1000000000", 1_012_000_000) == pytest.approx(0.012)


def test_output_that_is_no_time_is_a_wrong_answer() -> None:
    with pytest.raises(WrongAnswer, match="Traceback"):
        seconds_since(b"Traceback", 1)


@pytest.mark.parametrize(
    ("status", "stdout"),
    [(submission_pb2.SUCCESS, "41\n"), (submission_pb2.RUNTIME_ERROR, "42\n"), (submission_pb2.INTERNAL_ERROR, "")],
)
def test_only_the_right_verdict_with_the_right_output_counts(
    status: "submission_pb2.Status.ValueType", stdout: str
) -> None:
    check(submission_pb2.Submission(status=submission_pb2.SUCCESS, stdout="42\n"), "42\n")

    with pytest.raises(WrongAnswer):
        check(submission_pb2.Submission(status=status, stdout=stdout), "42\n")


def test_growth_is_relative_to_the_first_look() -> None:
    assert change_percent(200, 210) == pytest.approx(5)
    assert change_percent(200, 180) == pytest.approx(-10)
    assert change_percent(0, 10) == 0


def test_the_control_group_version_is_that_of_the_memory_controller() -> None:
    first = "30 20 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    second = "31 20 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"

    assert cgroup_version(first + second) == "version 1"
    assert cgroup_version(second) == "version 2"
    assert cgroup_version("") == "none"


def test_a_kernel_log_that_says_nothing_is_told_from_one_that_cannot_be_read() -> None:
    assert favordynmods("") == "kernel log not readable"
    assert favordynmods("usb 1-1: new device") == "not mentioned in the kernel log"
    assert favordynmods("cgroup: per threadgroup rwsem mechanism can't be disabled") == "switched on since boot"


def test_one_busy_look_is_enough_to_doubt() -> None:
    assert doubt([0.01, 0.03]) == ""
    assert "1% to 64% of all cores" in doubt([0.01, 0.64, 0.02])
