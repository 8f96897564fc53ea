from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from services.kit.settings import Duration, Words

DURATION: TypeAdapter[timedelta] = TypeAdapter(Duration)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250ms", timedelta(milliseconds=250)),
        ("10s", timedelta(seconds=10)),
        ("5m", timedelta(minutes=5)),
        ("1h", timedelta(hours=1)),
        ("1.5", timedelta(seconds=1.5)),
        (" 2 s ", timedelta(seconds=2)),
        ("0", timedelta(0)),
    ],
)
def test_a_duration_is_a_number_with_its_unit(text: str, expected: timedelta) -> None:
    assert DURATION.validate_python(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "s", "inf", "nan", "-1s", "1e400s", "10 days", "99999999h"])
def test_what_is_no_duration_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(ValidationError):
        DURATION.validate_python(text)


@given(st.text())
def test_no_text_makes_reading_a_duration_fail_otherwise(text: str) -> None:
    with suppress(ValidationError):
        DURATION.validate_python(text)


def test_words_are_separated_by_commas_and_blanks_are_dropped() -> None:
    assert TypeAdapter(Words).validate_python(" a, b ,,c ") == ("a", "b", "c")
