"""A document of headings, paragraphs, lists and tables, written as HTML or Markdown with all data escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from evermodel.alerts.text import one_line, printable

# An underscore acts only at the edge of a word.
_MARKS = re.compile(r"([\\`*\[\]|~#]|(?<!\w)_|_(?!\w))")
_WEB = re.compile(r"https?://", re.IGNORECASE)


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
    """A heading and what stands below it."""

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


def to_html(sections: Sequence[PageSection]) -> str:
    """Write sections as HTML, to be put into a page."""
    return "\n".join(
        f"<section><h2>{escaped(section.title)}</h2>{''.join(map(part_html, section.parts))}</section>"
        for section in sections
    )


def escaped(text: object) -> str:
    """Return data as HTML text: nothing in it is a tag, and everything in it can be shown."""
    return html.escape(printable(text))


def marked(text: object) -> str:
    """Return data as one line of Markdown text, with every mark made harmless.

    >>> marked("a|b <c> _d_")
    'a\\\\|b &lt;c&gt; \\\\_d\\\\_'
    """
    return _MARKS.sub(r"\\\1", html.escape(one_line(text), quote=False))


def part_html(part: Part) -> str:
    """Write one part as HTML."""
    match part:
        case Paragraph(text):
            return f"<p>{escaped(text)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{escaped(item)}</li>" for item in items) + "</ul>"
        case Links(addresses):
            return '<p class="links">' + " ".join(_anchor(k, v) for k, v in addresses.items()) + "</p>"
        case PageTable(head, rows):
            top = "".join(f"<th>{escaped(cell)}</th>" for cell in head)
            body = "".join(_row(row) for row in rows)
            return (
                f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
            )


def _row(row: Sequence[object]) -> str:
    verdict = str(row[0])
    mark = f' class="{verdict}"' if verdict in ("pass", "fail", "warn") else ""
    return f"<tr{mark}>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>"


def _anchor(label: str, address: str) -> str:
    if not _WEB.match(address):
        return f"<span>{escaped(label)}: {escaped(address)}</span>"
    return f'<a href="{escaped(address)}" target="_blank" rel="noopener">{escaped(label)}</a>'


def _markdown(part: Part) -> list[str]:
    match part:
        case Paragraph(text):
            return [marked(text)]
        case Bullets(items):
            return [f"- {marked(item)}" for item in items]
        case Links(addresses):
            return [" · ".join(f"[{marked(label)}](<{address}>)" for label, address in addresses.items())]
        case PageTable(head, rows):
            lines = [_cells(head), "|" + "---|" * len(head)]
            return lines + [_cells(row) for row in rows]


def _cells(cells: Sequence[object]) -> str:
    return "| " + " | ".join(marked(cell) for cell in cells) + " |"
