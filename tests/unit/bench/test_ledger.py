import pytest

from bench import proc
from bench.ledger import Ledger, Reading, Restarted, Usage, between
from bench.proc import Stat


def reading(pids: dict[str, int], mesh: dict[str, Usage], sandbox: float, machine: float) -> Reading:
    return Reading(
        pids=pids,
        mesh=mesh,
        threads={("envoy", "wrk:worker_0"): machine / 1000},
        sandbox=Usage(sandbox, 0.0),
        generator=Usage(1.0, 0.0),
        machine=machine,
    )


def test_what_lies_between_two_readings() -> None:
    pids = {"envoy": 5}
    before = reading(pids, {"envoy": Usage(1.0, 2.0, 10)}, 3.0, 100.0)
    after = reading(pids, {"envoy": Usage(1.5, 2.25, 30)}, 4.0, 102.5)

    spent = between(before, after)

    assert spent.mesh == {"envoy": Usage(0.5, 0.25, 20)}
    assert spent.mesh_cpu == 0.75
    assert spent.sandbox == Usage(1.0, 0.0)
    assert spent.threads == {("envoy", "wrk:worker_0"): pytest.approx(0.0025)}
    assert spent.rest == pytest.approx(2.5 - 0.75 - 1.0)


def test_a_process_that_was_replaced_spoils_the_measurement() -> None:
    before = reading({"envoy": 5, "redis": 6}, {}, 0, 0)
    after = reading({"envoy": 7, "redis": 6}, {}, 0, 0)

    with pytest.raises(Restarted, match="envoy"):
        between(before, after)


def test_children_count_as_their_program_but_an_executors_as_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = {
        1: Stat(1, 0, 0.5, 0.5, 60.0, 30.0),  # the supervisor, parent of all
        2: Stat(2, 1, 1.0, 2.0, 4.0, 0.5),  # PostgreSQL
        3: Stat(3, 2, 8.0, 0.25, 0.0, 0.0),  # a backend
        4: Stat(4, 1, 3.0, 1.0, 20.0, 5.0),  # an executor with jails that have ended
        5: Stat(5, 4, 0.25, 0.5, 0.5, 0.25),  # nsjail alive, its program ended
    }
    monkeypatch.setattr(proc, "read_all", lambda: stats)
    monkeypatch.setattr(proc, "switches", lambda pid: pid)

    taken = Ledger(lambda: {"supervisord": 1, "postgres": 2, "executor-0": 4}).read()

    assert taken.mesh["supervisord"] == Usage(0.5, 0.5, 1)
    assert taken.mesh["postgres"] == Usage(13.0, 2.75, 5)
    assert taken.mesh["executor-0"] == Usage(3.0, 1.0, 4)
    assert taken.sandbox == Usage(20.75, 5.75)


def test_a_program_without_its_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "read_all", dict)

    with pytest.raises(Restarted, match="redis"):
        Ledger(lambda: {"redis": 3}).read()
