"""Which version of control groups a machine has, as its list of mounts tells."""

from pathlib import Path

import pytest

from services.executor.sandbox.cgroup import CgroupsV1, CgroupsV2, detect_driver
from services.executor.sandbox.protocol import SandboxError

V1 = """
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate"


def mountinfo(directory: Path, text: str) -> str:
    path = directory / "mountinfo"
    path.write_text(f"22 27 0:21 / /proc rw,relatime - proc proc rw\n{text.lstrip()}")
    return str(path)


def test_controllers_of_version_1_win_over_an_empty_version_2(tmp_path: Path) -> None:
    assert isinstance(detect_driver("s", mountinfo(tmp_path, V1)), CgroupsV1)


def test_a_plain_machine_has_version_2(tmp_path: Path) -> None:
    assert isinstance(detect_driver("s", mountinfo(tmp_path, V2)), CgroupsV2)


def test_no_control_groups_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="neither version 1"):
        detect_driver("s", mountinfo(tmp_path, ""))


def test_version_2_without_a_controller_names_it(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu pids\n")
    driver = CgroupsV2(tmp_path, "s")

    with pytest.raises(SandboxError, match="lacks memory"):
        driver.open()
