"""UUIDv7: 48 bits of Unix milliseconds, then random bits, rising within one process."""

import secrets
import threading
import time
from uuid import UUID

_COUNTER_BITS = 12


class UuidSource:
    """Gives ids that sort by time; within one millisecond a counter keeps them rising."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_ms = 0
        self._counter = 0

    def next(self) -> UUID:
        """A fresh id."""
        with self._lock:
            now = time.time_ns() // 1_000_000
            if now > self._last_ms:
                self._last_ms = now
                self._counter = secrets.randbits(_COUNTER_BITS - 1)
            else:
                self._counter += 1
                if self._counter >> _COUNTER_BITS:
                    # Exhausted: borrow the next millisecond rather than wait for it.
                    self._last_ms += 1
                    self._counter = 0
            ms, counter = self._last_ms, self._counter
        return UUID(int=ms << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | secrets.randbits(62))
