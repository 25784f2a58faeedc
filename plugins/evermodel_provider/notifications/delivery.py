"""Empties the queue of messages through Airflow's connections: Slack, the outbox, and other notifiers."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.alerts.delivery import DeliveryReport, send_waiting
from evermodel.alerts.message import Message
from evermodel.alerts.publisher import Publisher, clock, message_queue, slack_destination
from evermodel.alerts.queued_message import Destination, Event
from evermodel.alerts.transport import Transport
from evermodel.core.errors import PermanentError
from evermodel.core.settings import Settings
from evermodel.spec import load_spec
from evermodel_provider.notifications.other import OtherNotifier
from evermodel_provider.notifications.slack import SlackSender

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec

log = logging.getLogger(__name__)


def send_queue(settings: Settings) -> list[DeliveryReport]:
    """Send what waits, to wherever it goes; what cannot be sent now stays, and is said in the log."""
    queue = message_queue(settings)
    return send_waiting(queue, lambda lane: _carrier(lane, settings), clock)


def send_from_command_line(settings: Settings) -> list[DeliveryReport]:
    """Send what waits, outside of a task: connections come from the environment, or from Airflow's database."""
    ask_airflow_database()
    return send_queue(settings)


def ask_airflow_database() -> None:
    """Let this process, which is no task, look up connections in Airflow's database, if there is one."""
    from airflow.sdk.configuration import conf
    from sqlalchemy.engine import make_url

    database = make_url(conf.get("database", "sql_alchemy_conn"))
    # Looking into a database that Airflow never made would make an empty one.
    if database.get_backend_name() != "sqlite" or Path(database.database or "").is_file():
        # What Airflow's own command line sets; without it the database is not asked.
        os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


def tell(
    spec: ModelSpec, settings: Settings, event: Event, message: Message, url: str = "", thread: str = ""
) -> dict[str, Any]:
    """Queue one message for the model's channel and its notifiers, send what waits, and return where it went.

    :param thread: Identity of the message whose thread it is an answer in; empty: a message of its own.
    :raises PermanentError: Slack's connection or the channel has to be put right; the message waits until then.
    """
    queue = message_queue(settings)
    dispatch = Publisher(queue, spec, clock())
    dispatch.post(event, message, url=url, thread=thread)
    dispatch.notify(event, message, url=url)
    require(spec, send_queue(settings))
    return delivery_of(spec, settings, message.identity)


def delivery_of(spec: ModelSpec, settings: Settings, message: str) -> dict[str, Any]:
    """Return where a message went, or that it waits."""
    found = message_queue(settings).receipt(slack_destination(spec.alerts), message)
    return found or {"kind": "queued", "channel": spec.alerts.channel, "ts": "", "path": ""}


def require(spec: ModelSpec, reports: list[DeliveryReport]) -> None:
    """Raise what has to be put right about the model's own channels; a server that is away is no such thing."""
    alerts = spec.alerts
    lanes = [slack_destination(alerts), slack_destination(alerts, alerts.escalation.channel or "")]
    for report in reports:
        if report.lane in lanes and isinstance(report.error, PermanentError):
            raise report.error


def _carrier(lane: Destination, settings: Settings) -> Transport:
    if lane.kind == "slack":
        last = message_queue(settings).last_delivery(lane)
        known = last["channel"] if last and last["kind"] == "slack" else ""
        return SlackSender(lane.address["connection"], lane.address["channel"], settings.outbox, known)
    spec, number = load_spec(lane.address["model"], settings), int(lane.address["number"])
    declared = list(spec.alerts.notifiers)
    same = [other for other in declared if other.notifier == lane.address["notifier"]]
    if number < len(declared) and declared[number] in same:
        return OtherNotifier(declared[number])
    if same:
        return OtherNotifier(same[0])
    raise PermanentError(
        f"model {spec.name} no longer names the notifier {lane.address['notifier']}, but messages for it wait",
        f"name it again under alerts.notifiers, or delete the folder {lane.name} in {settings.lake / 'messages'}",
    )
