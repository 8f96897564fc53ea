"""What an attempt has to say: numbered, kept until the scheduler is done with it, sent within its credit."""

import asyncio
import time
from collections.abc import Callable

from sentinel.v1 import evidence_pb2, executor_pb2

CHUNK_MOST = 32 << 10
"""Bytes. A chunk this big goes out at once, and none is bigger."""
CHUNK_EVERY = 0.020
"""Seconds between chunks of one stream, while output trickles."""
FIRST_WAITS = 0.001
"""Seconds that bytes wait after a pause: a line and its end are often two writes."""
PHASE_MAY_WAIT = 0.020
"""Seconds a phase's start may wait for something to go with. Watchers know from the claim that it runs."""
YOUNG = 0.050
YOUNG_MAY_WAIT = 0.003
"""Seconds. What a program says before it is so old may wait so long: most programs end right after their first words,
and then words and end are one message, one round of events and one wake-up."""


class Reports:
    """The reports of one attempt.

    `changed` is called whenever there may be something to send, with the seconds that it may wait. A number, once
    given, belongs to the same report for ever: sending all of them again changes nothing.
    """

    def __init__(
        self,
        lease_token: bytes,
        changed: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lease_token = lease_token
        self._changed = changed
        self._clock = clock
        self._begun = clock()
        self._kept: list[executor_pb2.Report] = []
        self._sent = 0
        self._credit = 0
        self._ended = False

    @property
    def ended(self) -> bool:
        """The last report is there."""
        return self._ended

    def phase(self, phase: evidence_pb2.Phase.ValueType) -> None:
        """A phase began."""
        self._keep(executor_pb2.Report(phase=executor_pb2.PhaseStarted(phase=phase)), may_wait=PHASE_MAY_WAIT)

    def output(self, stream: evidence_pb2.Stream.ValueType, offset: int, data: bytes) -> None:
        """Output arrived."""
        young = self._clock() - self._begun < YOUNG
        chunk = executor_pb2.OutputChunk(stream=stream, offset=offset, data=data)
        self._keep(executor_pb2.Report(output=chunk), may_wait=YOUNG_MAY_WAIT if young else 0)

    def finished(self, verdict: executor_pb2.Verdict.ValueType, evidence: evidence_pb2.Evidence) -> None:
        """The end, with a verdict."""
        self._ended = True
        self._keep(executor_pb2.Report(finished=executor_pb2.Finished(verdict=verdict, evidence=evidence)))

    def abandoned(self, reason: str, message: str) -> None:
        """The end, without one."""
        self._ended = True
        report = executor_pb2.Report()
        report.abandoned.failure.reason = reason
        report.abandoned.failure.message = message
        self._keep(report)

    def begin_session(self, credit: int) -> None:
        """A new connection: everything is sent again, from number 1, on fresh credit."""
        self._sent = 0
        self._credit = credit
        if self._kept:
            self._changed(0)

    def add_credit(self, amount: int) -> None:
        """The scheduler takes so many bytes of output more."""
        self._credit += amount
        if self._sent < len(self._kept):
            self._changed(0)

    def next_nowait(self) -> executor_pb2.Report | None:
        """The next report to send, or None while there is none or its output exceeds the credit."""
        if self._sent == len(self._kept):
            return None
        report = self._kept[self._sent]
        size = len(report.output.data)
        if size > self._credit:
            return None
        self._credit -= size
        self._sent += 1
        return report

    def _keep(self, report: executor_pb2.Report, *, may_wait: float = 0) -> None:
        report.lease_token = self._lease_token
        report.number = len(self._kept) + 1
        self._kept.append(report)
        self._changed(may_wait)


class Chunker:
    """Gathers the bytes of one stream into chunks, by size or time, never within a code point; the first soon.

    `emit(offset, data)` gets them. Bytes that are no UTF-8 pass as they are.
    """

    def __init__(
        self,
        emit: Callable[[int, bytes], None],
        call_later: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._emit = emit
        self._call_later = call_later
        self._clock = clock
        self._pending = bytearray()
        self._offset = 0
        self._last = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def add(self, data: bytes) -> None:
        """Takes bytes as they were read."""
        self._pending += data
        while len(self._pending) >= CHUNK_MOST:
            self._flush(CHUNK_MOST)
        if self._pending and self._timer is None:
            wait = max(FIRST_WAITS, self._last + CHUNK_EVERY - self._clock())
            self._timer = self._call_later(wait, self._on_timer)

    def end(self) -> None:
        """Nothing follows: what is left goes out, whole code points or not."""
        self._cancel_timer()
        if self._pending:
            self._send(len(self._pending))

    def _on_timer(self) -> None:
        self._timer = None
        self._flush(len(self._pending))

    def _flush(self, size: int) -> None:
        self._cancel_timer()
        whole = size - incomplete_tail(self._pending[max(0, size - 3) : size])
        if whole > 0:
            self._send(whole)

    def _send(self, size: int) -> None:
        data = bytes(self._pending[:size])
        del self._pending[:size]
        self._last = self._clock()
        self._emit(self._offset, data)
        self._offset += size

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def incomplete_tail(data: bytes | bytearray) -> int:
    """How many bytes at the end, 0 to 3, begin a UTF-8 code point that could still become whole."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:  # not a continuation: here a code point begins, or nothing that could be one
            needed = 2 if 0xC2 <= byte <= 0xDF else 3 if 0xE0 <= byte <= 0xEF else 4 if 0xF0 <= byte <= 0xF4 else 1
            return back if needed > back else 0
    return 0
