"""The loaded versions of one model, and those that could not be loaded."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from evermodel.core.errors import EvermodelError, MissingExtraError
from evermodel.modeling.scoring.loaded_version import ServedModel, read_served
from evermodel.registry.tags import CONTENT
from evermodel.serving.cache import LastGoodState, ModelCache
from evermodel.serving.desired_state import DesiredState, Registered, RegistrySource
from evermodel.spec import ModelSpec

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_SCRATCH = re.compile(r"\.download-[\w-]+")
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class LoadFailure:
    """Why a version could not be loaded, and when to try again."""

    error: Exception
    attempts: int
    again_at: float


@dataclass(frozen=True)
class _CachedOnly:
    """The versions in the cache of this machine, while the registry is unavailable."""

    origins: Mapping[str, str]

    def find(self, version: str) -> Registered:
        return Registered(self.origins[version])


class LoadedVersions:
    """Loads versions, retries failed loads after a pause, and drops what is no longer needed.

    Parameters
    ----------
    pause
        Seconds until the first retry; doubled with each further one.
    """

    def __init__(self, spec: ModelSpec, cache: ModelCache, pause: float) -> None:
        self._spec = spec
        self._cache = cache
        self._pause = pause
        self._loaded: dict[str, tuple[ServedModel, str]] = {}
        self._failed: dict[str, LoadFailure] = {}
        self._loading: dict[str, Future[bool]] = {}
        self._last_good: LastGoodState | None = None
        self._lock = threading.Lock()

    @property
    def loaded(self) -> dict[str, ServedModel]:
        """The versions in memory."""
        with self._lock:
            return {version: served for version, (served, _) in self._loaded.items()}

    @property
    def origins(self) -> dict[str, str]:
        """The locations that the versions in memory were registered from."""
        with self._lock:
            return {version: origin for version, (_, origin) in self._loaded.items()}

    @property
    def failures(self) -> dict[str, LoadFailure]:
        """The versions whose last load failed."""
        with self._lock:
            return dict(self._failed)

    def load(self, version: str, source: RegistrySource | _CachedOnly) -> bool:
        """Load a version and check it on its stored example, unless it is in memory or its retry is not due.

        Errors are kept in `failures`, never raised.

        Returns
        -------
        Whether the load failed now.
        """
        failed = self._failed.get(version)
        if failed is not None and time.monotonic() < failed.again_at:
            return False
        try:
            found = source.find(version)
            if self.origins.get(version) != found.origin:
                served = self._read(version, self._files(version, found, source))
                with self._lock:
                    self._loaded[version] = (served, found.origin)
            with self._lock:
                self._failed.pop(version, None)
        except Exception as error:  # noqa: BLE001 - a broken version must not affect the others
            with self._lock:
                before = self._failed.get(version)
                attempts = before.attempts + 1 if before else 1
                pause = min(self._pause * 2**attempts, _LONGEST_PAUSE)
                self._failed[version] = LoadFailure(error, attempts, time.monotonic() + pause)
            return True
        return False

    def load_in_thread(self, version: str, source: RegistrySource | _CachedOnly) -> Future[bool]:
        """Load a version in a thread of its own, or return the load that is running; see `load`."""
        load = self._loading.get(version)
        if load is None or load.done():
            load = self._loading[version] = Future()
            arguments = (load, self, version, source)
            threading.Thread(target=_run, args=arguments, name=f"load-{version}", daemon=True).start()
        return load

    def drop_all_but(self, versions: Collection[str]) -> None:
        """Drop the other versions from memory, and their failures."""
        with self._lock:
            self._loaded = {version: found for version, found in self._loaded.items() if version in versions}
            self._failed = {
                version: failed for version, failed in self._failed.items() if version in versions
            }
            self._loading = {version: load for version, load in self._loading.items() if not load.done()}

    def save_last_good(self, desired: DesiredState) -> None:
        """Store the state that is in force, for a start without the registry."""
        good = LastGoodState(desired, self.origins)
        if good != self._last_good:
            self._cache.mark_good(good)
            self._last_good = good

    def load_last_good(self) -> DesiredState | None:
        """Load the state that was last in force on this machine; None if there is none, or it is this process's own."""
        good = self._cache.last_good()
        if good is None or (self._last_good and good.desired == self._last_good.desired):
            return None
        for version in good.desired.versions:
            if version in good.origins:
                self.load(version, _CachedOnly(good.origins))
        return good.desired

    def _files(self, version: str, found: Registered, source: RegistrySource | _CachedOnly) -> Path:
        registered = found.version
        if isinstance(source, _CachedOnly) or registered is None:
            return self._cache.cached(version, found.origin)
        content = registered.tags.get(CONTENT, "")
        return self._cache.files(
            version, found.origin, lambda folder: source.download(registered, folder), content
        )

    def _read(self, version: str, files: Path) -> ServedModel:
        try:
            return read_served(self._spec, version, files)
        except Exception:
            self._cache.forget(version)  # the next attempt downloads it again
            raise


def _run(
    load: Future[bool], versions: LoadedVersions, version: str, source: RegistrySource | _CachedOnly
) -> None:
    try:
        load.set_result(versions.load(version, source))
    except BaseException as error:  # noqa: BLE001 - passed on to the caller that waits
        load.set_exception(error)


def one_line(error: Exception) -> str:
    """Return an error on one line, without the addresses and scratch folders that differ each time."""
    if isinstance(error, MissingExtraError):
        text = f"{error.problem}: {error.advice}"
    else:
        text = error.problem if isinstance(error, EvermodelError) else f"{type(error).__name__}: {error}"
    return _SCRATCH.sub(".download", _ADDRESS.sub("0x...", " ".join(text.split())))[:500]
