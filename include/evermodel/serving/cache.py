"""Downloaded model versions on this machine, and which of them answered last."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from evermodel.atomic import write_text

_ORIGIN = ".origin"
_MARKER = "last-good.json"
_KEPT = 5


@dataclass(frozen=True)
class LastGood:
    """The version that answered last, and where it came from."""

    version: str
    origin: str


class ModelCache:
    """The folder of one model's downloaded versions.

    Parameters
    ----------
    folder
        Where the versions lie, each in a folder of its number.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self, version: str, origin: str, download: Callable[[Path], object]) -> Path:
        """Return the folder of a version, downloading it unless it is there.

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
        with tempfile.TemporaryDirectory(prefix=".download-", dir=self.folder) as scratch:
            fresh = Path(scratch) / version
            fresh.mkdir()
            download(fresh)
            (fresh / _ORIGIN).write_text(origin, encoding="utf-8")
            self.forget(version)
            fresh.replace(target)
        return target

    def forget(self, version: str) -> None:
        """Remove a version's files."""
        shutil.rmtree(self.folder / version, ignore_errors=True)

    def mark_good(self, version: str, origin: str) -> None:
        """Remember the version that answers now, and drop the oldest others."""
        os.utime(self.folder / version)
        write_text(self.folder / _MARKER, json.dumps(asdict(LastGood(version, origin))))
        versions = [path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        versions.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in versions[_KEPT:]:
            self.forget(path.name)

    def last_good(self) -> LastGood | None:
        """Return the version that answered last, if its files are complete."""
        try:
            marker = LastGood(**json.loads((self.folder / _MARKER).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return marker if self._origin_of(self.folder / marker.version) == marker.origin else None

    @staticmethod
    def _origin_of(folder: Path) -> str | None:
        try:
            return (folder / _ORIGIN).read_text(encoding="utf-8")
        except OSError:
            return None
