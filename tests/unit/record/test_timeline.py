from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from sentinel.v1 import evidence_pb2, submission_pb2

from services.record import timeline
from services.record.model import SEQUENCE_BASE, Record, State, Verdict

STREAMS = [evidence_pb2.STREAM_STDOUT, evidence_pb2.STREAM_STDERR, evidence_pb2.STREAM_COMPILE]
NOW = datetime(2026, 11, 23, tzinfo=UTC)

reports = st.lists(
    st.one_of(
        st.sampled_from([submission_pb2.COMPILING, submission_pb2.RUNNING]),
        st.tuples(st.sampled_from(STREAMS), st.binary(min_size=1, max_size=40)),
    ),
    max_size=30,
)


def record(told: list[object]) -> Record:
    kept = dict.fromkeys(STREAMS, b"")
    entries = []
    for report in told:
        if isinstance(report, tuple):
            kept[report[0]] += report[1]
            entries.append(timeline.mark_output(report[0], len(report[1])))
        else:
            entries.append(timeline.mark_status(report))  # type: ignore[arg-type]
    return Record(
        id=UUID(int=7),
        language="c",
        state=State.FINISHED,
        verdict=Verdict.SUCCESS,
        request=b"",
        attempt=2,
        exit_code=0,
        signal=None,
        evidence=None,
        stdout=kept[STREAMS[0]],
        stderr=kept[STREAMS[1]],
        compile_output=kept[STREAMS[2]],
        timeline=timeline.unpack(timeline.pack(entries)),
        failure_reason=None,
        failure_message=None,
        created_at=NOW,
        started_at=NOW,
        finished_at=NOW,
        updated_at=NOW,
    )


@given(reports)
def test_a_timeline_gives_back_every_report_in_its_order_with_its_bytes(told: list[object]) -> None:
    events = list(timeline.replay(record(told), 0))
    assert [event.sequence for event in events] == [2 * SEQUENCE_BASE + n for n in range(1, len(told) + 1)]
    again: list[object] = [
        (event.output.stream, event.output.data) if event.HasField("output") else event.status.status
        for event in events
    ]
    assert again == told


@given(reports, st.integers(0, 31))
def test_replaying_after_a_sequence_leaves_out_exactly_what_came_before(told: list[object], number: int) -> None:
    whole = list(timeline.replay(record(told), 0))
    after = 2 * SEQUENCE_BASE + number
    assert list(timeline.replay(record(told), after)) == [event for event in whole if event.sequence > after]
