"""Text from data, made safe for Slack's mrkdwn: escaped, on one line, and never longer than allowed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from urllib.parse import quote

from evermodel.core.html import printable

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_CREDENTIALS = re.compile(r"(?<=://)[^\s/@]+@|\bxox[a-z]-[\w-]+")
_STROKES = str.maketrans(
    {
        "→": "->",
        "…": "...",
        "·": "-",
        "•": "-",
        "≥": ">=",
        "≤": "<=",
        "\u2013": "-",
        "\u2014": "-",
        "\u2212": "-",
    }
)
_MENTION = re.compile("here|channel")
_LINK = re.compile(r"https?://", re.IGNORECASE)


def width(text: str) -> int:
    """Length as Slack counts it: in UTF-16 units, so that an emoji counts twice."""
    return len(text) + sum(character > "\uffff" for character in text)


def redacted(text: str) -> str:
    """Return text without Slack tokens and without the user part of addresses."""
    return _CREDENTIALS.sub("***", text)


def plain_strokes(text: str) -> str:
    """Return text with typographic strokes and arrows written in ASCII; names in the data stay as they are.

    >>> plain_strokes("0.71 → 0.73 · ≥ 0.7")
    '0.71 -> 0.73 - >= 0.7'
    """
    return text.translate(_STROKES)


def mention(name: str) -> str:
    """Return a Slack mention: of a person (U...), a group (S...), ``here`` or ``channel``.

    >>> mention("U024BE7LH"), mention("S0614TZR7"), mention("here")
    ('<@U024BE7LH>', '<!subteam^S0614TZR7>', '<!here>')
    """
    if _MENTION.fullmatch(name):
        return f"<!{name}>"
    return f"<!subteam^{name}>" if name.startswith("S") else f"<@{name}>"


def one_line(text: object) -> str:
    """Return text with every run of white space as one blank."""
    return " ".join(printable(text).split())


def instant(iso: str) -> str:
    """Return an ISO time as part of a message's key, which no release may word differently."""
    return iso.removesuffix("T00:00:00+00:00").removesuffix("T00:00:00Z").removesuffix("T00:00:00")


def moment(iso: str) -> str:
    """Return an ISO time as a person reads it: to the minute in UTC, and without its clock where that is midnight.

    Examples
    --------
    >>> moment("2013-08-01T00:00:00+00:00"), moment("2013-08-01T06:00:00+00:00")
    ('2013-08-01', '2013-08-01 06:00 UTC')
    """
    try:
        found = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    return f"{found:%Y-%m-%d}" if found.time() == time() else f"{found:%Y-%m-%d %H:%M} UTC"


def clipped(text: str, most: int) -> str:
    """Escape text for Slack and cut it, so that the escaped form has at most ``most`` characters.

    Parameters
    ----------
    most
        Upper limit of the result's width; the cut is marked with an ellipsis and never splits an escape.

    Examples
    --------
    >>> clipped("a < b & c", 80)
    'a &lt; b &amp; c'
    >>> clipped("<<<<", 9)
    '&lt;&lt;…'
    """
    pieces = [_ESCAPES.get(character, character) for character in text]
    if sum(map(width, pieces)) <= most:
        return "".join(pieces)
    kept, room = [], most - 1
    for piece in pieces:
        room -= width(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + "…"


def words(text: object, most: int = 300) -> str:
    """Return data as one escaped line of running text, its formatting marks made harmless."""
    # A mrkdwn mark works only at the edge of a word; a zero-width space after it disables it.
    line = re.sub(r"([*~]|(?<!\w)_|_(?!\w))", "\\1\u200b", one_line(text).replace("`", "'"))
    return clipped(line, most)


def code(text: object, most: int = 100) -> str:
    """Return data as an inline code span; use it for names of columns, models and runs."""
    inner = clipped(one_line(text).replace("`", "'"), most - 2)
    return f"`{inner or '-'}`"


def code_block(text: object, most: int = 1500) -> str:
    """Return data as a code block that keeps its lines."""
    inner = clipped(printable(text).strip().replace("```", "'''"), most - 8)
    return f"```\n{inner or '-'}\n```"


def link(url: str, label: object) -> str:
    """Return a link, or the bare location if it is not a web address."""
    name = clipped(one_line(label).replace("|", "/"), 75) or "link"
    if not _LINK.match(url):
        return f"{name} {code(url, 400)}"
    # Slack requires "&" in an address to be escaped.
    safe = quote(printable(url), safe=":/?#[]@!$&'()*+,;=%~-._").replace("&", "&amp;")
    return f"<{safe}|{name}>"
