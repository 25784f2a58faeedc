"""The outbox: a folder for messages, with previews, used without Slack."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from evermodel.alerts.message import Message
from evermodel.alerts.outbox_index import MESSAGE_FILE, PREVIEW_FILE, keep_state, write_index
from evermodel.core.formats import loads, stamped
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


IMAGE_FILE = "image.png"
_MOST_NAME = 120


def folder_name(message: Message) -> str:
    """Return the name of a message's folder, unique per key."""
    wanted = f"{message.model}-{message.key}"
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", wanted).strip("._")
    if safe == wanted and len(safe) <= _MOST_NAME:
        return safe
    digest = hashlib.sha256(wanted.encode("utf-8", "backslashreplace")).hexdigest()[:10]
    return f"{safe[:_MOST_NAME]}-{digest}"


def write_to_outbox(folder: Path, message: Message, image: Path | None, thread: str | None) -> Path:
    """Write a message to the outbox; the same key always writes the same folder.

    Parameters
    ----------
    image
        A PNG for the message.
    thread
        Name of the thread's first message, or None.

    Returns
    -------
    Folder of the message, with ``message.json``, ``preview.html`` and, with an image, ``image.png``; previews of earlier
    states are ``earlier-<time>.html``. The outbox's ``index.html`` lists all messages.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / folder_name(message)
    _publish(_draft(folder, message, image, thread), target)
    return target


def rewrite_in_outbox(target: Path, message: Message, image: Path | None = None) -> Path:
    """Replace a message in the outbox, keeping its folder and thread, and its image if none is given.

    Parameters
    ----------
    image
        A PNG for the message.
    """
    image, stored = image or target / IMAGE_FILE, target / MESSAGE_FILE
    thread = loads(stored.read_text(encoding="utf-8"), stored)["thread"] if stored.exists() else None
    target.parent.mkdir(parents=True, exist_ok=True)
    _publish(_draft(target.parent, message, image if image.exists() else None, thread), target)
    return target


def _draft(folder: Path, message: Message, image: Path | None, thread: str | None) -> Path:
    draft = folder / f".draft-{uuid.uuid4().hex}"
    draft.mkdir()
    content = {**message.to_json(), "thread": thread, "image": IMAGE_FILE if image else None}
    if image:
        shutil.copyfile(image, draft / IMAGE_FILE)
    preview = preview_html(message, image.read_bytes() if image else None, thread)
    (draft / PREVIEW_FILE).write_text(preview, encoding="utf-8", errors="replace")
    # ASCII, so that a lone surrogate in the data cannot block the message.
    (draft / MESSAGE_FILE).write_text(json.dumps(stamped(content), indent=2), encoding="utf-8")
    return draft


def _publish(draft: Path, target: Path) -> None:
    """Move a draft to its folder: as a whole if the folder is new, otherwise file by file, atomically."""
    try:
        os.rename(draft, target)
    except OSError:
        if not target.is_dir():
            raise
        old = target / PREVIEW_FILE
        if old.exists() and old.read_bytes() != (draft / PREVIEW_FILE).read_bytes():
            keep_state(old)
        for name in (IMAGE_FILE, PREVIEW_FILE, MESSAGE_FILE):
            if (draft / name).exists():
                os.replace(draft / name, target / name)
        draft.rmdir()
    write_index(target.parent)
