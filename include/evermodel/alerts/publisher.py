"""Queues a model's messages: for its channel, for the escalation channel, and for notifiers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from evermodel.alerts.message import Message
from evermodel.alerts.queue import MessageBatch, MessageQueue
from evermodel.alerts.queued_message import Destination, Event, QueuedMessage
from evermodel.core.settings import Settings
from evermodel.spec import ModelSpec
from evermodel.spec.alerts import AlertsSpec, QuietHours

_DAYS_AHEAD = 4  # a weekend and the night after it


def is_quiet(hours: QuietHours, moment: datetime) -> bool:
    """Return whether a moment is in the quiet hours, by local time, also on days of a clock change."""
    local = moment.astimezone(ZoneInfo(hours.timezone))
    if hours.weekends and local.weekday() >= 5:
        return True
    start, end, clock = _clock(hours.start), _clock(hours.end), local.time()
    return start <= clock < end if start < end else clock >= start or clock < end


def quiet_until(hours: QuietHours | None, now: datetime) -> datetime | None:
    """Return the end of the current quiet hours in UTC; None outside of them.

    >>> quiet_until(QuietHours(start="20:00", end="07:00"), datetime(2026, 1, 5, 23, tzinfo=UTC)).isoformat()
    '2026-01-06T07:00:00+00:00'
    """
    if hours is None or not is_quiet(hours, now):
        return None
    zone = ZoneInfo(hours.timezone)
    today = now.astimezone(zone).date()
    days = [today + timedelta(days=number) for number in range(_DAYS_AHEAD + 1)]
    clocks = (time(), _clock(hours.end))
    ends = sorted(datetime.combine(day, clock, zone).astimezone(UTC) for day in days for clock in clocks)
    return next(end for end in ends if end > now and not is_quiet(hours, end))


def _clock(text: str) -> time:
    return time.fromisoformat(text)


_URGENT: tuple[Event, ...] = ("escalate", "failure", "rollback")


def message_queue(settings: Settings) -> MessageQueue:
    """Return the queue of an installation; all its workers share it."""
    return MessageQueue(settings.database_url, settings.state / "messages")


def slack_destination(alerts: AlertsSpec, channel: str = "") -> Destination:
    """Return the destination of a channel; default: the model's own."""
    return Destination("slack", {"connection": alerts.slack_connection, "channel": channel or alerts.channel})


def notifier_destinations(spec: ModelSpec) -> list[Destination]:
    """Return the destinations of the spec's other notifiers."""
    return [
        Destination("notifier", {"model": spec.name, "notifier": named.notifier, "number": str(number)})
        for number, named in enumerate(spec.alerts.notifiers)
    ]


def clock() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Publisher:
    """Queues the messages of one model; nothing is sent here.

    Parameters
    ----------
    now
        Time of queueing; decides about quiet hours.
    batch
        Where messages are collected, to be queued together; each is queued at once if not given.
    """

    queue: MessageQueue
    spec: ModelSpec
    now: datetime
    batch: MessageBatch | None = None

    def post(
        self,
        event: Event,
        message: Message,
        *,
        thread: str = "",
        image: Path | None = None,
        url: str = "",
    ) -> None:
        """Queue a new message, once for its key; replies in a thread are shown to the whole channel too."""
        entry = self._entry("post", event, message, thread, url)
        self._put(slack_destination(self.spec.alerts), entry, image)

    def announce(
        self, event: Event, message: Message, *, thread: str = "", image: Path | None = None, url: str = ""
    ) -> None:
        """Post a message, and queue it for the other notifiers."""
        self.post(event, message, thread=thread, image=image, url=url)
        self.notify(event, message, url=url)

    def refresh(self, event: Event, message: Message, *, image: Path | None = None, url: str = "") -> None:
        """Queue a message that replaces the one of the same key, or becomes the first one of that key."""
        self._put(slack_destination(self.spec.alerts), self._entry("replace", event, message, "", url), image)

    def second_channel(self, event: Event, message: Message, *, url: str = "") -> None:
        """Post to the escalation channel too, or update the message there."""
        channel = self.spec.alerts.escalation.channel
        if channel and channel != self.spec.alerts.channel:
            destination = slack_destination(self.spec.alerts, channel)
            self._put(destination, self._entry("replace", event, message, "", url))

    def in_second_channel(self, message: Message) -> bool:
        """Return whether a message was sent to the escalation channel, or is queued for it."""
        channel = self.spec.alerts.escalation.channel
        destination = slack_destination(self.spec.alerts, channel or "")
        return bool(channel) and (
            self.queue.receipt(destination, message.identity) is not None
            or any(entry.key == message.identity for _, entry in self.queue.waiting(destination))
        )

    def notify(self, event: Event, message: Message, *, url: str = "") -> None:
        """Queue the message for the other notifiers, each with its own destination."""
        for destination in notifier_destinations(self.spec):
            self._put(destination, self._entry("post", event, message, "", url))

    def _put(self, destination: Destination, entry: QueuedMessage, image: Path | None = None) -> None:
        (self.batch or self.queue).put(destination, entry, image)

    def _entry(self, operation: str, event: Event, message: Message, thread: str, url: str) -> QueuedMessage:
        urgent = event in _URGENT or message.severity == "critical"
        held = None if urgent else quiet_until(self.spec.alerts.quiet_hours, self.now)
        return QueuedMessage(
            operation="replace" if operation == "replace" else "post",
            event=event,
            message=message.to_json(),
            url=url,
            thread=thread,
            broadcast=bool(thread),
            not_before=held.isoformat() if held else "",
        )
