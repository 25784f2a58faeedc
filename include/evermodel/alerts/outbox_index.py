"""The outbox as a page: every message with its thread and its earlier states."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from evermodel.core.atomic import write_text
from evermodel.core.errors import EvermodelError
from evermodel.core.formats import loads
from evermodel.core.html import render

MESSAGE_FILE = "message.json"
PREVIEW_FILE = "preview.html"
INDEX_FILE = "index.html"
_EARLIER = "earlier-*.html"
_MOST = 300


@dataclass
class OutboxEntry:
    """One message of the outbox.

    Parameters
    ----------
    changed
        When its last state was written.
    page
        Its preview, relative to the outbox.
    earlier
        Previews of its earlier states, the oldest first, with the times at which they were written.
    answers
        The messages of its thread, the oldest first.
    """

    title: str
    severity: str
    changed: datetime
    page: str
    earlier: list[tuple[datetime, str]]
    answers: list[OutboxEntry] = field(default_factory=list)


def outbox_entries(folder: Path) -> list[OutboxEntry]:
    """Return the last 300 messages of an outbox, those that changed last first; answers are with their first message."""
    files = sorted(folder.glob(f"*/{MESSAGE_FILE}"), key=lambda path: path.stat().st_mtime)[-_MOST:]
    read = {path.parent.name: found for path in files if (found := _entry(path))}
    first: list[OutboxEntry] = []
    for entry, thread in read.values():
        (read[thread][0].answers if thread in read else first).append(entry)
    return sorted(first, key=_last_change, reverse=True)


def write_index(folder: Path) -> None:
    """Write the page of an outbox."""
    entries = outbox_entries(folder)
    write_text(folder / INDEX_FILE, render("alerts/templates/outbox.html", entries=entries))


def keep_state(preview: Path) -> None:
    """Keep the preview that is about to be replaced as an earlier state; again it is the same file."""
    written = preview.stat().st_mtime_ns
    kept = preview.with_name(_EARLIER.replace("*", str(written)))
    if not kept.exists():
        write_text(kept, preview.read_text(encoding="utf-8", errors="replace"))


def _entry(path: Path) -> tuple[OutboxEntry, str | None] | None:
    try:
        stored = loads(path.read_text(encoding="utf-8"), path)
    except (OSError, ValueError, EvermodelError):
        return None  # damaged, or of a later release: the others are shown
    name = path.parent.name
    earlier = sorted(path.parent.glob(_EARLIER), key=_written_ns)
    return (
        OutboxEntry(
            str(stored["title"]),
            str(stored["severity"]),
            _moment(path.stat().st_mtime_ns),
            f"{name}/{PREVIEW_FILE}",
            [(_moment(_written_ns(one)), f"{name}/{one.name}") for one in earlier],
        ),
        stored.get("thread"),
    )


def _written_ns(path: Path) -> int:
    return int(path.stem.partition("-")[2])


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)


def _last_change(entry: OutboxEntry) -> datetime:
    return max(one.changed for one in with_answers([entry]))


def with_answers(entries: Iterable[OutboxEntry]) -> list[OutboxEntry]:
    """Return messages, each followed by those of its thread."""
    return [one for entry in entries for one in (entry, *with_answers(entry.answers))]
