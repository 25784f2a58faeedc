"""What takes a message out of the queue and to its readers, and how it says that it could not."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from evermodel.alerts.message import Message
from evermodel.core.errors import EvermodelError, PermanentError, TransientError

Delivery = dict[str, Any]


class DeliveryDelayedError(TransientError):
    """The message could not be delivered now; it stays in the queue.

    ``retry_after`` is how many seconds the other side asked to wait, and ``uncertain`` says that the message may have
    arrived all the same.
    """

    retry_after: float = 0.0
    uncertain: bool = True


class MessageRefusedError(PermanentError):
    """This message is not taken as it is; those behind it may be."""


class MessageGoneError(PermanentError):
    """The message that should be replaced was deleted."""


class NoHistoryError(EvermodelError):
    """It cannot be looked up whether a message arrived."""


class Transport(Protocol):
    """Takes messages to one place."""

    def post(
        self, message: Message, *, event: str, url: str, thread: Delivery | None, broadcast: bool
    ) -> Delivery:
        """Deliver a message, as an answer to another one if ``thread`` says where that went."""

    def replace(self, delivery: Delivery, message: Message) -> Delivery:
        """Replace a message that was delivered."""

    def find(self, message: Message, *, thread: Delivery | None, since: datetime) -> Delivery | None:
        """Return where a message went whose delivery was not confirmed, or None if it did not arrive.

        Raises
        ------
        NoHistoryError
            It cannot be looked up.
        """

    def show(self, delivery: Delivery, image: Path, message: Message) -> None:
        """Put an image beside a delivered message; a failure is logged and goes no further."""
