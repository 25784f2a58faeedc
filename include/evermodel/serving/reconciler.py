"""Who answers for a model now, replaced in the background when the registry orders something else."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.core.settings import Settings
from evermodel.modeling import model_store
from evermodel.modeling.scoring.loaded_version import ServedModel
from evermodel.registry import tracking
from evermodel.registry.serving_heartbeats import InMemory
from evermodel.serving.cache import LastGoodState, ModelCache
from evermodel.serving.counters import ServingCounters
from evermodel.serving.desired_state import DesiredState, desired_state_of
from evermodel.serving.exposure import cap_of
from evermodel.serving.metrics import Metrics
from evermodel.serving.routing_table import Traffic, arms_of
from evermodel.serving.versions import LoadedVersions, described
from evermodel.serving.workers import Workers
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient

_LOG = logging.getLogger(__package__)
_WORKERS = ".workers"
_MOMENT = 0.05  # seconds


class _SupersededError(Exception):
    """What is being loaded is not wanted any more."""


class Reconciler:
    """Holds who answers, and a thread that follows the champion and the traffic plan in the registry.

    Whatever goes wrong while following, who answered last goes on answering; the error is kept in `last_error` and
    logged once.

    Parameters
    ----------
    spec
        The model to follow.
    settings
        Where the registry, the lake and the local cache are.
    metrics
        Takes swaps and failures.
    poll_seconds
        Pause between two looks at the registry.
    instance
        Name of this process in its reports.
    """

    def __init__(
        self, spec: ModelSpec, settings: Settings, metrics: Metrics, poll_seconds: float, instance: str = ""
    ) -> None:
        self.spec = spec
        self.traffic: Traffic | None = None
        self.last_error: str | None = None
        self.last_checked: datetime | None = None
        self.looked = threading.Event()
        self.on_swap: Callable[[], None] = lambda: None
        self._settings = settings
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._instance = instance
        self._cache = ModelCache(settings.model_cache / spec.name)
        self._versions = LoadedVersions(spec, self._cache, poll_seconds)
        self._workers = Workers(self._cache.folder / _WORKERS)
        self._client: MlflowClient | None = None
        self._orders: DesiredState | None = None
        self._kept: LastGoodState | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"follow-{spec.name}", daemon=True)

    @property
    def current(self) -> ServedModel | None:
        """The champion that answers."""
        return self.traffic.champion if self.traffic else None

    def in_memory(self) -> InMemory:
        """Return what this process has in memory and has counted."""
        return self.traffic.in_memory() if self.traffic else InMemory(None)

    def start(self) -> None:
        """Begin to follow the registry."""
        self._thread.start()

    def stop(self) -> None:
        """Let following end; a download under way is abandoned."""
        self._stop.set()

    def join(self, timeout: float = 5.0) -> None:
        """Wait until following has ended, or the timeout (in seconds) is over."""
        if self._thread.is_alive():
            self._thread.join(timeout)

    def check(self) -> None:
        """Look at the registry once and do what it orders; errors are kept, never raised."""
        try:
            orders = self._look()
        except Exception as error:  # noqa: BLE001 - whatever fails here must not end the serving
            self._client = None
            self._metrics.load_failures.labels(self.spec.name).inc()
            self._note(described(error) + self._follow_cached())
        else:
            self._do(orders)
        if self.traffic is not None:
            self._limit(self.traffic)
        self.last_checked = datetime.now(UTC)
        self.looked.set()

    def _follow(self) -> None:
        self._workers.join()
        try:
            while not self._stop.is_set():
                self.check()
                self._workers.wait(self._stop, self._poll_seconds)
        finally:
            self._workers.leave()

    def _look(self) -> DesiredState | None:
        """Ask the registry, with one call: champion and plan are of the same moment."""
        from mlflow.exceptions import MlflowException

        if self._client is None:
            self._client = tracking.connect(self._settings.tracking_uri)
        try:
            found = self._client.get_registered_model(self.spec.name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return desired_state_of(found, with_previous=self.spec.serving.fallback.kind == "previous")

    def _do(self, orders: DesiredState | None) -> None:
        name = self.spec.name
        if orders is None:
            self._note(f"model {name} has no champion in the registry; retrain_{name} makes one")
            return
        try:
            trouble = self._obey(orders)
        except _SupersededError:
            self._workers.hurry()
            return
        except Exception as error:  # noqa: BLE001 - such as a full disk: who answers goes on answering
            trouble = described(error)
        if trouble:
            self._note(trouble)
        else:
            self._recovered()

    def _obey(self, orders: DesiredState) -> str:
        """Load what the orders name and put them into force; return what cannot be done."""
        wanted = [v for v in orders.versions if orders != self._orders or v in self._versions.failures]
        for version in wanted:  # the champion comes first
            if self._bring(version, orders):
                self._metrics.load_failures.labels(self.spec.name).inc()
            if version == orders.champion:
                self._change_champion(orders)
        trouble = self._trouble(orders)
        if orders.champion not in self._versions.loaded and self.traffic is None:
            trouble += self._follow_cached()
        else:
            self._switch(orders)
        return trouble

    def _bring(self, version: str, orders: DesiredState) -> bool:
        """Load a version in the background, while the registry is watched: a rollback does not wait for a download.

        Returns
        -------
        Whether the version was tried and failed now.

        Raises
        ------
        _SupersededError
            The registry orders something else by now, or the process ends.
        """
        client, name = self._client, self.spec.name
        if client is None:
            raise RuntimeError("orders are obeyed only after the registry gave them")

        def origin() -> str:
            return str(client.get_model_version(name, version).source)

        def download(folder: Path) -> None:
            model_store.download(client, f"models:/{name}/{version}", folder)

        new = version not in self._versions.loaded
        attempt = self._versions.begin(version, origin, download)
        looked = time.monotonic()
        while not wait([attempt], timeout=_MOMENT).done:
            if self._stop.is_set():
                raise _SupersededError
            if time.monotonic() > looked + self._poll_seconds:
                self._look_again(orders)
                looked = time.monotonic()
        if new:
            self._look_again(orders)
        return attempt.result()

    def _look_again(self, orders: DesiredState) -> None:
        try:
            newer = self._look()
        except Exception:  # noqa: BLE001 - a registry that is away orders nothing new
            return
        if newer != orders:
            raise _SupersededError

    def _change_champion(self, orders: DesiredState) -> None:
        """Let a new champion answer at once if other versions that the orders name have yet to be loaded."""
        loaded, failed = self._versions.loaded, self._versions.failures
        if self.traffic is None or self.traffic.champion.version == orders.champion:
            return
        if orders.champion in loaded and any(v not in loaded and v not in failed for v in orders.versions):
            traffic = self._composed(orders)
            self._limit(traffic)
            self._swap(traffic)
            self._workers.go_ahead(orders.key)

    def _follow_cached(self) -> str:
        """Do what was done last on this machine, here or in another process; return what is wrong with it, if so."""
        good = self._cache.last_good()
        if good is None or (self.traffic is not None and self._kept and good.orders == self._kept.orders):
            return ""
        for version in good.orders.versions:
            if version in good.origins:
                self._versions.bring(version, partial(good.origins.__getitem__, version), _refuse)
        if good.orders.champion in self._versions.loaded:
            self._switch(good.orders)
            return ""
        failure = self._versions.failures.get(good.orders.champion)
        why = described(failure.error) if failure else "it is tried again later"
        return f"; the cached version {good.orders.champion} is broken, too: {why}"

    def _switch(self, orders: DesiredState) -> None:
        """Put the orders into force, together with the other processes of this machine."""
        traffic = self._composed(orders)
        if traffic != self.traffic:
            if not self._workers.ready(orders.key):
                return  # the others know of newer orders: `wait` returns at once
            self._limit(traffic)
            self._swap(traffic)
        self._orders = orders
        self._versions.keep({*orders.versions, traffic.champion.version})
        if traffic.champion.version != orders.champion:
            self._workers.go_ahead(orders.key)
            return
        self._workers.follow(orders.key)
        good = LastGoodState(orders, self._versions.origins)
        if good != self._kept:
            self._cache.mark_good(good)
            self._kept = good

    def _composed(self, orders: DesiredState) -> Traffic:
        loaded, plan = self._versions.loaded, orders.plan
        champion = loaded.get(orders.champion)
        if champion is None:  # the last good one goes on, alone: the plan was made for another champion
            if self.traffic is None:
                raise RuntimeError("nothing can answer")
            champion, plan = self.traffic.champion, None
        missing = {v: f.error for v, f in self._versions.failures.items() if v in orders.versions}
        same = self.traffic is not None and self.traffic.champion is champion
        return Traffic(
            champion,
            arms=arms_of(plan, champion, loaded) if plan else (),
            previous=loaded.get(orders.previous) if orders.previous else None,
            shadow=loaded.get(plan.challenger) if plan and plan.shadow else None,
            plan=plan,
            missing=tuple((version, described(error)) for version, error in missing.items()),
            since=self.traffic.since if same and self.traffic else datetime.now(UTC),
            tally=self._tally(orders, champion.version),
        )

    def _tally(self, orders: DesiredState, champion: str) -> ServingCounters:
        """Go on counting while the step lasts; counts begin anew with each step, and with each champion."""
        plan = orders.plan if orders.champion == champion else None
        epoch = (plan.run_key, str(plan.step)) if plan else ("", champion)
        if self.traffic is not None and self.traffic.tally.epoch == epoch:
            return self.traffic.tally
        return ServingCounters(epoch, plan.revision if plan else 0)

    def _limit(self, traffic: Traffic) -> None:
        """Bound what the challenger may answer here, so that all processes together stay within the step's limit."""
        if traffic.plan is None or traffic.plan.limit is None:
            return
        tally = traffic.tally
        try:
            tally.cap = cap_of(traffic.plan, tally.revision, self._settings.lake, self._instance)
        except Exception as error:  # noqa: BLE001 - what the others have used is not known: the champion answers
            tally.cap = min(tally.cap, tally.taken)
            _LOG.warning('event=limit_unknown model=%s error="%s"', self.spec.name, error)

    def _swap(self, traffic: Traffic) -> None:
        before, self.traffic = self.traffic, traffic
        name, now = self.spec.name, traffic.champion.version
        was = before.champion.version if before else None
        self._metrics.traffic.shared(name, traffic.shares)
        if before is None or before.champion is not traffic.champion:
            self._metrics.swapped(name, was, now)
            _LOG.info("event=swap model=%s from=%s to=%s", name, was or "none", now)
        if traffic.plan is not None or (before is not None and before.plan is not None):
            shares = ",".join(f"{version}:{share:.4g}" for version, share in traffic.shares.items())
            revision = traffic.plan.revision if traffic.plan else 0
            _LOG.info("event=traffic model=%s revision=%d shares=%s", name, revision, shares)
        self.on_swap()

    def _trouble(self, orders: DesiredState) -> str:
        """Say what cannot be done as ordered; empty if everything can."""
        failures = {v: f for v, f in self._versions.failures.items() if v in orders.versions}
        champion = failures.pop(orders.champion, None)
        told = [described(champion.error)] if champion else []
        told += [orders.trouble] if orders.trouble else []
        told += [
            f"version {version} cannot be loaded, the champion answers in its place: {described(failed.error)}"
            for version, failed in failures.items()
        ]
        return "; ".join(told)

    def _note(self, message: str) -> None:
        if message != self.last_error:
            serving = self.current.version if self.current else "none"
            _LOG.warning(
                'event=follow_failed model=%s serving=%s error="%s"', self.spec.name, serving, message
            )
        self.last_error = message

    def _recovered(self) -> None:
        if self.last_error is not None:
            _LOG.info("event=follow_recovered model=%s", self.spec.name)
        self.last_error = None


def _refuse(folder: Path) -> None:
    raise FileNotFoundError(f"{folder.name} was taken out of the cache meanwhile")
