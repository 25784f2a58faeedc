"""The durable queue of messages: files in the lake, in order, each written before anything is sent."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from evermodel.alerts.queued_message import Destination, QueuedMessage
from evermodel.alerts.transport import Delivery
from evermodel.core.atomic import replacing, write_text
from evermodel.core.formats import loads, stamped

_MOST_RECEIPTS = 2000
_LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class MessageQueue:
    """Messages that wait to be sent, and the receipts of those that were.

    Each destination is a folder: ``waiting/`` holds the entries in the order of their names, ``sent/`` the receipts by
    key, ``refused/`` what was not taken. A message whose key has a receipt is never queued again.

    Parameters
    ----------
    folder
        ``messages`` in the lake; made when the first message comes.
    """

    folder: Path

    def put(self, lane: Destination, entry: QueuedMessage, image: Path | None = None) -> None:
        """Add a message, or fold it into one that waits.

        The same key again replaces what waits and adds nothing to what was sent. A replacement for a message that has
        not been posted yet becomes that message; one for a message nobody knows is posted as a new one. Of an
        incident's reminders only the newest waits.
        """
        stamped = replace(entry, queued=datetime.now(UTC).isoformat(timespec="milliseconds"))
        with self.lock(lane, "put"):
            twin = self._twin(lane, stamped)
            if twin is not None:
                path, waiting = twin
                self._write(path, _folded(waiting, stamped), image)
            elif entry.operation == "post" and not self._known(lane, entry.key):
                self._append(lane, stamped, image)
            elif entry.operation == "replace":
                known = self._known(lane, entry.key)
                # Nobody's phone rings when a message changes, so that need not wait.
                news = replace(stamped, not_before="") if known else replace(stamped, operation="post")
                self._append(lane, news, image)

    def lanes(self) -> list[Destination]:
        """Return the lanes in which something waits."""
        folders = sorted(path.parent for path in self.folder.glob("*/waiting"))
        return [_lane(folder) for folder in folders if next(folder.glob("waiting/*.json"), None) is not None]

    def waiting(self, lane: Destination) -> Iterator[tuple[Path, QueuedMessage]]:
        """Yield what waits, oldest first; it may change while one looks."""
        for path in sorted((self.folder / lane.name / "waiting").glob("*.json")):
            try:
                yield path, QueuedMessage.from_text(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue  # another process has just sent it

    def receipt(self, lane: Destination, key: str) -> Delivery | None:
        """Return where a message went, or None."""
        try:
            return _delivery(self._receipt_path(lane, key))
        except FileNotFoundError:
            return None

    def remember(self, lane: Destination, key: str, delivery: Delivery) -> None:
        """Write a receipt."""
        write_text(self._receipt_path(lane, key), json.dumps(stamped({"key": key, "delivery": delivery})))

    def last_delivery(self, lane: Destination) -> Delivery | None:
        """Return where any message of the lane went last, or None."""
        files = (self.folder / lane.name / "sent").glob("*.json")
        newest = max(files, key=lambda file: file.stat().st_mtime_ns, default=None)
        return None if newest is None else _delivery(newest)

    def begin(self, lane: Destination, path: Path, now: datetime) -> QueuedMessage:
        """Note that a delivery begins, and return the entry as it is at this very moment."""
        with self.lock(lane, "put"):
            entry = QueuedMessage.from_text(path.read_text(encoding="utf-8"))
            begun = replace(entry, begun=now.isoformat(), tries=entry.tries + 1)
            write_text(path, begun.to_text())
            return entry

    def failed(self, lane: Destination, path: Path, error: Exception, *, uncertain: bool) -> None:
        """Note what went wrong; unless the message may have arrived, its delivery counts as not begun."""
        with self.lock(lane, "put"):
            entry = QueuedMessage.from_text(path.read_text(encoding="utf-8"))
            begun = entry.begun if uncertain else ""
            write_text(path, replace(entry, error=str(error)[:500], begun=begun).to_text())

    def done(self, lane: Destination, path: Path) -> None:
        """Take a message out that was sent."""
        with self.lock(lane, "put"):
            path.unlink(missing_ok=True)
            for ending in (".png", ".shown"):
                path.with_suffix(ending).unlink(missing_ok=True)

    def refuse(self, lane: Destination, path: Path) -> None:
        """Put a message aside that was not taken, so that the next ones can go."""
        with self.lock(lane, "put"):
            aside = self.folder / lane.name / "refused"
            aside.mkdir(exist_ok=True)
            path.replace(aside / path.name)
            path.with_suffix(".png").unlink(missing_ok=True)

    def pause(self, lane: Destination, until: datetime) -> None:
        """Send nothing in this lane before a moment, as the other side asked."""
        write_text(self.folder / lane.name / "pause.json", json.dumps(stamped({"until": until.isoformat()})))

    def paused(self, lane: Destination, now: datetime) -> bool:
        """Say whether the lane has to wait."""
        try:
            text = (self.folder / lane.name / "pause.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return datetime.fromisoformat(loads(text, "pause.json of the queue")["until"]) > now

    def lock(self, lane: Destination, what: str) -> FileLock:
        """Return the lock that keeps changes (``put``) or senders (``send``) apart."""
        folder = self.folder / lane.name
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f".{what}.lock", timeout=_LOCK_SECONDS)

    def forget_oldest(self, lane: Destination) -> None:
        """Keep the newest receipts only; an open incident's is written again from the registry."""
        files = sorted(
            (self.folder / lane.name / "sent").glob("*.json"), key=lambda file: file.stat().st_mtime_ns
        )
        for file in files[:-_MOST_RECEIPTS]:
            file.unlink(missing_ok=True)

    def _twin(self, lane: Destination, entry: QueuedMessage) -> tuple[Path, QueuedMessage] | None:
        """Return the waiting entry that this one is folded into."""
        for path, waiting in self.waiting(lane):
            same = waiting.key == entry.key and (entry.operation, waiting.operation) != ("post", "replace")
            newer = entry.event == waiting.event == "remind" and entry.thread == waiting.thread
            if (same or newer) and not waiting.begun:
                return path, waiting
        return None

    def _known(self, lane: Destination, key: str) -> bool:
        """Say whether a message was posted, or may have been."""
        posted = any(waiting.key == key and waiting.operation == "post" for _, waiting in self.waiting(lane))
        return posted or self.receipt(lane, key) is not None

    def _append(self, lane: Destination, entry: QueuedMessage, image: Path | None) -> None:
        folder = self.folder / lane.name
        if not (folder / "lane.json").exists():
            write_text(folder / "lane.json", json.dumps(stamped(asdict(lane))))
        names = [int(path.stem) for path in (folder / "waiting").glob("*.json")]
        # Names grow also when the clock goes back while something waits.
        number = max(time.time_ns(), *(name + 1 for name in names), 0)
        self._write(folder / "waiting" / f"{number:020d}.json", entry, image)

    def _write(self, path: Path, entry: QueuedMessage, image: Path | None) -> None:
        if image is not None:
            with replacing(path.with_suffix(".png")) as draft:
                shutil.copyfile(image, draft)
        write_text(path, entry.to_text())

    def _receipt_path(self, lane: Destination, key: str) -> Path:
        name = hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()[:24]
        return self.folder / lane.name / "sent" / f"{name}.json"


def _lane(folder: Path) -> Destination:
    file = folder / "lane.json"
    return Destination(**loads(file.read_text(encoding="utf-8"), file))


def _delivery(receipt: Path) -> Delivery:
    return dict(loads(receipt.read_text(encoding="utf-8"), receipt)["delivery"])


def _folded(waiting: QueuedMessage, news: QueuedMessage) -> QueuedMessage:
    """Return what is sent once instead of both: the place of the first, the words of the second."""
    held = min(waiting.not_before, news.not_before)  # empty, the least of all, lets it go at once
    event = waiting.event if news.operation == "replace" else news.event
    return replace(
        waiting,
        message=news.message,
        url=news.url or waiting.url,
        event=event,
        not_before=held,
        queued=news.queued,
    )
