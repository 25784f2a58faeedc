"""Delivery of the message queue: in order, once, and as long as the destination accepts messages."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import entry_points
from pathlib import Path

from evermodel.alerts.publisher import message_queue
from evermodel.alerts.queue import MessageQueue
from evermodel.alerts.queued_message import (
    Delivery,
    DeliveryDelayedError,
    Destination,
    MessageGoneError,
    MessageRefusedError,
    NoHistoryError,
    QueuedMessage,
    Transport,
)
from evermodel.core.database.lease import Lease
from evermodel.core.errors import DatabaseUnavailableError, LeaseHeldError
from evermodel.core.settings import Settings

log = logging.getLogger(__name__)
# Tolerance for clock skew between two machines.
_SKEW = timedelta(minutes=5)
_warned: set[str] = set()


@dataclass(frozen=True)
class DeliveryReport:
    """Result of one destination's delivery.

    Parameters
    ----------
    waiting
        Number of queued messages, including those delayed by quiet hours.
    """

    destination: Destination
    sent: int = 0
    waiting: int = 0
    error: Exception | None = None


def send_waiting(
    queue: MessageQueue, transport_for: Callable[[Destination], Transport], now: Callable[[], datetime]
) -> list[DeliveryReport]:
    """Send the queued messages of every destination; an error at one does not affect the others.

    Parameters
    ----------
    now
        The clock, for quiet hours and rate limits.
    """
    reports = []
    for destination in queue.destinations():
        try:
            reports.append(_Sender(queue, destination, transport_for(destination), now).run())
        except Exception as error:  # noqa: BLE001 - an error at one destination must not stop the others
            reports.append(DeliveryReport(destination, waiting=_count(queue, destination), error=error))
    for report in reports:
        if report.error is not None:
            log.warning(
                "%d messages are queued for %s: %s", report.waiting, report.destination.address, report.error
            )
    return reports


@dataclass
class _Sender:
    queue: MessageQueue
    destination: Destination
    transport: Transport
    now: Callable[[], datetime]
    sent: int = 0

    def run(self) -> DeliveryReport:
        error: Exception | None = None
        try:
            with self.queue.sending(self.destination) as lease:
                error = self._run(lease)
        except LeaseHeldError:
            log.info("Another process is sending the messages for %s", self.destination.address)
        return DeliveryReport(self.destination, self.sent, _count(self.queue, self.destination), error)

    def _run(self, lease: Lease) -> Exception | None:
        self.queue.put_aside_unreadable(self.destination)
        while not self.queue.paused(self.destination, self.now()):
            lease.keep()
            found = self._next()
            if found is None:
                break
            error = self._send(*found)
            if error is not None:
                return error
        self.queue.forget_oldest(self.destination)
        return None

    def _next(self) -> tuple[int, QueuedMessage] | None:
        """Return the first entry that is due; a delayed message delays the replies in its thread."""
        held: set[str] = set()
        now = self.now()
        for number, entry in self.queue.waiting(self.destination):
            if entry.not_before and datetime.fromisoformat(entry.not_before) > now:
                held.add(entry.key)
            elif entry.thread not in held:
                return number, entry
        return None

    def _send(self, number: int, entry: QueuedMessage) -> Exception | None:
        """Send one message; return the error that stops the delivery, if any."""
        try:
            self._deliver(number, entry)
        except DeliveryDelayedError as error:
            self.queue.failed(self.destination, number, error, uncertain=error.uncertain)
            if error.retry_after:
                self.queue.pause(self.destination, self.now() + timedelta(seconds=error.retry_after))
            return error
        except MessageRefusedError as error:
            log.error("The message %s was put aside as refused: %s", entry.key, error)
            self.queue.failed(self.destination, number, error, uncertain=False)
            self.queue.refuse(self.destination, number)
        except MessageGoneError as error:
            log.warning("The message %s was deleted at its destination: %s", entry.key, error)
            self.queue.done(self.destination, number)
        except DatabaseUnavailableError as error:
            return error  # of the queue: the message may have been sent, and its delivery stays started
        except Exception as error:  # noqa: BLE001 - a notifier may raise anything; the message stays queued
            self.queue.failed(self.destination, number, error, uncertain=False)
            return error
        return None

    def _deliver(self, number: int, entry: QueuedMessage) -> None:
        known = self.queue.receipt(self.destination, entry.key)
        if entry.operation == "replace" and known is not None:
            message = self.queue.begin(self.destination, number, self.now()).read()
            self.queue.remember(self.destination, entry.key, self.transport.replace(known, message))
        elif known is None:
            known = self._post(number, entry)
            self.queue.remember(self.destination, entry.key, known)
            self._show(number, entry, known)
        else:
            self._show(number, entry, known)  # interrupted after the receipt was written
        self.queue.done(self.destination, number)
        self.sent += 1

    def _post(self, number: int, entry: QueuedMessage) -> Delivery:
        thread = self.queue.receipt(self.destination, entry.thread) if entry.thread else None
        before = self.queue.begin(self.destination, number, self.now())
        if before.begun:
            found = self._find(before, thread)
            if found is not None:
                return found
        return self.transport.post(
            before.read(), event=before.event, url=before.url, thread=thread, broadcast=before.broadcast
        )

    def _find(self, entry: QueuedMessage, thread: Delivery | None) -> Delivery | None:
        """Find a message whose delivery was started and never confirmed."""
        try:
            since = datetime.fromisoformat(entry.queued) - _SKEW
            return self.transport.find(entry.read(), thread=thread, since=since)
        except NoHistoryError as error:
            if self.destination.name not in _warned:
                _warned.add(self.destination.name)
                log.warning(
                    "A message may arrive twice, because the destination's history cannot be read: %s", error
                )
            return None

    def _show(self, number: int, entry: QueuedMessage, delivery: Delivery) -> None:
        """Add the image; tried a second time at most, because the next messages wait behind it."""
        image, again = self.queue.begin_image(self.destination, number)
        if image is None:
            return
        try:
            if again and self.transport.has_image(delivery):
                return
            with tempfile.TemporaryDirectory(prefix="evermodel-image-") as folder:
                file = Path(folder) / "image.png"
                file.write_bytes(image)
                self.transport.show(delivery, file, entry.read())
        except DeliveryDelayedError as error:
            if not again:
                raise
            log.warning("The message was sent, its image was not: %s", error)


def _count(queue: MessageQueue, destination: Destination) -> int:
    return len(queue.waiting(destination))


# The domain is Airflow-free; senders register under this name.
GROUP = "evermodel.messages"


def send_messages(settings: Settings) -> list[DeliveryReport]:
    """Send the queued messages, if any; without a registered sender they stay queued."""
    if not message_queue(settings).destinations():
        return []
    reports: list[DeliveryReport] = []
    for sender in entry_points(group=GROUP):
        reports += sender.load()(settings)
    return reports
