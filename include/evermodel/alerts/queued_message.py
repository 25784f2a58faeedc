"""One message in the queue, its destination, and the transport to it with its errors."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from evermodel.alerts.message import Message
from evermodel.core.errors import EvermodelError, PermanentError, TransientError
from evermodel.core.formats import json_digest, loads, stamped

Event = Literal[
    "open",
    "update",
    "escalate",
    "remind",
    "resolve",
    "digest",
    "failure",
    "retrain",
    "approval",
    "rollback",
    "rollout",
]


@dataclass(frozen=True)
class Destination:
    """One destination; its messages keep their order.

    Parameters
    ----------
    address
        Of Slack: ``connection`` and ``channel``; of a notifier: ``model``, ``notifier`` and its ``number`` in the spec.
        Credentials are never part of it.
    """

    kind: Literal["slack", "notifier"]
    address: dict[str, str]

    @property
    def name(self) -> str:
        """Name of the destination in the database."""
        name = "-".join([self.kind, *self.address.values()])
        digest = json_digest([self.kind, self.address])
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)[:80]}-{digest[:8]}"


@dataclass(frozen=True)
class QueuedMessage:
    """A message in the queue.

    Parameters
    ----------
    operation
        ``post`` a new message, or ``replace`` the one of the same key.
    url
        The link for other notifiers.
    thread
        `key` of the thread's first message, or empty.
    broadcast
        A reply shown to the whole channel too.
    not_before
        End of the quiet hours that delay it, ISO 8601; empty: due at once.
    begun
        Start of the last unconfirmed delivery; empty: none.
    shown
        An upload of its image was started.
    """

    operation: Literal["post", "replace"]
    event: Event
    message: dict[str, Any]
    url: str = ""
    thread: str = ""
    broadcast: bool = False
    not_before: str = ""
    queued: str = ""
    begun: str = ""
    tries: int = 0
    error: str = ""
    shown: bool = False

    @property
    def key(self) -> str:
        """Identity of the message among those of all models."""
        return self.read().identity

    def read(self) -> Message:
        """Return the message."""
        return Message(**self.message)

    def to_text(self) -> str:
        """Return the entry as JSON; ASCII, so that no character in the data can block it."""
        return json.dumps(stamped(asdict(self)), indent=1)

    @classmethod
    def from_text(cls, text: str) -> QueuedMessage:
        """Read what `to_text` wrote; fields that a newer release added are ignored."""
        known = {one.name for one in fields(cls)}
        found = loads(text, "message in the queue")
        return cls(**{name: value for name, value in found.items() if name in known})


Delivery = dict[str, Any]


class DeliveryDelayedError(TransientError):
    """The message could not be delivered; it stays in the queue.

    ``retry_after`` is the wait in seconds that the destination requested; ``uncertain`` means that the message may have
    arrived anyway.
    """

    retry_after: float = 0.0
    uncertain: bool = True


class MessageRefusedError(PermanentError):
    """The destination refuses this message; others are unaffected."""


class MessageGoneError(PermanentError):
    """The message to replace was deleted."""


class NoHistoryError(EvermodelError):
    """The destination's history cannot be read."""


class Transport(Protocol):
    """Delivers messages to one destination."""

    def post(
        self, message: Message, *, event: str, url: str, thread: Delivery | None, broadcast: bool
    ) -> Delivery:
        """Deliver a message, as a reply if ``thread`` is the delivery of another one."""

    def replace(self, delivery: Delivery, message: Message) -> Delivery:
        """Replace a delivered message."""

    def find(self, message: Message, *, thread: Delivery | None, since: datetime) -> Delivery | None:
        """Return the delivery of an unconfirmed message, or None if it did not arrive.

        Raises
        ------
        NoHistoryError
            The history cannot be read.
        """

    def show(self, delivery: Delivery, image: Path, message: Message) -> None:
        """Add an image to a delivered message.

        Raises
        ------
        DeliveryDelayedError
            The destination does not answer; any other failure is logged.
        """

    def has_image(self, delivery: Delivery) -> bool:
        """Tell whether a delivered message has its image; True if that cannot be looked up."""
