"""The publisher of this host's location: tags in the registry that say which version serves here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from evermodel.core.settings import Settings
from evermodel.registry import tracking
from evermodel.registry.serving_heartbeats import read_reports
from evermodel.registry.serving_locations import (
    REFRESH,
    ServingLocations,
    remove_serving_locations,
    serving_locations_of,
    write_serving_locations,
)
from evermodel.serving.heartbeat import Process
from evermodel.serving.services import ServiceThread

_LOG = logging.getLogger(__package__)


class LocationPublisher(ServiceThread):
    """Writes one tag for each model and host when its content changes, and once an hour.

    Of the processes of a host, the first by name writes the tag for all of them, from their reports in the lake; the last
    one removes it. A failure is logged once, and the tag is written when the registry is available again; where the login
    may only read, there is no tag.

    Parameters
    ----------
    every
        Seconds between two reads of the reports.
    """

    def __init__(
        self, process: Process, models: Sequence[str], settings: Settings, every: float = 10.0
    ) -> None:
        super().__init__("serving-locations", patience=3.0)
        self._process = process
        self._settings = settings
        self._every = every
        self._written: dict[str, ServingLocations | None] = dict.fromkeys(models)
        self._failing = False

    def run(self) -> None:
        """Publish until the process stops, and a last time after its last report."""
        while not self._stopping.wait(self._every):
            self.publish(datetime.now(UTC))
        self.publish(datetime.now(UTC))

    def publish(self, now: datetime) -> None:
        """Write the tags that have changed; errors are logged once, never raised."""
        try:
            for model, written in self._written.items():
                self._written[model] = self._published(model, written, now)
        except Exception as error:  # noqa: BLE001 - a failed tag must not affect the answers
            if getattr(error, "error_code", "") == "PERMISSION_DENIED":
                _LOG.info(
                    'event=announce_refused reason="this login only reads; status has the reports in the lake"'
                )
                self._written.clear()
            elif not self._failing:
                _LOG.warning('event=announce_failed error="%s: %s"', type(error).__name__, error)
            self._failing = True
            return
        self._failing = False

    def _published(
        self, model: str, written: ServingLocations | None, now: datetime
    ) -> ServingLocations | None:
        here = (self._process.host, self._process.environment)
        found = read_reports(self._settings.lake, model, now).live
        ours = [report for report in found if (report.host, report.environment) == here]
        if not ours:
            if written is not None:
                remove_serving_locations(tracking.connect(self._settings.tracking_uri), model, written)
            return None
        if min(report.instance for report in ours) != self._process.instance:
            return None
        wanted = serving_locations_of(ours, now)
        if wanted is None or wanted.version is None:
            return written
        new = written is None or now - datetime.fromisoformat(written.at) >= REFRESH
        if not new and wanted.same_as(written):
            return written
        write_serving_locations(tracking.connect(self._settings.tracking_uri), model, now, wanted)
        return wanted
