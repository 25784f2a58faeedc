"""DVC: every snapshot is tracked and pushed, safely from several processes at once."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import yaml
from filelock import FileLock

from evermodel.core.atomic import write_text
from evermodel.core.errors import SnapshotStoreError, UnsafePathError
from evermodel.core.logins import split_login, with_login
from evermodel.core.paths import inside
from evermodel.core.storage import StoragePath

_LOCK_SECONDS = 600
_CONFIG = """\
[core]
    no_scm = True
    analytics = false
    check_update = false
    remote = lake
['remote "lake"']
    url = {remote}
"""


class SnapshotStore:
    """The lake as a DVC project without git.

    DVC's own lock makes a second process fail after seconds; ours makes it wait.

    Parameters
    ----------
    lake
        Root folder of the lake, and of the DVC project.
    remote
        Where content is pushed: a folder or any URL that DVC knows.
    """

    def __init__(self, lake: Path, remote: str) -> None:
        self.lake = lake
        self.remote = split_login(remote)

    def track(self, file: Path) -> str:
        """Add a file, push its content, and return its md5; a repetition completes what is missing.

        Raises
        ------
        SnapshotStoreError
            DVC could not add or push.
        """
        from dvc.exceptions import DvcException

        pointer = file.with_name(file.name + ".dvc")
        try:
            with self._locked():
                repo = self._open()
                # A run that was killed while DVC wrote the pointer leaves half of one.
                if _md5(pointer) is None:
                    pointer.unlink(missing_ok=True)
                # Also when the pointer is there: without content in the cache, a push sends nothing and reports no error.
                repo.add(str(file))
                repo.push(targets=[str(pointer)])
        except (DvcException, ImportError, OSError) as error:
            raise SnapshotStoreError(
                f"DVC could not track {file} or push it to {self.remote}: {self._said(error)}",
                "check that the remote (EVERMODEL_DVC_REMOTE) is writable, then run this again",
            ) from error
        return str(_md5(pointer))

    def restore(self, file: Path) -> None:
        """Fetch a tracked file from the remote.

        Raises
        ------
        SnapshotStoreError
            The file was never tracked here, or the remote does not have it.
        """
        from dvc.exceptions import DvcException

        pointer = file.with_name(file.name + ".dvc")
        try:
            with self._locked():
                self._open().pull(targets=[str(pointer)])
        except (DvcException, ImportError, OSError) as error:
            raise SnapshotStoreError(
                f"snapshot {file} is missing and DVC cannot fetch it from {self.remote}: {self._said(error)}",
                "restore the remote, or retrain so that the champion has an existing snapshot",
            ) from error

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Give the folder in which a snapshot is written before `track`: the lake."""
        yield self.lake

    def source(self, path: str) -> Path:
        """Return where a snapshot is read from; a missing file is restored, see `restore` for the errors."""
        file = snapshot_file(self.lake, path)
        if not file.exists():
            self.restore(file)
        return file

    def uri(self, path: str, md5: str) -> str:
        """Return where the content of a snapshot is."""
        return str(self.lake / path)

    @contextmanager
    def local(self, path: str) -> Iterator[Path]:
        """Give a snapshot as a file of this machine; see `source`."""
        yield self.source(path)

    def bring(self, path: str, md5: str) -> None:
        """Put the content of an md5 at a path in the lake (``snapshots/…``); nothing but the remote is needed.

        A file that is there already stays if it is that content, and is replaced if it was damaged.

        Raises
        ------
        SnapshotStoreError
            The remote cannot be reached, does not have it, or has something else under its name.
        """
        file = snapshot_file(self.lake, path)
        if file.exists() and file_md5(file) == md5:
            if _md5(file.with_name(file.name + ".dvc")) != md5:
                write_pointer(file, md5)
            return
        cached = inside(self.lake / ".dvc" / "cache" / "files" / "md5", md5[:2], md5[2:])
        if cached.exists() and file_md5(cached) != md5:
            cached.chmod(0o644)  # DVC protects its cache, and would go on to hand out what is damaged
            cached.unlink()
        file.unlink(missing_ok=True)
        write_pointer(file, md5)
        self.restore(file)
        found = file_md5(file)
        if found != md5:
            file.unlink()
            raise SnapshotStoreError(
                f"{self.remote} has other content for md5 {md5}: its md5 is {found}",
                "restore the remote from a backup",
            )

    def _said(self, error: Exception) -> str:
        return str(error).replace(with_login(self.remote), self.remote)

    def _locked(self) -> FileLock:
        self.lake.mkdir(parents=True, exist_ok=True)
        return FileLock(self.lake / ".evermodel-dvc.lock", timeout=_LOCK_SECONDS)

    def _open(self) -> Any:
        from dvc.repo import Repo

        config = self.lake / ".dvc" / "config"
        if not config.exists():
            logging.getLogger("dvc").setLevel(logging.WARNING)  # its welcome is not for who runs a retrain
            Repo.init(str(self.lake), no_scm=True, force=config.parent.exists()).close()
        wanted = _CONFIG.format(remote=self.remote)
        if config.read_text(encoding="utf-8") != wanted:
            write_text(config, wanted)
        return Repo(str(self.lake), config={"remote": {"lake": {"url": with_login(self.remote)}}})


@overload
def snapshot_file(lake: Path, path: str) -> Path: ...
@overload
def snapshot_file(lake: StoragePath, path: str) -> StoragePath: ...
def snapshot_file(lake: StoragePath, path: str) -> StoragePath:
    """Return the file of a snapshot's path (``snapshots/…``), which comes from a tag or a caller; see `inside`."""
    first, _, name = path.partition("/")
    if first != "snapshots":
        raise UnsafePathError(
            f"{path[:100]!r} is not the path of a snapshot", "correct the tag or the argument"
        )
    return inside(lake / first, name)


def write_pointer(file: StoragePath, md5: str, size: int | None = None) -> None:
    """Write the pointer that lets DVC fetch a file by its md5 alone; see `pointer_text`."""
    write_text(file.with_name(file.name + ".dvc"), pointer_text(file.name, md5, size))


def pointer_text(name: str, md5: str, size: int | None = None) -> str:
    """Return DVC's pointer to a file.

    Parameters
    ----------
    md5
        What `SnapshotStore.track` returned for it.
    size
        Bytes of the file, if known.
    """
    out = {"md5": md5, **({} if size is None else {"size": size}), "hash": "md5", "path": name}
    return yaml.safe_dump({"outs": [out]}, sort_keys=False)


def file_md5(file: Path) -> str:
    """Return the md5 of a file's content, DVC's key for it."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "md5").hexdigest()


def pointer_md5(file: StoragePath) -> str | None:
    """Return the md5 in the pointer of a file; None if there is no whole pointer."""
    return _md5(file.with_name(file.name + ".dvc"))


def _md5(pointer: StoragePath) -> str | None:
    try:
        out = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]
        md5 = str(out["md5"])  # becomes a path
        return md5 if out["path"] == pointer.stem and re.fullmatch("[0-9a-f]{32}", md5) else None
    except (FileNotFoundError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError):
        return None
