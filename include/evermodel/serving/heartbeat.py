"""What a serving process tells others: reports of its versions and counts in the database, and its host in the registry."""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from evermodel.core.settings import Settings
from evermodel.registry import tracking
from evermodel.registry.serving_heartbeats import InMemory, ServingReport
from evermodel.registry.serving_locations import (
    REFRESH,
    ServingLocations,
    serving_locations_of,
    write_serving_locations,
)
from evermodel.registry.serving_reports import ServingReports
from evermodel.serving.services import ServiceThread

_LOG = logging.getLogger(__package__)
_CLEAR_EVERY = 720  # reports; an hour at the default interval


@dataclass(frozen=True)
class Process:
    """The identity of this process."""

    environment: str
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    nonce: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @property
    def instance(self) -> str:
        """A name that no other process ever has."""
        return f"{self.host}-{self.pid}-{self.nonce}"

    def report(self, model: str, found: InMemory, *, number: int = 0, stopped: bool = False) -> ServingReport:
        """Return the report of one model."""
        return ServingReport(
            model=model,
            instance=self.instance,
            environment=self.environment,
            host=self.host,
            pid=self.pid,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            stopped=stopped,
            number=number,
            **vars(found),
        )


class Heartbeat(ServiceThread):
    """Writes the reports of this process to the database, in a thread of its own.

    A failure (a database that is away) is logged once, serving continues, and the next report contains what the lost ones did;
    a process without recent reports counts as stopped.

    Parameters
    ----------
    in_memory
        By model, a function that returns its versions and counts; called in the heartbeat's thread.
    every
        Seconds between two reports; `wake` causes one at once.
    """

    def __init__(
        self,
        process: Process,
        reports: ServingReports,
        in_memory: Mapping[str, Callable[[], InMemory]],
        every: float = 5.0,
    ) -> None:
        super().__init__("heartbeat", patience=5.0)
        self._process = process
        self._reports = reports
        self._in_memory = dict(in_memory)
        self._every = every
        self._number = 0
        self._failing = False
        self._wake = threading.Event()

    def wake(self) -> None:
        """Report at once; returns without waiting for it."""
        self._wake.set()

    def cancel(self) -> None:
        """Let the thread write the last report, which says that the process has stopped, and end."""
        super().cancel()
        self.wake()

    def run(self) -> None:
        """Report until the process stops."""
        while not self._stopping.is_set():
            self.write()
            self._wake.wait(self._every)
            self._wake.clear()
        self.write(stopped=True)

    def write(self, *, stopped: bool = False) -> None:
        """Write one report for each model; errors are logged once, never raised."""
        try:
            for model, in_memory in self._in_memory.items():
                report = self._process.report(model, in_memory(), number=self._number, stopped=stopped)
                self._reports.write(report)
            if self._number % _CLEAR_EVERY == 0:
                self._reports.clear()
            self._number += 1
        except Exception as error:  # noqa: BLE001 - a failed report must not affect the answers
            if not self._failing:
                _LOG.warning('event=report_failed error="%s: %s"', type(error).__name__, error)
            self._failing = True
            return
        if self._failing:
            _LOG.info("event=report_recovered")
        self._failing = False


class LocationPublisher(ServiceThread):
    """Writes one tag for each model and host when its content changes, and once an hour.

    Of the processes of a host, the first by name writes the tag for all of them, from their reports; the last
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
        self._tracking_uri = settings.tracking_uri
        self._reports = ServingReports.of(settings)
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
                _LOG.info('event=announce_refused reason="this login only reads; status has the reports"')
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
        found = self._reports.live(model)
        ours = [report for report in found if (report.host, report.environment) == here]
        if not ours:
            if written is not None:
                client = tracking.connect(self._tracking_uri)
                client.delete_registered_model_tag(model, written.tag)
            return None
        if min(report.instance for report in ours) != self._process.instance:
            return None
        wanted = serving_locations_of(ours, now)
        if wanted is None or wanted.version is None:
            return written
        new = written is None or now - datetime.fromisoformat(written.at) >= REFRESH
        if not new and wanted.same_as(written):
            return written
        write_serving_locations(tracking.connect(self._tracking_uri), model, now, wanted)
        return wanted
