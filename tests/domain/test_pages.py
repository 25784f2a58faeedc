"""No text of people or of data changes what a page is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from support.hostile_pages import PAGES, a_decision_page, a_preview, a_thread

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> & </style></title></td> {{ 7 * 7 }} \ufcbe"
wild = st.lists(
    st.sampled_from(
        ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"', "'", "&", "&lt;b&gt;", "</td>", "-->", "\x00", "\u202e", "\ud800"]
    )
    | st.text(max_size=10),
    max_size=8,
).map("".join)  # fmt: skip


class Made(HTMLParser):
    """Counts the tags of a page with the names of their attributes; keeps its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[tuple[str, ...]] = Counter()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag, *(name for name, _ in attrs)] += 1

    def handle_data(self, data: str) -> None:
        self.text += data


@cache
def plain_page(page: Callable[[str], str]) -> Made:
    return Made(page("plain"))


def assert_text_stays_text(page: Callable[[str], str], text: str) -> None:
    made, plain = Made(page(text)), plain_page(page)
    assert made.tags.keys() <= plain.tags.keys() | {("br",)}
    if page not in (a_preview, a_thread):  # in a message, a line break of a text is a tag
        assert made.tags == plain.tags
    assert "\x00" not in made.text


@pytest.mark.parametrize("page", PAGES)
@settings(max_examples=20, deadline=None)
@given(text=wild)
@example(text=EVIL)
def test_no_text_becomes_a_tag(page: Callable[[str], str], text: str) -> None:
    assert_text_stays_text(page, text)


@settings(max_examples=2, deadline=None, phases=(Phase.explicit, Phase.generate))  # a page takes a second
@given(text=wild)
@example(text=EVIL)
def test_no_text_becomes_a_tag_of_a_decision_page(text: str) -> None:
    assert_text_stays_text(a_decision_page, text)


@pytest.mark.parametrize("page", [*PAGES, a_decision_page])
def test_a_text_is_shown_as_it_is(page: Callable[[str], str]) -> None:
    assert "<i>me & you</i>" in Made(page("<i>me & you</i>")).text
