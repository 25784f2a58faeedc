"""Sends what waits in the queue through whatever layer is installed that can: the command line's way out."""

from __future__ import annotations

from importlib.metadata import entry_points

from evermodel.alerts.delivery import LaneReport
from evermodel.alerts.dispatch import message_queue
from evermodel.settings import Settings

# The domain knows no Airflow; who can send registers under this name.
GROUP = "evermodel.messages"


def send_messages(settings: Settings) -> list[LaneReport]:
    """Send what waits, if anything does; without a sender it goes on waiting."""
    if not message_queue(settings).lanes():
        return []
    reports: list[LaneReport] = []
    for sender in entry_points(group=GROUP):
        reports += sender.load()(settings)
    return reports
