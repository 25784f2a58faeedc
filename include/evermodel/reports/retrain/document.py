"""A document of headings, paragraphs, lists and tables, rendered by templates or as Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from evermodel.alerts.text import one_line

# An underscore acts only at the edge of a word.
_OF_ADDRESSES = "%/:?#@!$&*+,;=~"
_MARKS = re.compile(r"([\\`*\[\]|~#]|(?<!\w)_|_(?!\w))")


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of short texts."""

    items: Sequence[str]


@dataclass(frozen=True)
class PageTable:
    """Rows of cells; a row whose first cell is a verdict is coloured by it on a page."""

    head: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Links:
    """Labels and addresses."""

    addresses: dict[str, str]


Part = Paragraph | Bullets | PageTable | Links


@dataclass(frozen=True)
class PageSection:
    """A heading and its content."""

    title: str
    parts: Sequence[Part]


def to_markdown(title: str, sections: Sequence[PageSection]) -> str:
    """Write a document as Markdown (GitHub's dialect, which MLflow shows)."""
    lines = [f"# {marked(title)}", ""]
    for section in sections:
        lines += [f"## {marked(section.title)}", ""]
        for part in section.parts:
            lines += [*_markdown(part), ""]
    return "\n".join(lines)


def marked(text: object) -> str:
    """Return data as one line of Markdown text, with all markup escaped.

    >>> marked("a|b <c> _d_")
    'a\\\\|b &lt;c&gt; \\\\_d\\\\_'
    """
    return _MARKS.sub(r"\\\1", html.escape(one_line(text), quote=False))


def _markdown(part: Part) -> list[str]:
    match part:
        case Paragraph(text):
            return [marked(text)]
        case Bullets(items):
            return [f"- {marked(item)}" for item in items]
        case Links(addresses):
            return [" · ".join(_link(label, address) for label, address in addresses.items())]
        case PageTable(head, rows):
            lines = [_cells(head), "|" + "---|" * len(head)]
            return lines + [_cells(row) for row in rows]


def _link(label: str, address: str) -> str:
    if not address.lower().startswith(("http://", "https://")):
        return f"{marked(label)}: {marked(address)}"
    return f"[{marked(label)}](<{quote(address, safe=_OF_ADDRESSES)}>)"


def _cells(cells: Sequence[object]) -> str:
    return "| " + " | ".join(marked(cell) for cell in cells) + " |"
