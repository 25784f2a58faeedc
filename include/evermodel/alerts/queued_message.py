"""One message in the queue, and the lane that it waits in."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from evermodel.alerts.message import Message
from evermodel.core.formats import loads, stamped

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
    kind
        ``slack`` or ``notifier``.
    address
        Of Slack: ``connection`` and ``channel``; of a notifier: ``model``, ``notifier`` and its ``number`` in the spec.
        Credentials are never part of it.
    """

    kind: Literal["slack", "notifier"]
    address: dict[str, str]

    @property
    def name(self) -> str:
        """Name of the lane's folder."""
        said = "-".join([self.kind, *self.address.values()])
        digest = hashlib.sha256(json.dumps([self.kind, self.address], sort_keys=True).encode()).hexdigest()
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', said)[:80]}-{digest[:8]}"


@dataclass(frozen=True)
class QueuedMessage:
    """A message on its way.

    Parameters
    ----------
    operation
        ``post`` a new message, or ``replace`` the one of the same key.
    event
        What it tells.
    message
        The message as plain data.
    url
        The one address that other notifiers may show.
    thread
        `key` of the message that it answers to, or empty.
    broadcast
        An answer that the whole channel sees too.
    not_before
        When the quiet hours that hold it back end, ISO 8601; empty if it may go at once.
    queued
        When it was put into the queue.
    begun
        When its delivery was last begun and not yet confirmed; empty if not at all.
    tries, error
        How often it was tried, and what was said the last time.
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

    @property
    def key(self) -> str:
        """What names the message among those of all models."""
        return self.read().identity

    def read(self) -> Message:
        """Return the message."""
        return Message(**self.message)

    def to_text(self) -> str:
        """Return the entry as JSON; ASCII, so that no odd character in somebody's data can stop it."""
        return json.dumps(stamped(asdict(self)), indent=1)

    @classmethod
    def from_text(cls, text: str) -> QueuedMessage:
        """Read what `to_text` wrote."""
        return cls(**loads(text, "message in the queue"))
