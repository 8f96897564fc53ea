from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentinel.v1 import submission_pb2

from services.gateway import page_token
from services.gateway.page_token import Filters
from services.kit.errors import InvalidField

ANY = Filters(submission_pb2.STATUS_UNSPECIFIED, "")
ids = st.uuids()
filters = st.builds(Filters, st.sampled_from(submission_pb2.Status.values()), st.text(max_size=8))


@given(ids, filters)
def test_a_token_gives_back_where_the_list_goes_on(last: UUID, under: Filters) -> None:
    assert page_token.read(page_token.make(last, under), under) == last


@given(ids, filters, filters)
def test_a_token_is_refused_under_other_filters(last: UUID, made: Filters, asked: Filters) -> None:
    if made == asked:
        return
    with pytest.raises(InvalidField, match="other filters"):
        page_token.read(page_token.make(last, made), asked)


@given(st.text(min_size=1, max_size=512))
def test_what_is_no_token_is_refused_and_named(text: str) -> None:
    with pytest.raises(InvalidField) as refused:
        page_token.read(text, ANY)
    assert refused.value.violations[0].field == "page_token"


def test_no_token_is_the_first_page() -> None:
    assert page_token.read("", ANY) is None


@given(ids, filters)
def test_a_token_fits_the_rule_of_the_request_and_needs_no_escaping(last: UUID, under: Filters) -> None:
    token = page_token.make(last, under)
    assert len(token) <= 512
    assert token.replace("-", "").replace("_", "").isalnum()
