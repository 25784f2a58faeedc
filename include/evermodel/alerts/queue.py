"""The durable queue of messages: files in the lake, in order, written before anything is sent."""

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

from evermodel.alerts.queued_message import Delivery, Destination, QueuedMessage
from evermodel.core.atomic import replacing, write_text
from evermodel.core.formats import loads, stamped

_DESTINATION = "lane.json"  # the name that the first release wrote
_MOST_RECEIPTS = 2000
_LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class MessageQueue:
    """Queued messages, and the receipts of sent ones.

    Each destination is a folder: ``waiting/`` holds the entries in the order of their names, ``sent/`` the receipts by
    key, ``refused/`` the refused messages. A message whose key has a receipt is never queued again.

    Parameters
    ----------
    folder
        ``messages`` in the lake; created with the first message.
    """

    folder: Path

    def put(self, destination: Destination, entry: QueuedMessage, image: Path | None = None) -> None:
        """Add a message, or merge it into a queued one.

        The same key again replaces a queued message and adds nothing to a sent one. A replacement for a message that has
        not been posted yet becomes that message; one for an unknown message is posted as a new one. Of an
        incident's reminders only the newest is queued.
        """
        stamped = replace(entry, queued=datetime.now(UTC).isoformat(timespec="milliseconds"))
        with self.lock(destination, "put"):
            twin = self._twin(destination, stamped)
            if twin is not None:
                path, waiting = twin
                self._write(path, _folded(waiting, stamped), image)
            elif entry.operation == "post" and not self._known(destination, entry.key):
                self._append(destination, stamped, image)
            elif entry.operation == "replace":
                known = self._known(destination, entry.key)
                # An update notifies nobody, so quiet hours do not delay it.
                news = replace(stamped, not_before="") if known else replace(stamped, operation="post")
                self._append(destination, news, image)

    def destinations(self) -> list[Destination]:
        """Return the destinations with queued messages."""
        folders = sorted(path.parent for path in self.folder.glob("*/waiting"))
        return [
            _destination(folder)
            for folder in folders
            if next(folder.glob("waiting/*.json"), None) is not None
        ]

    def waiting(self, destination: Destination) -> Iterator[tuple[Path, QueuedMessage]]:
        """Yield the queued messages, oldest first; the queue may change meanwhile."""
        for path in sorted((self.folder / destination.name / "waiting").glob("*.json")):
            try:
                yield path, QueuedMessage.from_text(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue  # just sent by another process

    def receipt(self, destination: Destination, key: str) -> Delivery | None:
        """Return the delivery of a message, or None."""
        try:
            return _delivery(self._receipt_path(destination, key))
        except FileNotFoundError:
            return None

    def remember(self, destination: Destination, key: str, delivery: Delivery) -> None:
        """Write a receipt."""
        write_text(
            self._receipt_path(destination, key), json.dumps(stamped({"key": key, "delivery": delivery}))
        )

    def last_delivery(self, destination: Destination) -> Delivery | None:
        """Return the last delivery to the destination, or None."""
        files = (self.folder / destination.name / "sent").glob("*.json")
        newest = max(files, key=lambda file: file.stat().st_mtime_ns, default=None)
        return None if newest is None else _delivery(newest)

    def begin(self, destination: Destination, path: Path, now: datetime) -> QueuedMessage:
        """Record the start of a delivery, and return the current entry."""
        with self.lock(destination, "put"):
            entry = QueuedMessage.from_text(path.read_text(encoding="utf-8"))
            begun = replace(entry, begun=now.isoformat(), tries=entry.tries + 1)
            write_text(path, begun.to_text())
            return entry

    def failed(self, destination: Destination, path: Path, error: Exception, *, uncertain: bool) -> None:
        """Record an error; unless the message may have arrived, its delivery counts as not started."""
        with self.lock(destination, "put"):
            entry = QueuedMessage.from_text(path.read_text(encoding="utf-8"))
            begun = entry.begun if uncertain else ""
            write_text(path, replace(entry, error=str(error)[:500], begun=begun).to_text())

    def done(self, destination: Destination, path: Path) -> None:
        """Remove a sent message."""
        with self.lock(destination, "put"):
            path.unlink(missing_ok=True)
            for ending in (".png", ".shown"):
                path.with_suffix(ending).unlink(missing_ok=True)

    def refuse(self, destination: Destination, path: Path) -> None:
        """Set a refused message aside, so that the next ones can be sent."""
        with self.lock(destination, "put"):
            aside = self.folder / destination.name / "refused"
            aside.mkdir(exist_ok=True)
            path.replace(aside / path.name)
            path.with_suffix(".png").unlink(missing_ok=True)

    def pause(self, destination: Destination, until: datetime) -> None:
        """Pause a destination until a moment, as it requested."""
        write_text(
            self.folder / destination.name / "pause.json", json.dumps(stamped({"until": until.isoformat()}))
        )

    def paused(self, destination: Destination, now: datetime) -> bool:
        """Return whether the destination is paused."""
        try:
            text = (self.folder / destination.name / "pause.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return datetime.fromisoformat(loads(text, "pause.json of the queue")["until"]) > now

    def lock(self, destination: Destination, what: str) -> FileLock:
        """Return the lock that serializes changes (``put``) or senders (``send``)."""
        folder = self.folder / destination.name
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f".{what}.lock", timeout=_LOCK_SECONDS)

    def forget_oldest(self, destination: Destination) -> None:
        """Keep the newest receipts only; an open incident's receipt is restored from the registry."""
        files = sorted(
            (self.folder / destination.name / "sent").glob("*.json"), key=lambda file: file.stat().st_mtime_ns
        )
        for file in files[:-_MOST_RECEIPTS]:
            file.unlink(missing_ok=True)

    def _twin(self, destination: Destination, entry: QueuedMessage) -> tuple[Path, QueuedMessage] | None:
        """Return the queued entry that this one is merged into."""
        for path, waiting in self.waiting(destination):
            same = waiting.key == entry.key and (entry.operation, waiting.operation) != ("post", "replace")
            newer = entry.event == waiting.event == "remind" and entry.thread == waiting.thread
            if (same or newer) and not waiting.begun:
                return path, waiting
        return None

    def _known(self, destination: Destination, key: str) -> bool:
        """Return whether a message was posted, or may have been."""
        posted = any(
            waiting.key == key and waiting.operation == "post" for _, waiting in self.waiting(destination)
        )
        return posted or self.receipt(destination, key) is not None

    def _append(self, destination: Destination, entry: QueuedMessage, image: Path | None) -> None:
        folder = self.folder / destination.name
        if not (folder / _DESTINATION).exists():
            write_text(folder / _DESTINATION, json.dumps(stamped(asdict(destination))))
        names = [int(path.stem) for path in (folder / "waiting").glob("*.json")]
        # Names increase even if the clock goes back while messages are queued.
        number = max(time.time_ns(), *(name + 1 for name in names), 0)
        self._write(folder / "waiting" / f"{number:020d}.json", entry, image)

    def _write(self, path: Path, entry: QueuedMessage, image: Path | None) -> None:
        if image is not None:
            with replacing(path.with_suffix(".png")) as draft:
                shutil.copyfile(image, draft)
        write_text(path, entry.to_text())

    def _receipt_path(self, destination: Destination, key: str) -> Path:
        name = hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()[:24]
        return self.folder / destination.name / "sent" / f"{name}.json"


def _destination(folder: Path) -> Destination:
    file = folder / _DESTINATION
    return Destination(**loads(file.read_text(encoding="utf-8"), file))


def _delivery(receipt: Path) -> Delivery:
    return dict(loads(receipt.read_text(encoding="utf-8"), receipt)["delivery"])


def _folded(waiting: QueuedMessage, news: QueuedMessage) -> QueuedMessage:
    """Return the merged entry: the place of the first, the content of the second."""
    held = min(waiting.not_before, news.not_before)  # empty, the minimum, means at once
    event = waiting.event if news.operation == "replace" else news.event
    return replace(
        waiting,
        message=news.message,
        url=news.url or waiting.url,
        event=event,
        not_before=held,
        queued=news.queued,
    )
