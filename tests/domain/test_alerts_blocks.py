"""Every piece of a message keeps to Slack's limits, whatever it is filled with."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from evermodel.alerts import message, outbox, text
from evermodel.alerts.blocks import context, divider, fields, fitted, header, links_block, section
from evermodel.alerts.text import clipped, code, code_block, link, words
from support.slack_limits import block_problems, blocks_width, units

LONG = ["&" * 5000, "<" * 149 + "é", "😀" * 4000, "plain " * 2000]


@pytest.mark.parametrize("long", LONG)
def test_pieces_are_cut_to_their_limits(long: str) -> None:
    line = words(long)
    pieces = [
        header(long),
        section(*[line] * 200),
        section(code_block(long)),
        fields({f"{number}": "\n".join([line] * 5) for number in range(30)}),
        context(*[line] * 200),
        *links_block({f"{number} {long}": f"http://x.example/{'a' * 900}" for number in range(30)}),
    ]
    assert block_problems(pieces) == []


def test_a_section_drops_whole_lines_and_says_so() -> None:
    shown = section(*[f"{number:04d} {'x' * 95}" for number in range(100)])["text"]["text"].split("\n")
    assert shown[-1] == "…"
    assert all(len(line) == 100 for line in shown[:-1])
    assert len(shown) == 30


def test_many_blocks_are_fitted_and_the_tail_stays() -> None:
    tail = [context("the end")]
    small = fitted(header("title"), [divider()] * 80, tail)
    assert len(small) == 50
    assert small[-1] == tail[0]
    large = fitted(header("title"), [section("x" * 2900)] * 20, tail)
    assert blocks_width(large) <= 9000
    assert large[-1] == tail[0]
    assert "17 more parts did not fit" in large[-2]["elements"][0]["text"]


def test_nothing_is_cut_without_need() -> None:
    body = [section("x" * 2900)] * 3
    assert fitted(header("title"), body, [divider()]) == [header("title"), *body, divider()]


@pytest.mark.parametrize("most", range(2, 14))
def test_a_cut_never_splits_an_escape(most: int) -> None:
    cut = clipped("a&b<c>😀", most)
    assert units(cut) <= most
    rest = cut.removesuffix("…").replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    assert not set(rest) & set("&<>;")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://x.example/a b|c>d", "<https://x.example/a%20b%7Cc%3Ed|report>"),
        ("http://x.example/?a=1&b=é", "<http://x.example/?a=1&amp;b=%C3%A9|report>"),
        ("/tmp/report.html", "report `/tmp/report.html`"),
        ("javascript:alert(1)", "report `javascript:alert(1)`"),
    ],
)
def test_links_are_addresses_of_the_web_or_shown_as_they_are(url: str, shown: str) -> None:
    assert link(url, "report") == shown


def test_code_cannot_be_left() -> None:
    assert code("a`b\nc") == "`a'b c`"
    assert code("") == "`-`"
    assert "```" not in code_block("x```y").removeprefix("```").removesuffix("```")


@pytest.mark.parametrize("module", [message, outbox, text])
def test_examples_in_docstrings(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert (result.failed, result.attempted > 0) == (0, True)
