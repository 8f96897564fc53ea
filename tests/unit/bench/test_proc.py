import os

import pytest

from bench.proc import Memory, Stat, descendants, parse_rollup, parse_stat, read_all, threads

TICK = 1 / os.sysconf("SC_CLK_TCK")


def test_a_name_with_spaces_and_parentheses_shifts_no_field() -> None:
    line = "42 (a) b (c) S 7 42 42 0 -1 4194304 97 0 0 0 11 22 33 44 20 0 1 0 378803 3133440 360"

    stat = parse_stat(line)

    assert (stat.pid, stat.parent) == (42, 7)
    assert [stat.user, stat.system] == pytest.approx([11 * TICK, 22 * TICK])
    assert [stat.reaped_user, stat.reaped_system] == pytest.approx([33 * TICK, 44 * TICK])


def test_descendants_are_found_at_any_depth_and_strangers_are_not() -> None:
    stats = {pid: Stat(pid, parent, 0, 0, 0, 0) for pid, parent in ((1, 0), (2, 1), (3, 2), (4, 3), (9, 1))}

    assert {stat.pid for stat in descendants(stats, 2)} == {3, 4}


def test_this_process_is_there() -> None:
    assert read_all()[os.getpid()].parent == os.getppid()


def test_threads_are_told_by_name() -> None:
    burn = sum(number * number for number in range(300_000))

    assert burn
    assert threads(os.getpid())["main"] > 0


def test_memory_is_read_from_a_rollup() -> None:
    text = (
        "55f1-7ffe ---p 00000000 00:00 0    [rollup]\n"
        "Rss:                3000 kB\nPss:                2000 kB\nPss_Anon:           1300 kB\n"
        "Pss_File:            200 kB\nPss_Shmem:           500 kB\n"
    )

    memory = parse_rollup(text)

    assert memory == Memory(3000, 1300, 500, 200)
    assert (memory.own, memory.pss) == (1800, 2000)
    assert Memory(1, 2, 3, 4) + Memory(10, 20, 30, 40) == Memory(11, 22, 33, 44)
