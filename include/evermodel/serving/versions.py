"""The versions of one model that are in memory, and those that could not be brought there."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from evermodel.core.errors import EvermodelError
from evermodel.modeling.scoring.loaded_version import ServedModel, read_served
from evermodel.serving.cache import ModelCache
from evermodel.spec import ModelSpec

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_SCRATCH = re.compile(r"\.download-[\w-]+")
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Failure:
    """Why a version could not be loaded, and when to try it again."""

    error: Exception
    attempts: int
    again_at: float


class LoadedVersions:
    """Brings versions into memory and keeps those that are needed.

    Parameters
    ----------
    cache
        Where their files are.
    pause
        Seconds after which a failed version is tried again for the first time; each time it is twice as long.
    """

    def __init__(self, spec: ModelSpec, cache: ModelCache, pause: float) -> None:
        self._spec = spec
        self._cache = cache
        self._pause = pause
        self._loaded: dict[str, tuple[ServedModel, str]] = {}
        self._failed: dict[str, Failure] = {}
        self._under_way: dict[str, Future[bool]] = {}
        self._lock = threading.Lock()

    @property
    def loaded(self) -> dict[str, ServedModel]:
        """The versions in memory."""
        with self._lock:
            return {version: served for version, (served, _) in self._loaded.items()}

    @property
    def origins(self) -> dict[str, str]:
        """Where the versions in memory came from."""
        with self._lock:
            return {version: origin for version, (_, origin) in self._loaded.items()}

    @property
    def failures(self) -> dict[str, Failure]:
        """The versions whose last load failed."""
        with self._lock:
            return dict(self._failed)

    def waits(self, version: str) -> bool:
        """Tell whether a version failed so lately that it is not tried again yet."""
        failed = self._failed.get(version)
        return failed is not None and time.monotonic() < failed.again_at

    def bring(self, version: str, find: Callable[[], str], download: Callable[[Path], object]) -> bool:
        """Load a version and check it on its stored example, unless it is in memory already.

        Whatever goes wrong is kept in `failures`.

        Parameters
        ----------
        find
            Says what the version was registered from.
        download
            Puts its files into a folder.

        Returns
        -------
        Whether the version was tried and failed now.
        """
        if self.waits(version):
            return False
        try:
            origin = find()
            if self.origins.get(version) != origin:
                served = self._read(version, self._cache.files(version, origin, download))
                with self._lock:
                    self._loaded[version] = (served, origin)
            with self._lock:
                self._failed.pop(version, None)
        except Exception as error:  # noqa: BLE001 - what one version does must not keep others from answering
            with self._lock:
                before = self._failed.get(version)
                attempts = before.attempts + 1 if before else 1
                pause = min(self._pause * 2**attempts, _LONGEST_PAUSE)
                self._failed[version] = Failure(error, attempts, time.monotonic() + pause)
            return True
        return False

    def begin(
        self, version: str, find: Callable[[], str], download: Callable[[Path], object]
    ) -> Future[bool]:
        """Bring a version in a thread of its own, or return the attempt that is under way; see `bring`."""
        attempt = self._under_way.get(version)
        if attempt is None or attempt.done():
            attempt = self._under_way[version] = Future()
            thread = threading.Thread(
                target=_run,
                args=(attempt, self.bring, version, find, download),
                name=f"load-{version}",
                daemon=True,
            )
            thread.start()
        return attempt

    def keep(self, versions: Collection[str]) -> None:
        """Drop every other version from memory, and what is known of their failures."""
        with self._lock:
            self._loaded = {version: held for version, held in self._loaded.items() if version in versions}
            self._failed = {
                version: failed for version, failed in self._failed.items() if version in versions
            }
            self._under_way = {v: attempt for v, attempt in self._under_way.items() if not attempt.done()}

    def _read(self, version: str, files: Path) -> ServedModel:
        try:
            return read_served(self._spec, version, files)
        except Exception:
            self._cache.forget(version)  # so that the next attempt downloads it anew
            raise


def _run(attempt: Future[bool], bring: Callable[..., bool], *arguments: object) -> None:
    try:
        attempt.set_result(bring(*arguments))
    except BaseException as error:  # noqa: BLE001 - handed to who waits for it
        attempt.set_exception(error)


def described(error: Exception) -> str:
    """Put an error on one line, without the addresses and scratch folders that make each one look new."""
    text = error.problem if isinstance(error, EvermodelError) else f"{type(error).__name__}: {error}"
    return _SCRATCH.sub(".download", _ADDRESS.sub("0x...", " ".join(text.split())))[:500]
