"""The reconciler: brings what a process serves to the desired state of the registry, in the background."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import wait
from datetime import UTC, datetime

from evermodel.core.dag_ids import dag_id
from evermodel.core.settings import Settings
from evermodel.modeling.scoring.loaded_version import ServedModel
from evermodel.registry.serving_heartbeats import InMemory
from evermodel.registry.serving_reports import ServingReports
from evermodel.serving.cache import ModelCache
from evermodel.serving.desired_state import DesiredState
from evermodel.serving.metrics import Metrics
from evermodel.serving.preparation import PreparingSource
from evermodel.serving.routing_table import Traffic
from evermodel.serving.services import ServiceThread
from evermodel.serving.traffic_switch import TrafficSwitch
from evermodel.serving.versions import LoadedVersions, one_line
from evermodel.serving.workers import Workers
from evermodel.spec import ModelSpec

_LOG = logging.getLogger(__package__)
_WORKERS = ".workers"
_MOMENT = 0.05  # seconds
_FRESH = 0.5  # seconds for which the state that was read needs no second look


class _SupersededError(Exception):
    """The version that is loading is no longer wanted."""


class ReconcilerStatus:
    """Whether reconciling works; a failure is logged when it begins or changes, and so is the recovery."""

    def __init__(self, model: str, metrics: Metrics) -> None:
        self.last_error: str | None = None
        self.last_checked: datetime | None = None
        self.checked = threading.Event()
        self._model = model
        self.load_failures = metrics.load_failures.labels(model)

    def failed(self, error: str, serving: str) -> None:
        """Keep an error, and log it if it is another one than before."""
        if error != self.last_error:
            _LOG.warning('event=follow_failed model=%s serving=%s error="%s"', self._model, serving, error)
        self.last_error = error

    def recovered(self) -> None:
        """Clear the error."""
        if self.last_error is not None:
            _LOG.info("event=follow_recovered model=%s", self._model)
        self.last_error = None

    def finish_check(self) -> None:
        """Record the time of a check."""
        self.last_checked = datetime.now(UTC)
        self.checked.set()


class Reconciler(ServiceThread):
    """A thread that follows the champion and the traffic plan of one model in the registry.

    On any failure the versions in force continue to answer.
    """

    def __init__(
        self, spec: ModelSpec, settings: Settings, metrics: Metrics, poll_seconds: float, instance: str = ""
    ) -> None:
        super().__init__(f"reconcile-{spec.name}", patience=5.0)
        cache = ModelCache(settings.model_cache / spec.name)
        self.spec = spec
        self.status = ReconcilerStatus(spec.name, metrics)
        self.switch = TrafficSwitch(spec.name, metrics, ServingReports.of(settings), instance)
        self._source = PreparingSource(spec, settings.tracking_uri)
        self._versions = LoadedVersions(spec, cache, poll_seconds)
        self._workers = Workers(cache.folder / _WORKERS)
        self._poll_seconds = poll_seconds
        self._applied: DesiredState | None = None

    @property
    def traffic(self) -> Traffic | None:
        """The routing table in force."""
        return self.switch.traffic

    @property
    def current(self) -> ServedModel | None:
        """The champion in force."""
        return self.switch.champion

    def in_memory(self) -> InMemory:
        """Return the versions and counts of this process."""
        return self.traffic.in_memory() if self.traffic else InMemory(None)

    def run(self) -> None:
        """Check the registry until the process stops."""
        self._workers.join()
        try:
            while not self._stopping.is_set():
                self.check()
                self._workers.wait(self._stopping, self._poll_seconds)
        finally:
            self._source.stop()
            self._workers.leave()

    def check(self) -> None:
        """Read the registry once and apply its state; errors are kept in the status, never raised."""
        try:
            desired = self._source.read()
        except Exception as error:  # noqa: BLE001 - no failure may end the serving
            self.status.load_failures.inc()
            self._failed(one_line(error) + self._apply_last_good())
        else:
            self._reconcile(desired)
        self.switch.update_limit()
        self.status.finish_check()
        self._source.answering = True

    def _reconcile(self, desired: DesiredState | None) -> None:
        name = self.spec.name
        if desired is None:
            self._failed(
                f"model {name} has no champion in the registry; run the DAG {dag_id('retrain', name)}"
            )
            return
        try:
            problem = self._apply(desired)
        except _SupersededError:
            self._workers.hurry()
            return
        except Exception as error:  # noqa: BLE001 - such as a full disk: the versions in force continue
            problem = one_line(error)
        if problem:
            self._failed(problem)
        else:
            self.status.recovered()

    def _failed(self, error: str) -> None:
        self.status.failed(error, self.current.version if self.current else "none")

    def _apply(self, desired: DesiredState) -> str:
        """Load the desired versions and put them in force; return what fails."""
        wanted = [v for v in desired.versions if desired != self._applied or v in self._versions.failures]
        for version in wanted:  # the champion comes first
            if self._load(version, desired):
                self.status.load_failures.inc()
            if version == desired.champion:
                self._change_champion(desired)
        problem = self._problem(desired)
        if desired.champion not in self._versions.loaded and self.traffic is None:
            return problem + self._apply_last_good()
        self._switch(desired)
        return problem

    def _load(self, version: str, desired: DesiredState) -> bool:
        """Load a version while the registry is watched: a rollback does not wait for a download.

        Returns
        -------
        Whether the load failed now.

        Raises
        ------
        _SupersededError
            The desired state has changed, or the process stops.
        """
        new = version not in self._versions.loaded
        load = self._versions.load_in_thread(version, self._source)
        began = read_at = time.monotonic()
        while not wait([load], timeout=_MOMENT).done:
            if self._stopping.is_set():
                raise _SupersededError
            if time.monotonic() > read_at + self._poll_seconds:
                self._require_unchanged(desired)
                read_at = time.monotonic()
        if new and time.monotonic() > began + _FRESH:
            self._require_unchanged(desired)
        return load.result()

    def _require_unchanged(self, desired: DesiredState) -> None:
        try:
            newer = self._source.read()
        except Exception:  # noqa: BLE001 - an unavailable registry has no newer state
            return
        if newer != desired:
            raise _SupersededError

    def _change_champion(self, desired: DesiredState) -> None:
        """Put a new champion in force at once if other desired versions are not loaded yet."""
        loaded, failed = self._versions.loaded, self._versions.failures
        if self.current is None or self.current.version == desired.champion:
            return
        if desired.champion in loaded and any(v not in loaded and v not in failed for v in desired.versions):
            self.switch.swap(self.switch.table(desired, self._versions))
            self._workers.go_ahead(desired.key)

    def _apply_last_good(self) -> str:
        """Put the state in force that was last in force on this machine; return what fails."""
        desired = self._versions.load_last_good()
        if desired is None:
            return ""
        if desired.champion in self._versions.loaded:
            self._switch(desired)
            return ""
        failure = self._versions.failures.get(desired.champion)
        reason = one_line(failure.error) if failure else "the next attempt follows"
        return f"; the cached version {desired.champion} cannot be loaded either: {reason}"

    def _switch(self, desired: DesiredState) -> None:
        """Put the state in force, together with the other processes of this machine."""
        traffic = self.switch.table(desired, self._versions)
        if traffic != self.traffic:
            if not self._workers.ready(desired.key):
                return  # the other processes have a newer state: `wait` returns at once
            self.switch.swap(traffic)
        self._applied = desired
        self._versions.drop_all_but({*desired.versions, traffic.champion.version})
        if traffic.champion.version != desired.champion:
            self._workers.go_ahead(desired.key)
            return
        self._workers.follow(desired.key)
        self._versions.save_last_good(desired)

    def _problem(self, desired: DesiredState) -> str:
        """Return what keeps the desired state from being in force; empty if nothing does."""
        failures = {v: f for v, f in self._versions.failures.items() if v in desired.versions}
        champion = failures.pop(desired.champion, None)
        problems = [one_line(champion.error)] if champion else []
        problems += [desired.problem] if desired.problem else []
        problems += [
            f"version {version} cannot be loaded and the champion answers instead: {one_line(failed.error)}"
            for version, failed in failures.items()
        ]
        return "; ".join(problems)
