"""Rows of the message queue inside a transaction: messages in order, and receipts by key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from evermodel.alerts.queued_message import Delivery, Destination, QueuedMessage
from evermodel.core.database.clock import now
from evermodel.core.database.database import Database
from evermodel.core.database.tables import destinations, messages, receipts
from evermodel.core.errors import NewerFormatError
from evermodel.core.formats import loads, stamped

if TYPE_CHECKING:
    from sqlalchemy import Connection


@contextmanager
def changing(database: Database, *changed: Destination) -> Iterator[Connection]:
    """Open a transaction in which no other process changes the destinations' queues."""
    query = select(destinations.c.name).where(destinations.c.name.in_([one.name for one in changed]))
    with database.reading() as connection:
        known = set(connection.scalars(query))
    for destination in changed:
        if destination.name in known:
            continue
        content = json.dumps(stamped(asdict(destination)))
        row = {"name": destination.name, "content": content, "paused_until": ""}
        with suppress(IntegrityError), database.writing() as connection:  # another process may write it first
            connection.execute(insert(destinations).values(row))
    with database.writing() as connection:
        # In one order, so that two processes never wait for each other.
        connection.execute(query.order_by(destinations.c.name).with_for_update()).all()
        yield connection


def waiting_rows(connection: Connection, destination: Destination) -> list[tuple[int, str]]:
    """Return number and content of a destination's queued messages, oldest first."""
    mine = (messages.c.destination == destination.name) & (messages.c.state == "waiting")
    query = select(messages.c.number, messages.c.content).where(mine).order_by(messages.c.number)
    return [(number, text) for number, text in connection.execute(query)]


def waiting_messages(connection: Connection, destination: Destination) -> list[tuple[int, QueuedMessage]]:
    """Return number and message of what is queued, oldest first; without what cannot be read."""
    found = ((number, read_message(text)) for number, text in waiting_rows(connection, destination))
    return [(number, entry) for number, entry in found if entry is not None]


def read_message(text: str) -> QueuedMessage | None:
    """Return a stored message; None if it cannot be read. Raises `NewerFormatError` if a newer release wrote it."""
    try:
        entry = QueuedMessage.from_text(text)
        _ = entry.key
    except NewerFormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return entry


def message_at(connection: Connection, number: int) -> QueuedMessage:
    """Return the message of a number."""
    text = connection.scalar(select(messages.c.content).where(messages.c.number == number))
    return QueuedMessage.from_text(str(text))


def append(connection: Connection, destination: Destination, text: str, image: bytes | None) -> None:
    """Add a message as the last one."""
    row = {"destination": destination.name, "state": "waiting", "content": text, "image": image}
    connection.execute(insert(messages).values(row))


def change(connection: Connection, number: int, **values: object) -> None:
    """Change columns of a message."""
    connection.execute(update(messages).where(messages.c.number == number).values(values))


def receipt(connection: Connection, destination: Destination, key: str) -> Delivery | None:
    """Return the delivery of a message, or None."""
    mine = (receipts.c.destination == destination.name) & (receipts.c.key_sha256 == _sha256(key))
    text = connection.scalar(select(receipts.c.content).where(mine))
    return None if text is None else delivery_in(text)


def write_receipt(connection: Connection, destination: Destination, key: str, delivery: Delivery) -> None:
    """Write a receipt, in place of an earlier one of the key."""
    mine = (receipts.c.destination == destination.name) & (receipts.c.key_sha256 == _sha256(key))
    connection.execute(delete(receipts).where(mine))
    content = json.dumps(stamped({"key": key, "delivery": delivery}))
    row = {"destination": destination.name, "key_sha256": _sha256(key), "content": content, "at": now()}
    connection.execute(insert(receipts).values(row))


def delivery_in(text: str) -> Delivery:
    """Return the delivery that a receipt holds."""
    return dict(loads(text, "a receipt of the queue")["delivery"])


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()
