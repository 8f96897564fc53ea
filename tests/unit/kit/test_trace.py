from hypothesis import example, given
from hypothesis import strategies as st

from services.kit.trace import TraceContext, new_trace, parse_traceparent

HEX = "0123456789abcdef"


def words(length: int) -> st.SearchStrategy[str]:
    return st.text(HEX, min_size=length, max_size=length).filter(lambda word: set(word) != {"0"})


@given(words(32), words(16), st.text(HEX, min_size=2, max_size=2))
def test_what_is_handed_on_is_read_back_unchanged(trace_id: str, span_id: str, flags: str) -> None:
    trace = TraceContext(trace_id, span_id, flags)
    assert parse_traceparent(trace.traceparent) == trace


@given(st.text())
@example("00-" + "0" * 32 + "-" + "1" * 16 + "-00")
@example("00-" + "1" * 32 + "-" + "0" * 16 + "-00")
@example("ff-" + "1" * 32 + "-" + "1" * 16 + "-00")
@example("00-" + "1" * 32 + "-" + "1" * 16 + "-00\n")
@example("00-" + "1" * 32 + "-" + "1" * 16 + "-00-more")
@example("00-" + "A" * 32 + "-" + "1" * 16 + "-00")
def test_what_the_standard_calls_invalid_begins_a_new_trace(header: str) -> None:
    assert parse_traceparent(header) is None


def test_an_absent_header_begins_a_new_trace() -> None:
    assert parse_traceparent(None) is None


def test_a_later_version_may_append_fields() -> None:
    header = "01-" + "1" * 32 + "-" + "2" * 16 + "-01-more"
    assert parse_traceparent(header) == TraceContext("1" * 32, "2" * 16, "01")


def test_a_child_keeps_the_trace_and_has_a_span_of_its_own() -> None:
    parent = new_trace()
    child = parent.child()
    assert (child.trace_id, child.flags) == (parent.trace_id, parent.flags)
    assert child.span_id != parent.span_id
