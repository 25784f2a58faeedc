"""Messages that commands send, and their report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from evermodel.cli import output
from evermodel.core.errors import SpecError

if TYPE_CHECKING:
    from evermodel.alerts.delivery import DeliveryReport
    from evermodel.alerts.message import Message
    from evermodel.alerts.queued_message import Event
    from evermodel.core.settings import Settings


def tell(model: str, settings: Settings, event: Event, message: Message, url: str = "") -> None:
    """Queue a message for the model's channel and notifiers, and send the queue; without a spec no message is sent."""
    from evermodel.alerts.publisher import Publisher, clock, message_queue
    from evermodel.spec import load_spec

    try:
        spec = load_spec(model, settings)
    except SpecError as error:
        typer.echo(f"No message was sent: {error.problem}", err=True)
        return
    Publisher(message_queue(settings), spec, clock()).announce(event, message, url=url)
    send(settings)


def send(settings: Settings) -> None:
    """Send the queue; messages that cannot be sent now stay queued, with a note on stderr."""
    from evermodel.alerts.delivery import send_messages

    with output.step("messages") as say:
        reports = send_messages(settings)
        sent, waiting = sum(r.sent for r in reports), sum(r.waiting for r in reports)
        say(f"{sent} sent{_where(settings, reports)}{f', {waiting} queued' if waiting else ''}")
    for report in reports:
        if report.error is not None:
            typer.echo(f"A message is queued: {report.error}", err=True)


def _where(settings: Settings, reports: list[DeliveryReport]) -> str:
    """Return where the last message went: a channel, or a folder of the outbox."""
    from evermodel.alerts.publisher import message_queue

    queue = message_queue(settings)
    last = [queue.last_delivery(report.destination) for report in reports if report.sent]
    places = [found.get("path") or found.get("channel", "") for found in last if found]
    return f" to {', '.join(places)}" if any(places) else ""
