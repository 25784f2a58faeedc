"""The read model: served from its cache and refreshed in the background."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evermodel.alerts.incidents.response import responses_in_force
from evermodel.alerts.incidents.response_message import response_line
from evermodel.core.atomic import exclusive
from evermodel.core.database.schema import open_database
from evermodel.core.errors import EvermodelError, TrackingUnavailableError
from evermodel.core.settings import Settings
from evermodel.reports.overview.catalogue import SpecFolder, catalogue
from evermodel.reports.overview.features import MOST_DAYS, column_tests, drift_by_feature
from evermodel.reports.overview.history import ModelHistory, history_of
from evermodel.reports.overview.server import TrackingServer, server_address
from evermodel.reports.overview.shared_state import SharedState
from evermodel.reports.overview.store import Store
from evermodel.reports.overview.summary import summarise
from evermodel.reports.overview.sync import load, refresh
from evermodel.reports.overview.watched import keep_watched
from evermodel.spec.load import spec_files

REFRESH_SECONDS = 15.0
RELOAD_SECONDS = 3600.0
FIRST_WAIT = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """Age of the shown data.

    Parameters
    ----------
    seen
        Time of MLflow's last response; None: never.
    """

    seen: datetime | None
    problem: str
    missing: int
    away: bool = True

    @property
    def stale(self) -> bool:
        """Whether the data is older than a refresh that succeeds leaves it, so that its outcome is worth asking for."""
        return self.age is None or self.age > REFRESH_SECONDS

    @property
    def age(self) -> float | None:
        """Seconds since MLflow last answered."""
        return None if self.seen is None else (datetime.now(UTC) - self.seen).total_seconds()


class Overview:
    """All models, as stored in MLflow.

    Parameters
    ----------
    settings
        Folder of the file (``home``), MLflow server, and folder of the specs. Called again for every
        refresh, because an address may change.
    every
        Age in seconds from which a page view starts a refresh in the background.
    """

    def __init__(self, settings: Callable[[], Settings], every: float = REFRESH_SECONDS) -> None:
        self._settings = settings
        self._every = every
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._tried = 0.0
        self._shared: SharedState | None = None
        self._specs = SpecFolder()
        self.store = Store(settings().home / "overview.db")

    @property
    def address(self) -> str:
        """Browser address of MLflow; empty without a server, and then no model can be shown."""
        return server_address(self._settings().tracking_uri)

    def summaries(self) -> list[dict[str, Any]]:
        """Return the summaries of all models."""
        self._touch()
        self._wait(self._tried_once)
        loaded, said = self.store.loaded(), self._responses()
        return [_marked(summary, loaded, said) for summary in self.store.summaries()]

    def model(self, name: str) -> tuple[dict[str, Any], ModelHistory] | None:
        """Return summary and time line of one model, or None if there is no such model."""
        self._touch()
        self._wait(lambda: self.store.entry(name) is not None or self._tried_once())
        if self.store.entry(name) is None:
            return None
        loaded = self.store.loaded().get(name)
        if loaded is None or time.time() - loaded > RELOAD_SECONDS:
            ahead = threading.Thread(target=self._load_first, args=(name,), daemon=True)
            ahead.start()
            if loaded is None:  # without a history, a short wait is acceptable
                ahead.join(FIRST_WAIT)
        found = history_of(self.store, name)
        if found is None:
            return None
        summary = self.store.summary(name) or summarise(self.store, name)
        return _marked(summary, self.store.loaded(), self._responses()), found

    def features(self, name: str) -> dict[str, Any]:
        """Return the drift of each column on each day; see `drift_by_feature`."""
        return drift_by_feature(self.store, name)

    def catalogue(self, name: str) -> list[dict[str, Any]]:
        """Return what is known of a model's features from the specs; see `catalogue`."""
        return catalogue(self._specs.specs(spec_files(self._settings().models)), name)

    def tests(self, name: str, day: str, column: str) -> dict[str, Any] | None:
        """Read the tests of a column on a day from the stored verdict; None without that day.

        Raises
        ------
        TrackingUnavailableError
            MLflow does not answer, or has no verdict of this day any more.
        """
        runs = [one["run"] for one in self.store.runs(name, "features", MOST_DAYS) if one["day"] == day]
        if not runs:
            return None
        with TrackingServer(self._settings().tracking_uri, timeout=10.0) as server:
            return column_tests(server.artifact(runs[-1], "verdict.json"), column)

    def state(self) -> State:
        """Return the age of the data."""
        meta = self.store.meta()
        seen = float(meta["reached"]) if "reached" in meta else None
        missing = sum(1 for moment in self.store.loaded().values() if moment is None)
        at = None if seen is None else datetime.fromtimestamp(seen, UTC)
        return State(at, meta.get("problem", ""), missing, meta.get("fault", "") != "own")

    def update(self, every: float = 0.0) -> None:
        """Refresh the store, with the history of every model; errors are recorded, not raised.

        Parameters
        ----------
        every
            Age in seconds up to which what another API server read is new enough.
        """
        try:
            settings = self._settings()
            self.store.path.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(self.store.path.with_suffix(".lock")) as alone:
                if not alone:
                    return  # another process refreshes
                shared = self._sharing(settings)
                with shared.turn(every) as mine:
                    if mine:
                        self._read(settings, shared)
                keep_watched(self.store, settings.database_url, spec_names(settings.models))
        except Exception as error:  # noqa: BLE001 - a thread must not end silently and leave an old page
            self._failed(error)

    def wait(self) -> None:
        """Wait for a running refresh."""
        worker = self._worker
        if worker is not None:
            worker.join()

    def _sharing(self, settings: Settings) -> SharedState:
        """Return the state in the database; the same as before unless an address changed."""
        place = settings.database_url, server_address(settings.tracking_uri)
        if self._shared is None or (self._shared.address, self._shared.source) != place:
            self._shared = SharedState(*place, self.store)
        return self._shared

    def _read(self, settings: Settings, shared: SharedState) -> None:
        """Refresh the store from MLflow; an error is recorded for the other API servers, too."""
        try:
            with TrackingServer(settings.tracking_uri) as server:
                self._probe(server, shared)
                changed = refresh(self.store, server, spec_names(settings.models))
                self.store.note(problem="", fault="")
                shared.keep(changed)
                self._complete(server, settings, shared)
        except Exception as error:  # noqa: BLE001 - as in `update`
            self._failed(error)
            shared.tell()

    def _probe(self, server: TrackingServer, shared: SharedState) -> None:
        """Record at once that MLflow hangs; a slow one still has the time that its searches need."""
        try:
            server.probe()
        except TrackingUnavailableError as error:
            self._failed(error)
            shared.tell()

    def _complete(self, server: TrackingServer, settings: Settings, shared: SharedState) -> None:
        """Read the history of models that have none yet, between refreshes."""
        fresh, changed = time.monotonic(), set[str]()
        for name in [name for name, moment in self.store.loaded().items() if moment is None]:
            load(self.store, server, name)
            changed.add(name)
            if time.monotonic() - fresh > self._every:
                shared.keep(changed | refresh(self.store, server, spec_names(settings.models)))
                fresh, changed = time.monotonic(), set()
        if changed:
            shared.keep(changed)

    def _responses(self) -> dict[tuple[str, str], str]:
        """Return what people answered to open incidents, as text; nothing while the database is out of reach."""
        try:
            with open_database(self._settings().database_url).reading() as connection:
                found = responses_in_force(connection, datetime.now(UTC))
        except EvermodelError as error:
            log.warning("the answers to incidents are not shown on the Models page: %s", error)
            return {}
        return {key: response_line(response) for key, response in found.items()}

    def _tried_once(self) -> bool:
        """Tell whether there is an outcome of a refresh, or what another API server read."""
        return bool({"synced", "problem"} & self.store.meta().keys())

    def _touch(self) -> None:
        """Start a refresh in the background if the last one is too old."""
        with self._lock:
            running = self._worker is not None and self._worker.is_alive()
            if running or (time.monotonic() - self._tried < self._every and self._tried):
                return
            self._tried = time.monotonic()
            self._worker = threading.Thread(
                target=self.update, args=(self._every,), name="evermodel-overview", daemon=True
            )
            self._worker.start()

    def _wait(self, there: Callable[[], bool]) -> None:
        """Wait briefly for MLflow's first response."""
        deadline = time.monotonic() + FIRST_WAIT
        while time.monotonic() < deadline and not there():
            if self._worker is None or not self._worker.is_alive():
                return
            time.sleep(0.02)

    def _load_first(self, name: str) -> None:
        """Read one model's history ahead of the others."""
        try:
            with TrackingServer(self._settings().tracking_uri) as server:
                load(self.store, server, name)
        except Exception as error:  # noqa: BLE001 - as in `update`
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Record why the refresh failed."""
        if isinstance(error, EvermodelError):
            problem, fault = error.problem, "mlflow"
        else:
            log.error("the Models page could not be refreshed", exc_info=error)
            problem = f"{type(error).__name__}: {error} (see the API server's log)"
            fault = "own"
        try:
            self.store.note(problem=problem, fault=fault)
        except (OSError, sqlite3.Error):
            log.exception("the error could not be recorded in %s", self.store.path)


def _marked(
    summary: dict[str, Any], loaded: dict[str, float | None], said: dict[tuple[str, str], str]
) -> dict[str, Any]:
    """Return a summary with ``read``, whether the model's days and retrains were ever read, and each incident's ``response``."""
    name = summary["name"]
    incidents = [{**one, "response": said.get((name, one["id"]), "")} for one in summary["incidents"]]
    return {**summary, "read": loaded.get(name) is not None, "incidents": incidents}


def spec_names(folder: Path) -> list[str]:
    """Return the names of the model specs in a folder; none if the folder does not exist."""
    return sorted(path.stem for path in folder.glob("*.yaml") if not path.stem.endswith(".schema"))
