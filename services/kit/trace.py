"""W3C trace context: read it, carry it, hand it on. Spans are made elsewhere; this only keeps the thread unbroken."""

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """One hop of a trace."""

    trace_id: str
    span_id: str
    flags: str = "00"

    @property
    def traceparent(self) -> str:
        """The header to hand on."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    def child(self) -> "TraceContext":
        """Same trace, a span id of our own."""
        return TraceContext(self.trace_id, secrets.token_hex(8), self.flags)


current_trace: ContextVar[TraceContext | None] = ContextVar("current_trace", default=None)


def new_trace() -> TraceContext:
    """Begins a trace, not sampled."""
    return TraceContext(secrets.token_hex(16), secrets.token_hex(8))


def parse_traceparent(header: str | None) -> TraceContext | None:
    """Reads a traceparent header; None where it is absent or malformed, as the standard asks."""
    match = _TRACEPARENT.fullmatch(header) if header else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    # Versions after 00 may append fields; ff is none, and neither are ids of zeros only.
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, flags)
