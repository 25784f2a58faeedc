"""The durable queue of messages: rows of the database, in order, written before anything is sent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update

from evermodel.alerts.folder_queue import take_over
from evermodel.alerts.queue_table import (
    append,
    change,
    changing,
    delivery_in,
    message_at,
    read_message,
    receipt,
    waiting_messages,
    waiting_rows,
    write_receipt,
)
from evermodel.alerts.queued_message import Delivery, Destination, QueuedMessage
from evermodel.core.database.database import Database
from evermodel.core.database.lease import Lease, leased
from evermodel.core.database.schema import open_database
from evermodel.core.database.tables import destinations, messages, receipts
from evermodel.core.formats import loads

if TYPE_CHECKING:
    from sqlalchemy import Connection

_MOST_RECEIPTS = 2000
_SENDER_SECONDS = 60.0
_LAST = 100  # receipts among which is the last delivery: those of a queue that was taken over have none
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MessageQueue:
    """Queued messages, and the receipts of sent ones.

    Messages are sent in the order of their numbers. A message whose key has a receipt is never queued again.

    Parameters
    ----------
    address
        URL of the database.
    folder
        Where earlier releases kept the queue as files; what is found there is taken over.
    """

    address: str
    folder: Path

    def put(self, destination: Destination, entry: QueuedMessage, image: Path | None = None) -> None:
        """Add a message, or merge it into a queued one.

        The same key again replaces a queued message and adds nothing to a sent one. A replacement for a message that has
        not been posted yet becomes that message; one for an unknown message is posted as a new one. Of an
        incident's reminders only the newest is queued.
        """
        batch = MessageBatch(self)
        batch.put(destination, entry, image)
        batch.write()

    def destinations(self) -> list[Destination]:
        """Return the destinations with queued messages; one that cannot be read has a line in the log, and stops no other."""
        queued = select(messages.c.destination).where(messages.c.state == "waiting")
        query = select(destinations.c.content).where(destinations.c.name.in_(queued))
        with self.database.reading() as connection:
            found = connection.scalars(query.order_by(destinations.c.name)).all()
        return [destination for text in found if (destination := _destination(text)) is not None]

    def waiting(self, destination: Destination) -> list[tuple[int, QueuedMessage]]:
        """Return the queued messages with their numbers, oldest first; the queue may change meanwhile."""
        with self.database.reading() as connection:
            return waiting_messages(connection, destination)

    def put_aside_unreadable(self, destination: Destination) -> None:
        """Take messages that cannot be read out of the queue, with a line in the log; they stay in the database."""
        with self._changing(destination) as connection:
            for number, text in waiting_rows(connection, destination):
                if read_message(text) is None:
                    change(connection, number, state="unreadable")
                    _log.error("message %s for %s cannot be read: %.500s", number, destination.name, text)

    def receipt(self, destination: Destination, key: str) -> Delivery | None:
        """Return the delivery of a message, or None."""
        with self.database.reading() as connection:
            return receipt(connection, destination, key)

    def remember(self, destination: Destination, key: str, delivery: Delivery) -> None:
        """Write a receipt."""
        with self.database.writing() as connection:
            write_receipt(connection, destination, key, delivery)

    def last_delivery(self, destination: Destination) -> Delivery | None:
        """Return the last delivery to the destination, or None."""
        query = select(receipts.c.content).where(receipts.c.destination == destination.name)
        with self.database.reading() as connection:
            found = connection.scalars(query.order_by(receipts.c.at.desc()).limit(_LAST)).all()
        return next(filter(None, map(delivery_in, found)), None)

    def begin(self, destination: Destination, number: int, now: datetime) -> QueuedMessage:
        """Record the start of a delivery, and return the current entry."""
        with self._changing(destination) as connection:
            entry = message_at(connection, number)
            begun = replace(entry, begun=now.isoformat(), tries=entry.tries + 1)
            change(connection, number, content=begun.to_text())
            return entry

    def failed(self, destination: Destination, number: int, error: Exception, *, uncertain: bool) -> None:
        """Record an error; unless the message may have arrived, its delivery counts as not started."""
        with self._changing(destination) as connection:
            entry = message_at(connection, number)
            begun = entry.begun if uncertain else ""
            failed = replace(entry, error=str(error)[:500], begun=begun)
            change(connection, number, content=failed.to_text())

    def done(self, destination: Destination, number: int) -> None:
        """Remove a sent message."""
        with self._changing(destination) as connection:
            connection.execute(delete(messages).where(messages.c.number == number))

    def refuse(self, destination: Destination, number: int) -> None:
        """Put a refused message aside, so that the next ones can be sent."""
        with self._changing(destination) as connection:
            change(connection, number, state="refused", image=None)

    def begin_image(self, destination: Destination, number: int) -> tuple[bytes | None, bool]:
        """Record the start of an image's upload; return the image, and whether an upload was started before."""
        with self._changing(destination) as connection:
            image = connection.scalar(select(messages.c.image).where(messages.c.number == number))
            entry = message_at(connection, number)
            if image is not None:
                change(connection, number, content=replace(entry, shown=True).to_text())
            return image, entry.shown

    def drop(self, name: str) -> int:
        """Delete the queued messages of a destination, by its name, and return their number."""
        with self.database.writing() as connection:
            queued = (messages.c.destination == name) & (messages.c.state == "waiting")
            return connection.execute(delete(messages).where(queued)).rowcount

    def pause(self, destination: Destination, until: datetime) -> None:
        """Pause a destination until a moment, as it requested."""
        with self._changing(destination) as connection:
            mine = destinations.c.name == destination.name
            connection.execute(update(destinations).where(mine).values(paused_until=until.isoformat()))

    def paused(self, destination: Destination, now: datetime) -> bool:
        """Return whether the destination is paused."""
        query = select(destinations.c.paused_until).where(destinations.c.name == destination.name)
        with self.database.reading() as connection:
            until = connection.scalar(query)
        return bool(until) and datetime.fromisoformat(str(until)) > now

    def sending(self, destination: Destination) -> AbstractContextManager[Lease]:
        """Hold the lease of a destination's sender; raises `LeaseHeldError` if another process sends on and on."""
        return leased(self.database, f"messages/{destination.name}", wait=_SENDER_SECONDS)

    @contextmanager
    def handling_incidents(self, model: str) -> Iterator[Database]:
        """Hold the lease of a model's incidents, and give the database that has them."""
        database = self.database
        with leased(database, f"incidents/{model}"):
            yield database

    def forget_oldest(self, destination: Destination) -> None:
        """Keep the newest receipts only; an open incident's receipt is restored from the registry."""
        mine = receipts.c.destination == destination.name
        with self.database.writing() as connection:
            query = select(receipts.c.at).where(mine).order_by(receipts.c.at.desc())
            oldest = connection.scalar(query.offset(_MOST_RECEIPTS).limit(1))
            if oldest is not None:
                connection.execute(delete(receipts).where(mine, receipts.c.at <= oldest))

    @property
    def database(self) -> Database:
        """The database, after what an earlier release left in files is taken over."""
        database = open_database(self.address)
        take_over(self.folder, database)
        return database

    def _changing(self, destination: Destination) -> AbstractContextManager[Connection]:
        return changing(self.database, destination)


@dataclass(frozen=True)
class MessageBatch:
    """Messages that are queued in one transaction; see `MessageQueue.put`."""

    queue: MessageQueue
    entries: list[tuple[Destination, QueuedMessage, bytes | None]] = field(default_factory=list)

    def put(self, destination: Destination, entry: QueuedMessage, image: Path | None = None) -> None:
        """Add a message to the batch."""
        self.entries.append((destination, entry, None if image is None else image.read_bytes()))

    def write(self, also: Callable[[Connection], None] | None = None) -> None:
        """Queue the messages.

        Parameters
        ----------
        also
            What else the transaction writes, before them.
        """
        places = {destination.name: destination for destination, _, _ in self.entries}
        with changing(self.queue.database, *places.values()) as connection:
            if also is not None:
                also(connection)
            for destination, entry, image in self.entries:
                _put(connection, destination, entry, image)


def _put(connection: Connection, destination: Destination, entry: QueuedMessage, image: bytes | None) -> None:
    news = replace(entry, queued=datetime.now(UTC).isoformat(timespec="milliseconds"))
    waiting = waiting_messages(connection, destination)
    twin = _twin(waiting, news)
    if twin is not None and twin[1].operation == "post" and receipt(connection, destination, twin[1].key):
        twin = None  # it is sent, and whoever sent it was interrupted before it removed it
    posted = any(one.key == entry.key and one.operation == "post" for _, one in waiting)
    known = posted or receipt(connection, destination, entry.key) is not None
    if twin is not None:
        number, queued = twin
        image_too = {} if image is None else {"image": image}
        change(connection, number, content=_folded(queued, news).to_text(), **image_too)
    elif entry.operation == "replace":
        # An update notifies nobody, so quiet hours do not delay it.
        news = replace(news, not_before="") if known else replace(news, operation="post")
        append(connection, destination, news.to_text(), image)
    elif not known:
        append(connection, destination, news.to_text(), image)


def _twin(waiting: list[tuple[int, QueuedMessage]], entry: QueuedMessage) -> tuple[int, QueuedMessage] | None:
    """Return the queued entry that this one is merged into."""
    for number, queued in waiting:
        same = queued.key == entry.key and (entry.operation, queued.operation) != ("post", "replace")
        newer = entry.event == queued.event == "remind" and entry.thread == queued.thread
        if (same or newer) and not queued.begun:
            return number, queued
    return None


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


def _destination(text: str) -> Destination | None:
    try:
        return Destination(**loads(text, "destination in the queue"))
    except (ValueError, TypeError):
        _log.error("a destination of the queue cannot be read, and its messages wait: %.500s", text)
        return None
