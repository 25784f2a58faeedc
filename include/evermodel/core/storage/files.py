"""What readers and writers do with a file of the lake, be it in a folder or in a bucket."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from evermodel.core.storage.bucket import BucketPath

if TYPE_CHECKING:
    from evermodel.core.storage.address import StoragePath


def readable(path: StoragePath, ranges: Sequence[tuple[int, int]] = ()) -> Path | BinaryIO:
    """Return what Arrow's readers open: the path, or ranges of an object, of which only what is read is fetched.

    Parameters
    ----------
    ranges
        What will be read of an object, as offsets, so that it is fetched at once.

    Raises
    ------
    FileNotFoundError
        There is no such object.
    """
    return path if isinstance(path, Path) else cast("BinaryIO", path.open_ranges(ranges))


def files_in(folder: StoragePath, pattern: str) -> list[StoragePath]:
    """Return the files that match a pattern (see `pathlib.Path.glob`), sorted."""
    return sorted(folder.glob(pattern), key=str)


def path_in(lake: StoragePath, file: StoragePath) -> str:
    """Return the path of a file below the lake, as it is stored: with slashes.

    >>> path_in(Path("/lake"), Path("/lake/snapshots/churn/a.parquet"))
    'snapshots/churn/a.parquet'
    """
    return str(file).removeprefix(f"{lake}/")


@contextmanager
def local_copy(path: StoragePath) -> Iterator[Path]:
    """Give a file of this machine with the content: the file itself, or a copy that is removed afterwards."""
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="evermodel-copy-") as folder:
        copy = Path(folder) / path.name
        path.download(copy)
        yield copy


def create(path: StoragePath, data: bytes) -> bool:
    """Write a file if there is none, and tell whether it was written; of several writers one wins."""
    try:
        if isinstance(path, BucketPath):
            path.create(data)
        else:
            with _written(path, data) as temporary:
                os.link(temporary, path)
    except FileExistsError:
        return False
    return True


def replace_unchanged(path: StoragePath, data: bytes, version: str) -> bool:
    """Write a file if it is still of the version that `version_of` returned, and tell whether it was written."""
    if isinstance(path, BucketPath):
        try:
            path.replace_unchanged(data, version)
        except FileExistsError:
            return False
        return True
    from filelock import FileLock

    with FileLock(path.with_name(f".{path.name}.lock")), _written(path, data) as temporary:
        if version_of(path) != version:
            return False
        temporary.replace(path)
        return True


def version_of(path: StoragePath) -> str | None:
    """Return what changes whenever a file is written; None if there is none."""
    try:
        if isinstance(path, BucketPath):
            return path.stat().etag
        state = path.stat()
    except FileNotFoundError:
        return None
    return f"{state.st_ino}:{state.st_size}:{state.st_mtime_ns}"


@contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
