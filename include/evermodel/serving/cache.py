"""Downloaded model versions on this machine, and what answered last; shared by all processes of the machine."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from evermodel.core.atomic import write_text
from evermodel.serving.desired_state import DesiredState

_ORIGIN = ".origin"
_MARKER = "last-good.json"
_DOWNLOAD, _TRASH = ".download-", ".trash-"
_KEPT = 5


@dataclass(frozen=True)
class LastGoodState:
    """What answered last, and where each of its versions came from."""

    orders: DesiredState
    origins: dict[str, str] = field(default_factory=dict)


class ModelCache:
    """The folder of one model's downloaded versions.

    A version's folder appears and goes away as a whole: a process that is killed at any moment leaves nothing that
    another one could take for a version.

    Parameters
    ----------
    folder
        Where the versions lie, each in a folder of its number.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self, version: str, origin: str, download: Callable[[Path], object]) -> Path:
        """Return the folder of a version, downloading it unless it is there.

        Of several processes that want it at once, one downloads and the others wait.

        Parameters
        ----------
        origin
            What the version was registered from; a cached version of the same number but another origin (a registry
            that was set up anew) is replaced.
        download
            Puts the files into the folder it is given.
        """
        target = self.folder / version
        if self._origin_of(target) == origin:
            return target
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked(version):
            if self._origin_of(target) != origin:
                self._download(version, origin, download)
        return target

    def forget(self, version: str) -> None:
        """Remove a version's files, in one step for whoever looks."""
        trash = self.folder / f"{_TRASH}{version}-{uuid.uuid4().hex}"
        try:
            (self.folder / version).rename(trash)
        except OSError:
            return  # another process was quicker
        shutil.rmtree(trash, ignore_errors=True)

    def mark_good(self, good: LastGoodState) -> None:
        """Remember what answers now, and drop the oldest of the versions that have no part in it."""
        for version in good.origins:
            if (self.folder / version).is_dir():
                os.utime(self.folder / version)
        kept = {"orders": good.orders.to_json(), "origins": good.origins}
        write_text(self.folder / _MARKER, json.dumps(kept))
        versions = [path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        versions.sort(key=_age_of, reverse=True)
        for path in versions[_KEPT:]:
            if path.name not in good.origins:
                self.forget(path.name)

    def last_good(self) -> LastGoodState | None:
        """Return what answered last, if its champion's files are complete; origins are those of complete versions."""
        try:
            kept = json.loads((self.folder / _MARKER).read_text(encoding="utf-8"))
            orders, origins = _read(kept)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        there = {v: origin for v, origin in origins.items() if self._origin_of(self.folder / v) == origin}
        return LastGoodState(orders, there) if orders.champion in there else None

    def _download(self, version: str, origin: str, download: Callable[[Path], object]) -> None:
        for left in (*self.folder.glob(f"{_DOWNLOAD}{version}-*"), *self.folder.glob(f"{_TRASH}{version}-*")):
            shutil.rmtree(left, ignore_errors=True)  # of a process that was killed
        fresh = self.folder / f"{_DOWNLOAD}{version}-{uuid.uuid4().hex}"
        fresh.mkdir()
        try:
            download(fresh)
            (fresh / _ORIGIN).write_text(origin, encoding="utf-8")
            self.forget(version)
            fresh.replace(self.folder / version)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    @contextmanager
    def _locked(self, version: str) -> Iterator[None]:
        """Keep other processes and threads out; the lock of a process that dies goes with it."""
        with (self.folder / f".lock-{version}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _origin_of(folder: Path) -> str | None:
        try:
            return (folder / _ORIGIN).read_text(encoding="utf-8")
        except OSError:
            return None


def _read(kept: dict[str, object]) -> tuple[DesiredState, dict[str, str]]:
    if "version" in kept:  # as releases before the traffic plan wrote it
        return DesiredState(str(kept["version"])), {str(kept["version"]): str(kept["origin"])}
    orders, origins = kept["orders"], kept["origins"]
    if not isinstance(orders, dict) or not isinstance(origins, dict):
        raise ValueError("no orders")
    return DesiredState.from_json(orders), {str(version): str(origin) for version, origin in origins.items()}


def _age_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed by another process meanwhile
        return 0.0
