"""The order in which an attempt told things, small enough to keep with its row.

A timeline is a list of integers, one per report, in order; the report's number is its place, from 1. A phase is
`-status`; a run of output is `stream << 24 | length`. With the stored output it gives back every event exactly,
so a watcher can resume long after the live stream has expired.
"""

import struct
from collections.abc import Iterator, Sequence

from sentinel.v1 import event_pb2, evidence_pb2, submission_pb2

from services.record.model import SEQUENCE_BASE, Record

_LENGTH_BITS = 24
_LENGTH_MASK = (1 << _LENGTH_BITS) - 1


def mark_status(status: "submission_pb2.Status.ValueType") -> int:
    """Entry for a change of status."""
    return -int(status)


def mark_output(stream: "evidence_pb2.Stream.ValueType", length: int) -> int:
    """Entry for `length` bytes of output (1 to 65536)."""
    return int(stream) << _LENGTH_BITS | length


def pack(timeline: Sequence[int]) -> bytes:
    """As stored: little-endian 32-bit integers."""
    return struct.pack(f"<{len(timeline)}i", *timeline)


def unpack(stored: bytes) -> tuple[int, ...]:
    """The inverse of `pack`."""
    return struct.unpack(f"<{len(stored) // 4}i", stored)


def replay(record: Record, after: int) -> Iterator[event_pb2.Event]:
    """The events of a terminal record's last attempt after sequence `after`, exactly as they were told."""
    kept = {
        evidence_pb2.STREAM_STDOUT: record.stdout,
        evidence_pb2.STREAM_STDERR: record.stderr,
        evidence_pb2.STREAM_COMPILE: record.compile_output,
    }
    offsets = dict.fromkeys(kept, 0)
    for number, entry in enumerate(record.timeline, start=1):
        event = event_pb2.Event(sequence=record.attempt * SEQUENCE_BASE + number, attempt=record.attempt)
        if entry < 0:
            event.status.status = submission_pb2.Status.ValueType(-entry)
        elif entry > 0:
            stream = evidence_pb2.Stream.ValueType(entry >> _LENGTH_BITS)
            offset, length = offsets[stream], entry & _LENGTH_MASK
            offsets[stream] = offset + length
            event.output.stream = stream
            event.output.offset = offset
            event.output.data = kept[stream][offset : offset + length]
        else:
            continue
        if event.sequence > after:
            yield event
