"""The version of a model that answers now, replaced in the background when the champion changes."""

from __future__ import annotations

import logging
import re
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel import model_store, registry, tracking
from evermodel.errors import EvermodelError
from evermodel.serving.cache import ModelCache
from evermodel.serving.metrics import Metrics
from evermodel.serving.served import ServedModel, read_served
from evermodel.settings import Settings
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_LOG = logging.getLogger("evermodel.serving")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_SCRATCH = re.compile(r"\.download-\w+")
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class _FailedLoad:
    """A version that could not be loaded, and when to try it again."""

    version: str
    attempts: int
    again_at: float


class ModelHolder:
    """Holds the version that answers, and a thread that follows the alias ``champion``.

    Whatever goes wrong while following, the version that answered last goes on answering; the error is kept in
    `last_error` and logged once.

    Parameters
    ----------
    spec
        The model to follow.
    settings
        Where the registry and the local cache are.
    metrics
        Takes swaps and failures.
    poll_seconds
        Pause between two looks at the registry.
    """

    def __init__(self, spec: ModelSpec, settings: Settings, metrics: Metrics, poll_seconds: float) -> None:
        self.spec = spec
        self.current: ServedModel | None = None
        self.last_error: str | None = None
        self.last_checked: datetime | None = None
        self._settings = settings
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._cache = ModelCache(settings.model_cache / spec.name)
        self._client: MlflowClient | None = None
        self._origin: str | None = None
        self._failed: _FailedLoad | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"follow-{spec.name}", daemon=True)

    def start(self) -> None:
        """Begin to follow the champion."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End following; a download under way is abandoned after the timeout (in seconds)."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def check(self) -> None:
        """Look at the registry once and follow the champion; errors are kept, never raised."""
        try:
            champion = self._champion()
            if champion is None:
                self._note(
                    f"model {self.spec.name} has no champion in the registry; retrain_{self.spec.name} makes one"
                )
            elif self._wanted(champion):
                self._load(str(champion.version), str(champion.source))
        except Exception as error:  # noqa: BLE001 - whatever fails here must not end the serving
            self._client = None
            self._metrics.load_failures.labels(self.spec.name).inc()
            broken_cache = "" if self.current else self._load_last_good()
            self._note(_described(error) + broken_cache)
        self.last_checked = datetime.now(UTC)

    def _follow(self) -> None:
        while not self._stop.is_set():
            self.check()
            self._stop.wait(self._poll_seconds)

    def _champion(self) -> ModelVersion | None:
        if self._client is None:
            self._client = tracking.connect(self._settings.tracking_uri)
        return registry.alias_version(self._client, self.spec.name, registry.CHAMPION)

    def _wanted(self, champion: ModelVersion) -> bool:
        """Tell whether the champion has to be loaded now; forget old errors when it already answers."""
        version = str(champion.version)
        if self.current is not None and (self.current.version, self._origin) == (
            version,
            str(champion.source),
        ):
            self._recovered()
            return False
        failed = self._failed
        return failed is None or failed.version != version or time.monotonic() >= failed.again_at

    def _load(self, version: str, origin: str) -> None:
        client = self._client
        if client is None:
            raise RuntimeError("a version is loaded only after the registry named it")

        def download(folder: Path) -> None:
            model_store.download(client, f"models:/{self.spec.name}/{version}", folder)

        try:
            served = self._read(version, self._cache.files(version, origin, download))
        except Exception:
            attempts = self._failed.attempts + 1 if self._failed and self._failed.version == version else 1
            pause = min(self._poll_seconds * 2**attempts, _LONGEST_PAUSE)
            self._failed = _FailedLoad(version, attempts, time.monotonic() + pause)
            raise
        self._swap(served, origin)
        self._cache.mark_good(version, origin)
        self._recovered()

    def _read(self, version: str, files: Path) -> ServedModel:
        try:
            return read_served(self.spec, version, files)
        except Exception:
            self._cache.forget(version)  # so that the next attempt downloads it anew
            raise

    def _load_last_good(self) -> str:
        """Answer with the cached version, if there is one; return what is wrong with it, if something is."""
        marker = self._cache.last_good()
        if marker is None:
            return ""
        try:
            files = self._cache.folder / marker.version
            served = read_served(self.spec, marker.version, files)
        except Exception as error:  # noqa: BLE001 - a broken cache leaves the model unready, with both reasons
            return f"; the cached version {marker.version} is broken, too: {_described(error)}"
        self._swap(served, marker.origin)
        return ""

    def _swap(self, served: ServedModel, origin: str) -> None:
        before = self.current.version if self.current else None
        self.current, self._origin, self._failed = served, origin, None
        self._metrics.swapped(self.spec.name, before, served.version)
        _LOG.info("event=swap model=%s from=%s to=%s", self.spec.name, before or "none", served.version)

    def _note(self, message: str) -> None:
        if message != self.last_error:
            serving = self.current.version if self.current else "none"
            _LOG.warning(
                'event=follow_failed model=%s serving=%s error="%s"', self.spec.name, serving, message
            )
        self.last_error = message

    def _recovered(self) -> None:
        self._failed = None
        if self.last_error is not None:
            _LOG.info("event=follow_recovered model=%s", self.spec.name)
        self.last_error = None


def _described(error: Exception) -> str:
    """Put an error on one line, without the addresses and scratch folders that make each one look new."""
    text = error.problem if isinstance(error, EvermodelError) else f"{type(error).__name__}: {error}"
    return _SCRATCH.sub(".download", _ADDRESS.sub("0x...", " ".join(text.split())))[:500]
