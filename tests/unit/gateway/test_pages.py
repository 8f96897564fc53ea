import re

from services.gateway import openapi, pages

PAGES = [pages.landing(), pages.docs(openapi.document())]


def test_pages_fetch_nothing_from_anywhere_else() -> None:
    for page in PAGES:
        assert not re.search(rb"(src|href)=\"(https?:)?//", page.body)
        assert b"<script" not in page.body
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_the_docs_list_every_call() -> None:
    text = PAGES[1].body.decode()
    for path in openapi.document()["paths"]:
        assert f"<code>{path}</code>" in text


def test_nothing_of_a_template_is_left_unfilled() -> None:
    for page in PAGES:
        assert b"$" not in page.body
