"""A thread that keeps the registry's tags about this host up to date: which version serves here."""

from __future__ import annotations

import logging
import threading
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

_LOG = logging.getLogger(__package__)


class LocationPublisher:
    """Writes one tag for each model and host, when what it says changes and once an hour.

    Of the processes of a host the first one by name does it, for all of them, from their reports in the lake. A
    registry that is away is logged once; the tag is then written when it is back.

    Parameters
    ----------
    every
        Seconds between two looks at the reports.
    """

    def __init__(
        self, process: Process, models: Sequence[str], settings: Settings, every: float = 10.0
    ) -> None:
        self._process = process
        self._settings = settings
        self._every = every
        self._written: dict[str, ServingLocations | None] = dict.fromkeys(models)
        self._failing = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="whereabouts", daemon=True)

    def start(self) -> None:
        """Begin to announce."""
        self._thread.start()

    def stop(self, timeout: float = 3.0) -> None:
        """Remove the tags if this was the last process of the host, and end the thread (timeout in seconds)."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def announce(self, now: datetime) -> None:
        """Write what changed; errors are logged once, never raised."""
        try:
            for model, written in self._written.items():
                self._written[model] = self._told(model, written, now)
        except Exception as error:  # noqa: BLE001 - a tag is never worth an answer
            if not self._failing:
                _LOG.warning('event=announce_failed error="%s: %s"', type(error).__name__, error)
            self._failing = True
            return
        self._failing = False

    def _told(self, model: str, written: ServingLocations | None, now: datetime) -> ServingLocations | None:
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

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self.announce(datetime.now(UTC))
        self.announce(datetime.now(UTC))
