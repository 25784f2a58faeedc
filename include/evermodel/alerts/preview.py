"""A page that previews a message in Slack's layout."""

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
    """Render a message as one self-contained page.

    Parameters
    ----------
    message
        The message.
    image
        Content of a PNG to show below it.
    thread
        Name of the thread's first message, or None.
    """
    note = "Preview of a message that was not sent, because Airflow has no Slack connection."
    place = f"in the thread of {thread}" if thread else ""
    return _page(message, image=_address(image) if image else "", place=place, note=note)


def thread_html(first: Message, answers: Sequence[Message | bytes]) -> str:
    """Render a message and its thread as one self-contained page.

    Parameters
    ----------
    first
        The first message.
    answers
        Replies: messages, or contents of PNGs.
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
    """Parse the subset of Slack's mrkdwn that our messages use into kind, text and target of each piece.

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
