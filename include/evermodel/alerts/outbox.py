"""The outbox: a folder for messages, with previews, used without Slack."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from pathlib import Path

from evermodel.alerts.message import Message
from evermodel.alerts.preview import preview_html
from evermodel.core.formats import loads, stamped

MESSAGE_FILE = "message.json"
PREVIEW_FILE = "preview.html"
IMAGE_FILE = "image.png"
_MOST_NAME = 120


def folder_name(message: Message) -> str:
    """Return the name of a message's folder, unique per key.

    Parameters
    ----------
    message
        The message; model and key define the name.
    """
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
    folder
        The outbox; created if missing.
    message
        The message.
    image
        A PNG for the message.
    thread
        Name of the thread's first message, or None.

    Returns
    -------
    Folder of the message, with ``message.json``, ``preview.html`` and, with an image, ``image.png``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / folder_name(message)
    _publish(_draft(folder, message, image, thread), target)
    return target


def rewrite_in_outbox(target: Path, message: Message, image: Path | None = None) -> Path:
    """Replace a message in the outbox, keeping its folder and thread, and its image if none is given.

    Parameters
    ----------
    target
        The folder that `write_to_outbox` returned.
    message
        The new message.
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
        for name in (IMAGE_FILE, PREVIEW_FILE, MESSAGE_FILE):
            if (draft / name).exists():
                os.replace(draft / name, target / name)
        draft.rmdir()
