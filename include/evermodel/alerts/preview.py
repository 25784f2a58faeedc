"""A page that shows a message about as Slack would, for people without Slack."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence

from evermodel.alerts.message import Message
from evermodel.core.html import render

_MARKS = re.compile(
    r"```\n?(?P<block>.*?)\n?```|`(?P<code>[^`\n]+)`|<(?P<url>https?://[^|>\s]+)\|(?P<label>[^>]*)>"
    r"|<(?:@|!(?:subteam\^)?)(?P<mention>\w+)>"
    r"|(?<![\w*])\*(?P<bold>[^*\n]+)\*(?![\w*])",
    re.DOTALL,
)


def preview_html(message: Message, image: bytes | None, thread: str | None) -> str:
    """Draw a message as one page without outside parts.

    Parameters
    ----------
    message
        What to show.
    image
        Content of a PNG to show below it.
    thread
        Name of the message it answers to, or None.
    """
    note = "Preview of a message that was not sent: there is no Slack connection in Airflow."
    place = f"in the thread of {thread}" if thread else ""
    return _page(message, image=_address(image) if image else "", place=place, note=note)


def thread_html(first: Message, answers: Sequence[Message | bytes]) -> str:
    """Draw a message and its thread as one page without outside parts.

    Parameters
    ----------
    first
        The first message.
    answers
        Messages, or contents of PNGs, that answer to it.
    """
    drawn = [_address(answer) if isinstance(answer, bytes) else answer for answer in answers]
    return _page(first, answers=drawn)


def _page(
    first: Message, *, image: str = "", place: str = "", note: str = "", answers: Sequence[Message | str] = ()
) -> str:
    values = {"first": first, "image": image, "place": place, "note": note, "answers": answers}
    return render("alerts/templates/preview.html", **values, pieces=mrkdwn_pieces, plain=_plain)


def _address(image: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


def mrkdwn_pieces(text: str) -> Iterator[tuple[str, str, str]]:
    """Take Slack's mrkdwn apart, as far as our messages use it: what each piece is, its text, and where it leads.

    Examples
    --------
    >>> list(mrkdwn_pieces("*a* &lt; `b`"))
    [('text', '', ''), ('bold', 'a', ''), ('text', ' < ', ''), ('code', 'b', ''), ('text', '', '')]
    """
    end = 0
    for mark in _MARKS.finditer(text):
        yield "text", _plain(text[end : mark.start()]), ""
        kind = mark.lastgroup or ""
        yield kind, _plain(mark[kind]), _plain(mark["url"] or "")
        end = mark.end()
    yield "text", _plain(text[end:]), ""


def _plain(text: str) -> str:
    """Undo Slack's three escapes."""
    for escaped, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(escaped, character)
    return text
