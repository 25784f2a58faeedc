"""The heartbeat of a serving process: every few seconds a report of its versions and counts."""

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

    def report(self, model: str, found: InMemory, *, stopped: bool = False) -> ServingReport:
        """Return the report of one model."""
        return ServingReport(
            model=model,
            instance=self.instance,
            environment=self.environment,
            host=self.host,
            pid=self.pid,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            stopped=stopped,
            **vars(found),
        )


class Heartbeat(ServiceThread):
    """Writes the reports of this process to ``lake/serving/reports/<model>/<instance>.json``.

    A failure (a full disk, an unavailable lake) is logged once, and serving continues; a process without recent reports
    counts as stopped.

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
        lake: Path,
        in_memory: Mapping[str, Callable[[], InMemory]],
        every: float = 5.0,
    ) -> None:
        super().__init__("heartbeat", patience=5.0)
        self._process = process
        self._lake = lake
        self._in_memory = dict(in_memory)
        self._every = every
        self._writes = 0
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
                write_report(self._lake, self._process.report(model, in_memory(), stopped=stopped))
                if self._writes % _CLEAR_EVERY == 0:
                    clear_reports(self._lake, model, datetime.now(UTC))
            self._writes += 1
        except Exception as error:  # noqa: BLE001 - a failed report must not affect the answers
            if not self._failing:
                _LOG.warning(
                    'event=report_failed lake=%s error="%s: %s"', self._lake, type(error).__name__, error
                )
            self._failing = True
            return
        if self._failing:
            _LOG.info("event=report_recovered lake=%s", self._lake)
        self._failing = False
