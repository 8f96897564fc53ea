"""Endpoints as people write them."""

import pytest

from cli.connection import Endpoint


@pytest.mark.parametrize(
    ("text", "shown", "secure", "local"),
    [
        ("localhost:8080", "localhost:8080", False, True),
        ("localhost", "localhost:8080", False, True),
        ("http://127.0.0.1:9/", "127.0.0.1:9", False, True),
        ("https://example.org", "example.org:443", True, False),
        ("[::1]:8080", "[::1]:8080", False, True),
        ("example.org:80", "example.org:80", False, False),
    ],
)
def test_endpoints_are_read_as_people_write_them(*, text: str, shown: str, secure: bool, local: bool) -> None:
    endpoint = Endpoint.parse(text)

    assert (shown, secure, local) == (str(endpoint), endpoint.secure, endpoint.local)


def test_a_machine_far_away_is_not_started_with_make() -> None:
    assert "make up" not in Endpoint.parse("example.org").silence().text
