"""A thread that writes down, every few seconds, what this serving process has in memory and what it has counted."""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from evermodel.registry.serving_heartbeats import InMemory, ServingReport, clear_reports, write_report

_LOG = logging.getLogger(__package__)
_CLEAR_EVERY = 720  # writes; an hour at the usual pace


@dataclass(frozen=True)
class Process:
    """Who this process is."""

    environment: str
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    nonce: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @property
    def instance(self) -> str:
        """The process's name, which no other process ever has."""
        return f"{self.host}-{self.pid}-{self.nonce}"

    def report(self, model: str, held: InMemory, *, stopped: bool = False) -> ServingReport:
        """Return the report about what is in memory now."""
        return ServingReport(
            model=model,
            instance=self.instance,
            environment=self.environment,
            host=self.host,
            pid=self.pid,
            since=held.since,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            version=held.version,
            shares=held.shares,
            revision=held.revision,
            rollout=held.rollout,
            counts=held.counts,
            engine=held.engine,
            stopped=stopped,
        )


class Heartbeat:
    """Writes the reports of this process to ``lake/serving/reports/<model>/<instance>.json``.

    Whatever goes wrong (a full disk, a lake that is away) is logged once, and serving goes on; a process that cannot
    report counts as gone.

    Parameters
    ----------
    process
        Who reports.
    held
        By model, a function that tells what is in memory now. It is called in the reporter's thread.
    every
        Seconds between two reports; `wake` makes one at once.
    """

    def __init__(
        self, process: Process, lake: Path, held: Mapping[str, Callable[[], InMemory]], every: float = 5.0
    ) -> None:
        self._process = process
        self._lake = lake
        self._held = dict(held)
        self._every = every
        self._writes = 0
        self._failing = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="serving-reports", daemon=True)

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    def wake(self) -> None:
        """Report at once, because something changed; returns without waiting for it."""
        self._wake.set()

    def stop(self, timeout: float = 5.0) -> None:
        """Write the last report, which says that the process ended, and end the thread (timeout in seconds)."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def write(self, *, stopped: bool = False) -> None:
        """Write one report for each model; errors are logged once, never raised."""
        try:
            for model, held in self._held.items():
                write_report(self._lake, self._process.report(model, held(), stopped=stopped))
                if self._writes % _CLEAR_EVERY == 0:
                    clear_reports(self._lake, model, datetime.now(UTC))
            self._writes += 1
        except Exception as error:  # noqa: BLE001 - a report is never worth an answer
            if not self._failing:
                _LOG.warning(
                    'event=report_failed lake=%s error="%s: %s"', self._lake, type(error).__name__, error
                )
            self._failing = True
            return
        if self._failing:
            _LOG.info("event=report_recovered lake=%s", self._lake)
        self._failing = False

    def _run(self) -> None:
        while not self._stop.is_set():
            self.write()
            self._wake.wait(self._every)
            self._wake.clear()
        self.write(stopped=True)
