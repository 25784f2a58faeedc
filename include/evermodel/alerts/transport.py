"""Transport of queued messages to their destination, and its errors."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from evermodel.alerts.message import Message
from evermodel.core.errors import EvermodelError, PermanentError, TransientError

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
        """Add an image to a delivered message; a failure is logged."""
