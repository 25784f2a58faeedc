"""Atomic writes: a reader, or the next run, never sees a partial file."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evermodel.core.storage import StoragePath


@contextmanager
def replacing(path: StoragePath) -> Iterator[Path]:
    """Give a temporary path beside the target; renamed to the target on success, removed on failure.

    For an object of a bucket it is a file of this machine, and uploaded on success.

    Parameters
    ----------
    path
        Where the file ends up. Its folder is made if needed.
    """
    if not isinstance(path, Path):
        with tempfile.TemporaryDirectory(prefix="evermodel-upload-") as folder:
            yield Path(folder) / path.name
            path.upload(Path(folder) / path.name)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def place(file: Path, target: StoragePath) -> None:
    """Copy a file of this machine to where readers see it whole, or not at all."""
    if isinstance(target, Path):
        with replacing(target) as temporary:
            shutil.copyfile(file, temporary)
    else:
        target.upload(file)


def sweep(folder: StoragePath, pattern: str, older_than: float = 2 * 86_400) -> None:
    """Remove files and folders that killed writers left; in a bucket they leave nothing that anybody sees.

    Parameters
    ----------
    older_than
        Seconds since the last write: who is still writing is left alone.
    """
    if not isinstance(folder, Path):
        return
    for left in folder.glob(pattern):
        with suppress(OSError):  # another process sweeps too
            if time.time() - left.stat().st_mtime <= older_than:
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()


def write_text(path: StoragePath, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def no_space(error: BaseException) -> bool:
    """Tell whether an error means that a disk, a quota or a file size limit is exhausted."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    return any(
        sign in str(error) for sign in ("No space left on device", "File too large", "Disk quota exceeded")
    )


@contextmanager
def exclusive(lock: Path) -> Iterator[bool]:
    """Hold a lock file while the block runs; gives False at once if another process or thread holds it."""
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True  # the lock goes with the file
