"""What the command line sends to people, and how it says that it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from evermodel.alerts.delivery import DeliveryReport
    from evermodel.alerts.message import Message
    from evermodel.alerts.queued_message import Event
    from evermodel.core.settings import Settings


def tell(model: str, settings: Settings, event: Event, message: Message, url: str = "") -> None:
    """Queue a message for the model's channel and notifiers, and send what waits; without a spec nobody is told."""
    from evermodel.alerts.publisher import Publisher, clock, message_queue
    from evermodel.core.errors import SpecError
    from evermodel.spec import load_spec

    try:
        spec = load_spec(model, settings)
    except SpecError as error:
        typer.echo(f"Nobody is told: {error.problem}", err=True)
        return
    dispatch = Publisher(message_queue(settings), spec, clock())
    dispatch.post(event, message, url=url)
    dispatch.notify(event, message, url=url)
    send(settings)


def send(settings: Settings) -> None:
    """Send what waits; what cannot be sent now is said on stderr and goes on waiting."""
    from evermodel.alerts.delivery import send_messages
    from evermodel.cli.steps import step

    with step("messages") as say:
        reports = send_messages(settings)
        sent, waiting = sum(r.sent for r in reports), sum(r.waiting for r in reports)
        say(f"{sent} sent{_where(settings, reports)}{f', {waiting} wait' if waiting else ''}")
    for report in reports:
        if report.error is not None:
            typer.echo(f"A message waits: {report.error}", err=True)


def _where(settings: Settings, reports: list[DeliveryReport]) -> str:
    """Return where the last message went: a channel, or a folder of the outbox."""
    from evermodel.alerts.publisher import message_queue

    queue = message_queue(settings)
    last = [queue.last_delivery(report.lane) for report in reports if report.sent]
    places = [found.get("path") or found.get("channel", "") for found in last if found]
    return f" to {', '.join(places)}" if any(places) else ""
