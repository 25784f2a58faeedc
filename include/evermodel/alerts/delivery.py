"""Send what waits in the queue: in order, once, and only as long as the other side takes it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import entry_points
from pathlib import Path

from filelock import Timeout

from evermodel.alerts.publisher import message_queue
from evermodel.alerts.queue import MessageQueue
from evermodel.alerts.queued_message import Destination, QueuedMessage
from evermodel.alerts.transport import (
    Delivery,
    DeliveryDelayedError,
    MessageGoneError,
    MessageRefusedError,
    NoHistoryError,
    Transport,
)
from evermodel.core.settings import Settings

log = logging.getLogger(__name__)
# Clocks of two machines differ.
_SKEW = timedelta(minutes=5)
_told: set[str] = set()


@dataclass(frozen=True)
class DeliveryReport:
    """How far a lane came.

    Parameters
    ----------
    sent
        Number of messages that went out.
    waiting
        Number of messages that stay, those held back by quiet hours included.
    error
        What stopped it, if anything did.
    """

    lane: Destination
    sent: int = 0
    waiting: int = 0
    error: Exception | None = None


def send_waiting(
    queue: MessageQueue, carrier_for: Callable[[Destination], Transport], now: Callable[[], datetime]
) -> list[DeliveryReport]:
    """Send what waits in every lane; a lane that is stopped never stops another.

    Parameters
    ----------
    carrier_for
        Makes what takes the messages of a lane to their place.
    now
        The clock, for quiet hours and for waits that were asked for.
    """
    reports = []
    for lane in queue.lanes():
        try:
            reports.append(_Sender(queue, lane, carrier_for(lane), now).run())
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one lane, the others go on
            reports.append(DeliveryReport(lane, waiting=_count(queue, lane), error=error))
    for report in reports:
        if report.error is not None:
            log.warning("%d messages wait for %s: %s", report.waiting, report.lane.address, report.error)
    return reports


@dataclass
class _Sender:
    queue: MessageQueue
    lane: Destination
    carrier: Transport
    now: Callable[[], datetime]
    sent: int = 0

    def run(self) -> DeliveryReport:
        error: Exception | None = None
        try:
            with self.queue.lock(self.lane, "send"):
                error = self._run()
        except Timeout:
            log.info("Another process is sending the messages for %s", self.lane.address)
        return DeliveryReport(self.lane, self.sent, _count(self.queue, self.lane), error)

    def _run(self) -> Exception | None:
        while not self.queue.paused(self.lane, self.now()):
            found = self._next()
            if found is None:
                break
            error = self._send(*found)
            if error is not None:
                return error
        self.queue.forget_oldest(self.lane)
        return None

    def _next(self) -> tuple[Path, QueuedMessage] | None:
        """Return the first entry that may go; what is held back holds back its answers too."""
        held: set[str] = set()
        now = self.now()
        for path, entry in self.queue.waiting(self.lane):
            if entry.not_before and datetime.fromisoformat(entry.not_before) > now:
                held.add(entry.key)
            elif entry.thread not in held:
                return path, entry
        return None

    def _send(self, path: Path, entry: QueuedMessage) -> Exception | None:
        """Send one message; return the error that stops the lane, if there is one."""
        try:
            self._deliver(path, entry)
        except DeliveryDelayedError as error:
            self.queue.failed(self.lane, path, error, uncertain=error.uncertain)
            if error.retry_after:
                self.queue.pause(self.lane, self.now() + timedelta(seconds=error.retry_after))
            return error
        except MessageRefusedError as error:
            log.error("The message %s was put aside: %s", entry.key, error)
            self.queue.failed(self.lane, path, error, uncertain=False)
            self.queue.refuse(self.lane, path)
        except MessageGoneError as error:
            log.warning("The message %s is gone and stays so: %s", entry.key, error)
            self.queue.done(self.lane, path)
        except Exception as error:  # noqa: BLE001 - a notifier may raise anything; the message stays
            self.queue.failed(self.lane, path, error, uncertain=False)
            return error
        return None

    def _deliver(self, path: Path, entry: QueuedMessage) -> None:
        known = self.queue.receipt(self.lane, entry.key)
        if entry.operation == "replace" and known is not None:
            message = self.queue.begin(self.lane, path, self.now()).read()
            self.queue.remember(self.lane, entry.key, self.carrier.replace(known, message))
        elif known is None:
            known = self._post(path, entry)
            self.queue.remember(self.lane, entry.key, known)
            self._show(path, entry, known)
        else:
            self._show(path, entry, known)  # killed after the receipt was written
        self.queue.done(self.lane, path)
        self.sent += 1

    def _post(self, path: Path, entry: QueuedMessage) -> Delivery:
        thread = self.queue.receipt(self.lane, entry.thread) if entry.thread else None
        before = self.queue.begin(self.lane, path, self.now())
        if before.begun:
            found = self._find(before, thread)
            if found is not None:
                return found
        return self.carrier.post(
            before.read(), event=before.event, url=before.url, thread=thread, broadcast=before.broadcast
        )

    def _find(self, entry: QueuedMessage, thread: Delivery | None) -> Delivery | None:
        """Look up whether a message arrived whose delivery was begun and never confirmed."""
        try:
            since = datetime.fromisoformat(entry.queued) - _SKEW
            return self.carrier.find(entry.read(), thread=thread, since=since)
        except NoHistoryError as error:
            if self.lane.name not in _told:
                _told.add(self.lane.name)
                log.warning("A message may arrive twice, because it cannot be looked up: %s", error)
            return None

    def _show(self, path: Path, entry: QueuedMessage, delivery: Delivery) -> None:
        image = path.with_suffix(".png")
        if image.exists():
            # Moved away first: an image is shown once or, after a crash right here, not at all.
            shown = image.rename(image.with_suffix(".shown"))
            self.carrier.show(delivery, shown, entry.read())
            shown.unlink(missing_ok=True)


def _count(queue: MessageQueue, lane: Destination) -> int:
    return sum(1 for _ in queue.waiting(lane))


# The domain knows no Airflow; who can send registers under this name.
GROUP = "evermodel.messages"


def send_messages(settings: Settings) -> list[DeliveryReport]:
    """Send what waits, if anything does; without a sender it goes on waiting."""
    if not message_queue(settings).lanes():
        return []
    reports: list[DeliveryReport] = []
    for sender in entry_points(group=GROUP):
        reports += sender.load()(settings)
    return reports
