"""Reads a history and says which of the invariants I1 to I11 does not hold. Pure."""

from collections import defaultdict
from collections.abc import Iterator

from sentinel.v1 import evidence_pb2, submission_pb2

from tests.chaos.history import History, Story

TERMINAL = frozenset(range(submission_pb2.SUCCESS, submission_pb2.INTERNAL_ERROR + 1))
MOST_ATTEMPTS = 3
RECOVERY_SECONDS = 10.0


def broken(history: History) -> list[str]:
    """Every violation, in words; empty where all invariants hold."""
    found = [*_at_rest(history), *_recovery(history), *_counts(history)]
    for story in history.stories:
        if story.job_id:
            found.extend(f"{story.key} ({story.job_id}): {why}" for why in _one(story, history))
    return found


def _one(story: Story, history: History) -> Iterator[str]:
    row = history.at_rest.rows.get(story.job_id)
    if row is None:
        yield "I1 accepted, and no row"
        return
    if story.result is None:
        yield f"I1 no client saw its end; the row says {row.state}"
        return
    if row.state not in {"FINISHED", "CANCELLED", "FAILED"}:
        yield f"I1 the row is {row.state} at rest"
    if row.lease_standing:
        yield "I5 a lease stands at rest"
    if history.early_rows.get(story.job_id, row.fingerprint) != row.fingerprint:
        yield "I2 the row changed after it was terminal"
    if row.attempt > MOST_ATTEMPTS:
        yield f"I4 {row.attempt} attempts"
    yield from _offsets(story, row.stdout)
    yield from _statuses(story)
    yield from _writers(story)
    if story.result.status == submission_pb2.SUCCESS and row.stdout != story.expected_stdout:
        yield f"I3 stored output is not what the program wrote ({len(row.stdout)} bytes)"
    if story.result.status != submission_pb2.SUCCESS:
        yield f"I1 ended {submission_pb2.Status.Name(story.result.status)}: {story.result.failure.message}"


def _offsets(story: Story, stored: bytes) -> Iterator[str]:
    """I3: per attempt and stream no gap, no overlap; the last attempt's concatenation is what is stored."""
    heard: dict[tuple[int, int], bytearray] = defaultdict(bytearray)
    for seen in story.seen:
        if seen.kind != "output":
            continue
        run = heard[seen.attempt, seen.stream]
        if seen.offset != len(run):
            yield f"I3 attempt {seen.attempt} stream {seen.stream}: offset {seen.offset} after {len(run)} bytes"
        run += seen.data
    last = max((s.attempt for s in story.seen), default=0)
    whole = bytes(heard[last, evidence_pb2.STREAM_STDOUT])
    if whole != stored:
        yield f"I3 heard {len(whole)} bytes in attempt {last}, stored are {len(stored)}"


def _statuses(story: Story) -> Iterator[str]:
    """I6, I10: a client sees the word move forward only, and one terminal word."""
    last = 0
    for seen in story.seen:
        if seen.kind not in {"status", "snapshot", "result"}:
            continue
        if last in TERMINAL and seen.status != last:
            yield f"I2 {last} became {seen.status}"
        elif seen.status < last:
            yield f"I10 the status went from {last} back to {seen.status}"
        last = seen.status


def _writers(story: Story) -> Iterator[str]:
    """I7: one sequence never carries two contents, and sequences only rise."""
    said: dict[int, tuple[str, int, bytes]] = {}
    last = 0
    for seen in story.seen:
        if seen.kind not in {"status", "output"}:
            continue
        content = (seen.kind, seen.status or seen.offset, seen.data)
        if said.setdefault(seen.sequence, content) != content:
            yield f"I7 sequence {seen.sequence} was told twice with different content"
        if seen.sequence <= last:
            yield f"I3 sequence {seen.sequence} came after {last}"
        last = max(last, seen.sequence)


def _at_rest(history: History) -> Iterator[str]:
    rest = history.at_rest
    if rest.queue_ready or rest.queue_unacked:
        yield f"I5 the queue holds {rest.queue_ready} ready and {rest.queue_unacked} unacked"
    if rest.outbox:
        yield f"I5 the outbox holds {rest.outbox}"
    if rest.leases:
        yield f"I5 {rest.leases} leases stand"
    if rest.dead_letters != history.expected_dead_letters:
        yield f"I5 {rest.dead_letters} dead letters, expected {history.expected_dead_letters}"
    for leftover in rest.leftovers:
        yield f"I8 left behind: {leftover}"


def _counts(history: History) -> Iterator[str]:
    """I9: every accepted submission is one row, and there are no others."""
    accepted = {story.job_id for story in history.stories if story.job_id}
    if len(accepted) != sum(1 for story in history.stories if story.job_id):
        yield "I9 two submissions got the same id"
    strangers = set(history.at_rest.rows) - accepted
    if strangers:
        yield f"I9 {len(strangers)} rows that no client was told of"


def _recovery(history: History) -> Iterator[str]:
    """I11: once the fault has ended, work resumes."""
    after = [s.ended_at for s in history.stories if s.ended_at > history.fault_ended_at]
    unfinished = [s for s in history.stories if s.job_id and not s.ended_at]
    if not after:
        if unfinished:
            yield "I11 nothing ended after the fault"
        return
    first = min(after) - history.fault_ended_at
    if first > RECOVERY_SECONDS:
        yield f"I11 work resumed only {first:.1f} s after the fault had ended"
