"""Reports: numbers, credit, sending again. Chunks: size, time, code points."""

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sentinel.v1 import evidence_pb2, executor_pb2

from services.executor.reports import (
    CHUNK_EVERY,
    CHUNK_MOST,
    FIRST_WAITS,
    PHASE_MAY_WAIT,
    YOUNG_MAY_WAIT,
    Chunker,
    Reports,
    incomplete_tail,
)

STDOUT = evidence_pb2.STREAM_STDOUT


class Clock:
    """Time that a test moves, and the timers that hang on it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None], list[bool]]] = []

    def call_later(self, delay: float, call: Callable[[], None]) -> Any:
        cancelled = [False]
        self.timers.append((self.now + delay, call, cancelled))

        class Handle:
            def cancel(self) -> None:
                cancelled[0] = True

        return Handle()

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, call, cancelled in due:
            if not cancelled[0]:
                call()


def chunker(clock: Clock) -> tuple[Chunker, list[tuple[int, bytes]]]:
    sent: list[tuple[int, bytes]] = []
    return Chunker(lambda offset, data: sent.append((offset, data)), clock.call_later, lambda: clock.now), sent


def drain(reports: Reports) -> list[executor_pb2.Report]:
    found = []
    while (report := reports.next_nowait()) is not None:
        found.append(report)
    return found


def test_reports_are_numbered_from_1_and_carry_the_lease() -> None:
    reports = Reports(b"token", lambda _may_wait: None)
    reports.begin_session(100)
    reports.phase(evidence_pb2.PHASE_RUN)
    reports.output(STDOUT, 0, b"hi")
    reports.finished(executor_pb2.VERDICT_SUCCESS, evidence_pb2.Evidence())

    sent = drain(reports)

    assert [report.number for report in sent] == [1, 2, 3]
    assert {report.lease_token for report in sent} == {b"token"}
    assert reports.ended


def test_output_waits_for_credit_and_everything_after_it_waits_too() -> None:
    reports = Reports(b"token", lambda _may_wait: None)
    reports.begin_session(3)
    reports.output(STDOUT, 0, b"abc")
    reports.output(STDOUT, 3, b"d")
    reports.finished(executor_pb2.VERDICT_SUCCESS, evidence_pb2.Evidence())

    assert [report.number for report in drain(reports)] == [1]
    reports.add_credit(1)

    assert [report.number for report in drain(reports)] == [2, 3]


def test_a_new_session_gets_the_same_reports_again_on_fresh_credit() -> None:
    reports = Reports(b"token", lambda _may_wait: None)
    reports.begin_session(2)
    reports.phase(evidence_pb2.PHASE_RUN)
    reports.output(STDOUT, 0, b"ab")
    first = [report.SerializeToString() for report in drain(reports)]
    reports.begin_session(2)

    again = [report.SerializeToString() for report in drain(reports)]

    assert again == first


def test_whoever_sends_is_told_of_every_change_and_that_the_end_may_not_wait() -> None:
    told: list[float] = []
    reports = Reports(b"token", told.append)
    reports.phase(evidence_pb2.PHASE_RUN)
    reports.output(STDOUT, 0, b"x")
    reports.add_credit(1)
    reports.abandoned("SANDBOX_FAILED", "why")

    assert told == [PHASE_MAY_WAIT, YOUNG_MAY_WAIT, 0, 0]


def test_a_new_session_or_credit_without_anything_to_send_wakes_nobody() -> None:
    told: list[float] = []
    reports = Reports(b"token", told.append)
    reports.begin_session(5)
    reports.add_credit(5)

    assert told == []


def test_the_first_bytes_wait_a_millisecond_for_the_rest_of_their_line() -> None:
    clock = Clock()
    chunks, sent = chunker(clock)
    chunks.add(b"a")
    chunks.add(b"\n")
    assert sent == []
    clock.advance(FIRST_WAITS)

    assert sent == [(0, b"a\n")]


def test_bytes_that_trickle_are_gathered_for_20_ms() -> None:
    clock = Clock()
    chunks, sent = chunker(clock)
    chunks.add(b"a")
    clock.advance(FIRST_WAITS)
    chunks.add(b"b")
    clock.advance(CHUNK_EVERY / 2)
    chunks.add(b"c")
    assert sent == [(0, b"a")]
    clock.advance(CHUNK_EVERY / 2)

    assert sent == [(0, b"a"), (1, b"bc")]


def test_a_full_chunk_does_not_wait() -> None:
    clock = Clock()
    chunks, sent = chunker(clock)
    chunks.add(b"b" * (CHUNK_MOST + 5))

    assert [len(data) for _, data in sent] == [CHUNK_MOST]
    clock.advance(CHUNK_EVERY)
    assert sent[-1] == (CHUNK_MOST, b"b" * 5)


def test_a_code_point_waits_for_its_rest() -> None:
    clock = Clock()
    chunks, sent = chunker(clock)
    euro = "€".encode()
    chunks.add(b"a" + euro[:2])
    clock.advance(FIRST_WAITS)
    assert sent == [(0, b"a")]
    chunks.add(euro[2:])
    clock.advance(CHUNK_EVERY)

    assert sent == [(0, b"a"), (1, euro)]


def test_the_end_sends_what_is_left_even_half_a_code_point() -> None:
    clock = Clock()
    chunks, sent = chunker(clock)
    chunks.add("€".encode()[:2])
    chunks.end()

    assert sent == [(0, "€".encode()[:2])]


@given(st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 30)), max_size=60))
def test_chunks_join_to_the_bytes_without_gap_or_overlap(steps: list[bytes | int]) -> None:
    clock = Clock()
    chunks, sent = chunker(clock)
    for step in steps:
        if isinstance(step, bytes):
            chunks.add(step)
        else:
            clock.advance(step / 1000)
    chunks.end()

    whole = b"".join(step for step in steps if isinstance(step, bytes))
    assert b"".join(data for _, data in sent) == whole
    assert all(0 < len(data) <= CHUNK_MOST for _, data in sent)
    expected = 0
    for offset, data in sent:
        assert offset == expected
        expected += len(data)


@given(st.text(max_size=200), st.lists(st.integers(1, 9), min_size=1))
def test_no_chunk_of_valid_text_splits_a_code_point(text: str, cuts: list[int]) -> None:
    clock = Clock()
    chunks, sent = chunker(clock)
    data, at = text.encode("utf-8", "surrogatepass"), 0
    turn = 0
    while at < len(data):
        step = cuts[turn % len(cuts)]
        chunks.add(data[at : at + step])
        clock.advance(0.007)
        at, turn = at + step, turn + 1
    chunks.end()

    for _, chunk in sent:
        chunk.decode("utf-8", "surrogatepass")


@given(st.binary(max_size=8))
def test_the_incomplete_tail_is_at_most_three_bytes(data: bytes) -> None:
    assert 0 <= incomplete_tail(data) <= min(3, len(data))


async def test_the_chunker_works_on_a_real_loop() -> None:
    sent: list[bytes] = []
    chunks = Chunker(lambda _, data: sent.append(data), asyncio.get_running_loop().call_later)
    chunks.add(b"a")
    chunks.add(b"b")
    await asyncio.sleep(CHUNK_EVERY)
    chunks.add(b"c")
    await asyncio.sleep(CHUNK_EVERY)

    assert sent == [b"ab", b"c"]
