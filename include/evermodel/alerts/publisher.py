"""Put what a model has to say into the queue: for its channel, for the one that hears of the worst, for notifiers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from evermodel.alerts.message import Message
from evermodel.alerts.queue import MessageQueue
from evermodel.alerts.queued_message import Destination, Event, QueuedMessage
from evermodel.alerts.quiet_hours import quiet_until
from evermodel.core.settings import Settings
from evermodel.spec import ModelSpec
from evermodel.spec.alerts import AlertsSpec

_URGENT: tuple[Event, ...] = ("escalate", "failure", "rollback")


def message_queue(settings: Settings) -> MessageQueue:
    """Return the queue of an installation; all its workers share it."""
    return MessageQueue(settings.lake / "messages")


def slack_destination(alerts: AlertsSpec, channel: str = "") -> Destination:
    """Return the lane of a channel; the model's own if none is given."""
    return Destination("slack", {"connection": alerts.slack_connection, "channel": channel or alerts.channel})


def notifier_destinations(spec: ModelSpec) -> list[Destination]:
    """Return the lanes of the other notifiers that the spec names."""
    return [
        Destination("notifier", {"model": spec.name, "notifier": named.notifier, "number": str(number)})
        for number, named in enumerate(spec.alerts.notifiers)
    ]


def clock() -> datetime:
    """Return the time now."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Publisher:
    """Queues the messages of one model; nothing is sent here.

    Parameters
    ----------
    now
        When the message is queued; quiet hours are looked up for this moment.
    """

    queue: MessageQueue
    spec: ModelSpec
    now: datetime

    def post(
        self,
        event: Event,
        message: Message,
        *,
        thread: str = "",
        image: Path | None = None,
        url: str = "",
    ) -> None:
        """Queue a new message, once for its key; answers in a thread are shown to the whole channel too."""
        entry = self._entry("post", event, message, thread, url)
        self.queue.put(slack_destination(self.spec.alerts), entry, image)

    def refresh(self, event: Event, message: Message, *, image: Path | None = None, url: str = "") -> None:
        """Queue a message that replaces the one of the same key, or is the first one of that key."""
        self.queue.put(
            slack_destination(self.spec.alerts), self._entry("replace", event, message, "", url), image
        )

    def second_channel(self, event: Event, message: Message, *, url: str = "") -> None:
        """Tell the channel of the escalation too, or bring up to date what was told there."""
        channel = self.spec.alerts.escalation.channel
        if channel and channel != self.spec.alerts.channel:
            lane = slack_destination(self.spec.alerts, channel)
            self.queue.put(lane, self._entry("replace", event, message, "", url))

    def in_second_channel(self, message: Message) -> bool:
        """Say whether a message went to the channel of the escalation, or waits for it."""
        channel = self.spec.alerts.escalation.channel
        lane = slack_destination(self.spec.alerts, channel or "")
        return bool(channel) and (
            self.queue.receipt(lane, message.identity) is not None
            or any(entry.key == message.identity for _, entry in self.queue.waiting(lane))
        )

    def notify(self, event: Event, message: Message, *, url: str = "") -> None:
        """Tell the other notifiers; each has its own place in the queue."""
        for lane in notifier_destinations(self.spec):
            self.queue.put(lane, self._entry("post", event, message, "", url))

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
