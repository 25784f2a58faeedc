"""The read model: answers at once from what was seen last, and brings it up to date in the background."""

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

from filelock import FileLock, Timeout

from evermodel.core.errors import EvermodelError
from evermodel.core.settings import Settings
from evermodel.reports.overview.address import server_address
from evermodel.reports.overview.history import ModelHistory, history_of
from evermodel.reports.overview.server import TrackingServer
from evermodel.reports.overview.store import Store
from evermodel.reports.overview.summary import summarise
from evermodel.reports.overview.sync import load, refresh

REFRESH_SECONDS = 15.0
RELOAD_SECONDS = 3600.0
FIRST_WAIT = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """How new what is shown is.

    Parameters
    ----------
    seen
        When MLflow last answered; None: never.
    problem
        Why the last attempt failed; empty if it did not.
    away
        Whether it failed because MLflow does not answer.
    missing
        Models whose history is not read yet.
    """

    seen: datetime | None
    problem: str
    missing: int
    away: bool = True

    @property
    def age(self) -> float | None:
        """Seconds since MLflow last answered."""
        return None if self.seen is None else (datetime.now(UTC) - self.seen).total_seconds()


class Overview:
    """All models under care, as MLflow has them.

    Parameters
    ----------
    settings
        Where the file is kept (``home``), which server is read, and where the specs are. Called again for every
        refresh, because an address may change.
    every
        Seconds after which a page that is opened starts a refresh in the background.
    """

    def __init__(self, settings: Callable[[], Settings], every: float = REFRESH_SECONDS) -> None:
        self._settings = settings
        self._every = every
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._tried = 0.0
        self.store = Store(settings().home / "overview.db")

    @property
    def address(self) -> str:
        """Where people find MLflow; empty if it is used without a server, and then nothing can be shown."""
        return server_address(self._settings().tracking_uri)

    def summaries(self) -> list[dict[str, Any]]:
        """Return what the list shows of every model."""
        self._touch()
        self._wait(lambda: "synced" in self.store.meta())
        return self.store.summaries()

    def model(self, name: str) -> tuple[dict[str, Any], ModelHistory] | None:
        """Return summary and time line of one model, or None if there is no such model."""
        self._touch()
        self._wait(lambda: self.store.entry(name) is not None or "synced" in self.store.meta())
        if self.store.entry(name) is None:
            return None
        loaded = self.store.loaded().get(name)
        if loaded is None or time.time() - loaded > RELOAD_SECONDS:
            ahead = threading.Thread(target=self._load_first, args=(name,), daemon=True)
            ahead.start()
            if loaded is None:  # there is little to show yet, so a moment is worth it; more would be a hang
                ahead.join(FIRST_WAIT)
        found = history_of(self.store, name)
        return None if found is None else (self.store.summary(name) or summarise(self.store, name), found)

    def state(self) -> State:
        """Say how new all that is."""
        meta = self.store.meta()
        seen = float(meta["reached"]) if "reached" in meta else None
        missing = sum(1 for moment in self.store.loaded().values() if moment is None)
        at = None if seen is None else datetime.fromtimestamp(seen, UTC)
        return State(at, meta.get("problem", ""), missing, meta.get("fault", "") != "own")

    def update(self) -> None:
        """Bring the store up to date now, with the history of every model; what fails is noted, not raised."""
        try:
            settings = self._settings()
            self.store.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.store.path.with_suffix(".lock"), timeout=0)
            with lock, TrackingServer(settings.tracking_uri) as server:
                refresh(self.store, server, spec_names(settings.models))
                self.store.note(problem="", fault="")
                self._complete(server, settings)
        except Timeout:
            return  # another process is at it
        except Exception as error:  # noqa: BLE001 - a thread that ends in silence would leave an old page without a word
            self._failed(error)

    def wait(self) -> None:
        """Wait for a refresh that is under way."""
        worker = self._worker
        if worker is not None:
            worker.join()

    def _complete(self, server: TrackingServer, settings: Settings) -> None:
        """Read the history of models that have none yet; what is new goes on being read meanwhile."""
        fresh = time.monotonic()
        for name in [name for name, moment in self.store.loaded().items() if moment is None]:
            load(self.store, server, name)
            if time.monotonic() - fresh > self._every:
                refresh(self.store, server, spec_names(settings.models))
                fresh = time.monotonic()

    def _touch(self) -> None:
        """Start a refresh in the background, if the last one is some time ago."""
        with self._lock:
            running = self._worker is not None and self._worker.is_alive()
            if running or (time.monotonic() - self._tried < self._every and self._tried):
                return
            self._tried = time.monotonic()
            self._worker = threading.Thread(target=self.update, name="evermodel-overview", daemon=True)
            self._worker.start()

    def _wait(self, there: Callable[[], bool]) -> None:
        """Wait a moment for the very first answer of MLflow."""
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
        """Note why the store could not be brought up to date."""
        if isinstance(error, EvermodelError):
            problem, fault = error.problem, "mlflow"
        else:
            log.error("the Models page could not be brought up to date", exc_info=error)
            problem = f"{type(error).__name__}: {error} (the API server's log has more)"
            fault = "own"
        try:
            self.store.note(problem=problem, fault=fault)
        except (OSError, sqlite3.Error):
            log.exception("what went wrong could not be noted in %s", self.store.path)


def spec_names(folder: Path) -> list[str]:
    """Return the names of the model specs in a folder; none if this machine does not have them."""
    return sorted(path.stem for path in folder.glob("*.yaml") if not path.stem.endswith(".schema"))
