"""Delivery of the message queue through Airflow's connections: Slack, the outbox, and other notifiers."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from evermodel.alerts.delivery import DeliveryReport, send_waiting
from evermodel.alerts.message import Message
from evermodel.alerts.publisher import Publisher, clock, message_queue, slack_destination
from evermodel.alerts.queued_message import Destination, Event, Transport
from evermodel.core.errors import PermanentError
from evermodel.core.settings import Settings
from evermodel.spec import load_spec
from evermodel_provider.notifications.other import OtherNotifier
from evermodel_provider.notifications.slack import SlackSender

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec
    from evermodel_provider.results import DeliveryResult

log = logging.getLogger(__name__)


def send_queue(settings: Settings) -> list[DeliveryReport]:
    """Send the queued messages to their destinations; failures are logged and stay queued."""
    queue = message_queue(settings)
    return send_waiting(queue, lambda destination: _transport(destination, settings), clock)


def send_from_command_line(settings: Settings) -> list[DeliveryReport]:
    """Send the queued messages outside of a task; connections come from the environment or Airflow's database."""
    ask_airflow_database()
    return send_queue(settings)


def ask_airflow_database() -> None:
    """Allow this process, which is not a task, to read connections from Airflow's database, if there is one."""
    from airflow.providers.common.compat.sdk import conf
    from sqlalchemy.engine import make_url

    database = make_url(conf.get("database", "sql_alchemy_conn"))
    # Opening a missing SQLite database would create an empty one.
    if database.get_backend_name() != "sqlite" or Path(database.database or "").is_file():
        # Airflow's own command line sets this; without it the database is not read.
        os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


def tell(
    spec: ModelSpec, settings: Settings, event: Event, message: Message, url: str = "", thread: str = ""
) -> DeliveryResult:
    """Queue one message for the model's channel and its notifiers, send the queue, and return the delivery.

    :param thread: Identity of the message whose thread it joins; empty: a new message.
    :raises PermanentError: Slack's connection or the channel needs a fix; the message stays queued.
    """
    publisher = Publisher(message_queue(settings), spec, clock())
    publisher.announce(event, message, url=url, thread=thread)
    require(spec, send_queue(settings))
    return delivery_of(spec, settings, message.identity)


def delivery_of(spec: ModelSpec, settings: Settings, message: str) -> DeliveryResult:
    """Return where a message was delivered, or that it is queued."""
    found = message_queue(settings).receipt(slack_destination(spec.alerts), message)
    queued = {"kind": "queued", "channel": spec.alerts.channel, "ts": "", "path": ""}
    return cast("DeliveryResult", found or queued)


def require(spec: ModelSpec, reports: list[DeliveryReport]) -> None:
    """Raise the permanent errors of the model's own channels; an unavailable server is not one."""
    alerts = spec.alerts
    own = [slack_destination(alerts), slack_destination(alerts, alerts.escalation.channel or "")]
    for report in reports:
        if report.destination in own and isinstance(report.error, PermanentError):
            raise report.error


def _transport(destination: Destination, settings: Settings) -> Transport:
    if destination.kind == "slack":
        last = message_queue(settings).last_delivery(destination)
        known = last["channel"] if last and last["kind"] == "slack" else ""
        return SlackSender(
            destination.address["connection"], destination.address["channel"], settings.outbox, known
        )
    spec, number = load_spec(destination.address["model"], settings), int(destination.address["number"])
    declared = list(spec.alerts.notifiers)
    same = [other for other in declared if other.notifier == destination.address["notifier"]]
    if number < len(declared) and declared[number] in same:
        return OtherNotifier(declared[number])
    if same:
        return OtherNotifier(same[0])
    raise PermanentError(
        f"model {spec.name} no longer names the notifier {destination.address['notifier']}, but messages for it are queued",
        f"name it again under alerts.notifiers, or delete its messages: evermodel db drop-messages {destination.name}",
    )
