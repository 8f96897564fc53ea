from pathlib import Path

from bench.bare import BareRun, command, mounts

MOUNTINFO = """\
30 20 0:25 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 20 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 20 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
22 1 0:20 / / rw - ext4 /dev/vda rw
"""


def test_controllers_are_found_where_they_are_mounted() -> None:
    first, second = mounts(MOUNTINFO)

    assert first["memory"] == Path("/sys/fs/cgroup/memory")
    assert first["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert second == Path("/sys/fs/cgroup/unified")


def test_the_yardstick_is_the_program_of_all_benchmarks_with_limits() -> None:
    argv = command(["--cgroup_mem_parent", "somewhere"])

    assert argv[-3:] == ["/usr/bin/python3", "-c", "print(42)"]
    assert "--cgroup_mem_max" in argv
    assert "--cgroup_pids_max" in argv
    assert argv.index("--cgroup_mem_parent") < argv.index("--")


def test_rates_and_costs_are_per_job() -> None:
    run = BareRun(jobs=100, begun=103, seconds=2.0, cpu=1.5, latencies=[0.02] * 100)

    assert run.rate == 50
    assert run.cpu_per_job == 0.015
