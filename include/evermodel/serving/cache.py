"""Downloaded model versions, and the state last in force; shared by all processes of the machine."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from evermodel.core.atomic import write_text
from evermodel.core.errors import ModelChangedError, UnsafePathError
from evermodel.core.formats import loads, stamped
from evermodel.core.paths import inside
from evermodel.registry.model_files import content_digest, hash_files, require_same
from evermodel.serving.desired_state import DesiredState

_LOG = logging.getLogger(__package__)
_MANIFEST = ".origin"
_MARKER = "last-good.json"
_DOWNLOAD, _TRASH = ".download-", ".trash-"
_KEPT = 5


@dataclass(frozen=True)
class LastGoodState:
    """The state that was last in force, and the location that each of its versions was registered from."""

    desired: DesiredState
    origins: dict[str, str] = field(default_factory=dict)


class ModelCache:
    """The folder of one model's downloaded versions.

    A version's folder appears and disappears as a whole: a process that is killed leaves no incomplete version. It keeps
    the SHA-256 of its files, taken from the download, against which the files are checked before each load.

    Parameters
    ----------
    folder
        Has one folder for each version, named by its number.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(
        self, version: str, origin: str, download: Callable[[Path], Mapping[str, str]], content: str = ""
    ) -> Path:
        """Return the folder of a version with checked files, and download it if needed.

        If several processes need it at once, one downloads and the others wait.

        Parameters
        ----------
        origin
            The location that the version was registered from. A cached version of the same number and another origin
            (of a registry that was set up again) is replaced, and so is one whose files have changed.
        download
            Puts the files into a folder, and returns the SHA-256 of each.
        content
            Digest of the files, as the registry has it; empty if it has none.

        Raises
        ------
        ModelChangedError
            The download is not what was evaluated.
        """
        target = inside(self.folder, version)
        if self._sound(target, origin, content):
            return target
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked(version):
            if not self._sound(target, origin, content):
                self._download(version, origin, download)
        return target

    def cached(self, version: str, origin: str) -> Path:
        """Return the folder of a cached version with checked files, without the registry.

        Raises
        ------
        ModelChangedError
            Its files are not those that were downloaded.
        FileNotFoundError
            It was removed.
        """
        target = inside(self.folder, version)
        manifest = _manifest_of(target)
        if manifest is None or manifest.origin != origin:
            raise FileNotFoundError(f"version {version} was removed from the cache: {target}")
        if not manifest.files:
            _LOG.warning("event=no_file_hashes cached=%s", target)
        manifest.require(target)
        return target

    def forget(self, version: str) -> None:
        """Remove a version's files, in one step for readers."""
        trash = self.folder / f"{_TRASH}{version}-{uuid.uuid4().hex}"
        try:
            inside(self.folder, version).rename(trash)
        except (OSError, UnsafePathError):
            return  # another process has removed it
        shutil.rmtree(trash, ignore_errors=True)

    def mark_good(self, good: LastGoodState) -> None:
        """Store the state in force, and remove the oldest of the versions that it does not need."""
        for version in good.origins:
            if (self.folder / version).is_dir():
                os.utime(self.folder / version)
        stored = {"orders": good.desired.to_json(), "origins": good.origins}
        write_text(self.folder / _MARKER, json.dumps(stamped(stored)))
        versions = [path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        versions.sort(key=_age_of, reverse=True)
        for path in versions[_KEPT:]:
            if path.name not in good.origins:
                self.forget(path.name)

    def last_good(self) -> LastGoodState | None:
        """Return the state last in force, if its champion is cached; the origins are those of cached versions."""
        try:
            file = self.folder / _MARKER
            desired, origins = _read(loads(file.read_text(encoding="utf-8"), file))
            manifests = {v: _manifest_of(inside(self.folder, v)) for v in origins}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        cached = {v: origins[v] for v, found in manifests.items() if found and found.origin == origins[v]}
        return LastGoodState(desired, cached) if desired.champion in cached else None

    def _sound(self, target: Path, origin: str, content: str) -> bool:
        """Tell whether a version is cached with the files that the registry means; changed files are logged."""
        manifest = _manifest_of(target)
        if manifest is None or manifest.origin != origin or not manifest.files:
            return False
        try:
            if content and content_digest(manifest.files) != content:
                raise ModelChangedError(f"{target}: its files are not those that the registry names")
            manifest.require(target)
        except ModelChangedError as error:
            _LOG.warning('event=cache_changed error="%s" action="download again"', error.problem)
            return False
        return True

    def _download(self, version: str, origin: str, download: Callable[[Path], Mapping[str, str]]) -> None:
        self._clear_left(version)
        fresh = self.folder / f"{_DOWNLOAD}{version}-{uuid.uuid4().hex}"
        fresh.mkdir()
        try:
            stored = {"origin": origin, "files": dict(download(fresh))}
            (fresh / _MANIFEST).write_text(json.dumps(stamped(stored)), encoding="utf-8")
            self.forget(version)
            fresh.replace(self.folder / version)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _clear_left(self, locked: str) -> None:
        """Remove what killed processes left of the locked version, and of all that nobody has locked."""
        for left in (*self.folder.glob(f"{_DOWNLOAD}*-*"), *self.folder.glob(f"{_TRASH}*-*")):
            version = left.name.removeprefix(_DOWNLOAD).removeprefix(_TRASH).rpartition("-")[0]
            lock = nullcontext() if version == locked else self._locked(version, fcntl.LOCK_NB)
            with suppress(BlockingIOError), lock:
                shutil.rmtree(left, ignore_errors=True)

    @contextmanager
    def _locked(self, version: str, how: int = 0) -> Iterator[None]:
        """Exclude other processes and threads; the lock of a killed process is released."""
        with (self.folder / f".lock-{version}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | how)
            yield


@dataclass(frozen=True)
class _Manifest:
    """What a version's folder says of itself: its origin, and the SHA-256 of each file; none of an earlier release."""

    origin: str
    files: dict[str, str]

    def require(self, folder: Path) -> None:
        """Refuse a folder whose files are not those that were downloaded."""
        if self.files:
            found = hash_files(folder)
            found.pop(_MANIFEST, None)
            require_same(found, self.files, str(folder), "downloaded")


def _manifest_of(folder: Path) -> _Manifest | None:
    try:
        text = (folder / _MANIFEST).read_text(encoding="utf-8")
        if not text.startswith("{"):
            return _Manifest(text, {})  # of an earlier release: the origin alone
        stored = loads(text, folder / _MANIFEST)
        return _Manifest(str(stored["origin"]), dict(stored["files"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _read(stored: dict[str, object]) -> tuple[DesiredState, dict[str, str]]:
    if "version" in stored:  # the format before traffic plans
        return DesiredState(str(stored["version"])), {str(stored["version"]): str(stored["origin"])}
    desired, origins = stored["orders"], stored["origins"]
    if not isinstance(desired, dict) or not isinstance(origins, dict):
        raise ValueError("no desired state")
    return DesiredState.from_json(desired), {str(version): str(origin) for version, origin in origins.items()}


def _age_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed by another process
        return 0.0
