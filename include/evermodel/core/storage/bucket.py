"""A path in a bucket, with those methods of `pathlib.Path` that a lake needs."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import StorageUnavailableError
from evermodel.core.names import require_plain
from evermodel.core.storage.client import store_of, translated

if TYPE_CHECKING:
    from obstore import ObjectMeta


_AT_ONCE = 16  # requests of one reader


@dataclass(frozen=True)
class ObjectState:
    """What a store says of one object.

    Parameters
    ----------
    st_size
        Bytes.
    st_mtime
        When it was written, in seconds since 1970.
    etag
        Changes with every write; empty of an object that is never written again.
    """

    st_size: int
    st_mtime: float
    etag: str

    @property
    def version(self) -> str:
        """What tells this content from another under the same name."""
        return self.etag or str(self.st_size)

    @classmethod
    def of(cls, meta: ObjectMeta) -> ObjectState:
        """Read an answer of the store."""
        written: datetime = meta["last_modified"]
        return cls(meta["size"], written.timestamp(), meta["e_tag"] or written.isoformat())


@dataclass(frozen=True, order=True)
class BucketPath:
    """An object of a bucket, or what its folder would be.

    It is no `os.PathLike`: where a file of this machine is needed, `local_copy` makes one.

    Parameters
    ----------
    scheme
        ``s3``, ``gs`` or ``az``.
    listed
        What a listing said of the object, so that nobody asks again.
    """

    scheme: str
    bucket: str
    key: str = ""
    listed: ObjectState | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        """Return the URL."""
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")

    def __truediv__(self, name: str) -> BucketPath:
        """Join; a name that would lead out of the folder is refused."""
        require_plain(str(self), name)
        return BucketPath(self.scheme, self.bucket, f"{self.key}/{name}".lstrip("/"))

    def immutable(self, size: int, written: float) -> BucketPath:
        """Return the same object, of which nobody needs to ask: it has a size and is never written again.

        Parameters
        ----------
        written
            Seconds since 1970.
        """
        return BucketPath(self.scheme, self.bucket, self.key, ObjectState(size, written, ""))

    def joinpath(self, *names: str) -> BucketPath:
        """Join several names."""
        found = self
        for name in names:
            found = found / name
        return found

    @property
    def name(self) -> str:
        """Last part."""
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        """Last part without its suffix."""
        return PurePosixPath(self.key).stem

    @property
    def parent(self) -> BucketPath:
        """What this is in."""
        return BucketPath(self.scheme, self.bucket, self.key.rpartition("/")[0])

    def with_name(self, name: str) -> BucketPath:
        """Return the neighbour of a name."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> BucketPath:
        """Return the neighbour with another suffix, or none."""
        return self.with_name(PurePosixPath(self.key).with_suffix(suffix).name)

    def relative_to(self, other: BucketPath) -> PurePosixPath:
        """Return the path below another."""
        return PurePosixPath(f"/{self.bucket}/{self.key}").relative_to(f"/{other.bucket}/{other.key}")

    def stat(self) -> ObjectState:
        """Return size, time and ETag.

        Raises
        ------
        FileNotFoundError
            There is no such object.
        """
        import obstore

        if self.listed is not None:
            return self.listed
        with translated(str(self)):
            return ObjectState.of(obstore.head(self._store, self.key))

    def exists(self) -> bool:
        """Tell whether there is such an object."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    is_file = exists

    def is_dir(self) -> bool:
        """Tell whether there are objects below."""
        import obstore

        with translated(str(self)):
            return any(obstore.list(self._store, self.key, chunk_size=1))

    def glob(self, pattern: str) -> Iterator[BucketPath]:
        """Yield objects and folders whose path matches, one part of it at a time; see `pathlib.Path.glob`."""
        first, _, rest = pattern.partition("/")
        for child in self.iterdir():
            if fnmatchcase(child.name, first):
                yield from child.glob(rest) if rest else [child]

    def iterdir(self) -> Iterator[BucketPath]:
        """Yield the objects and folders right below."""
        import obstore

        with translated(str(self)):
            found = obstore.list_with_delimiter(self._store, self.key or None)
        yield from (BucketPath(self.scheme, self.bucket, folder) for folder in found["common_prefixes"])
        yield from map(self._object, found["objects"])

    def rglob(self, pattern: str) -> Iterator[BucketPath]:
        """Yield the objects below, at any depth, whose name matches."""
        import obstore

        with translated(str(self)):
            for batch in obstore.list(self._store, self.key or None):
                yield from (found for found in map(self._object, batch) if fnmatchcase(found.name, pattern))

    def read_bytes(self) -> bytes:
        """Return the content."""
        import obstore

        with translated(str(self)):
            return bytes(obstore.get(self._store, self.key).bytes())

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the content as text."""
        return self.read_bytes().decode(encoding)

    def download(self, target: Path) -> None:
        """Copy the content to a file, in pieces."""
        import obstore

        with translated(str(self)), target.open("wb") as file:
            for piece in obstore.get(self._store, self.key):
                file.write(piece)

    def upload(self, file: Path, *, create: bool = False) -> None:
        """Write the content of a file; readers see the old object, or the whole new one.

        Parameters
        ----------
        create
            Only if there is no such object; otherwise `FileExistsError` is raised. For files that fit into memory.
        """
        self._put(file, mode="create" if create else "overwrite")

    def write_bytes(self, data: bytes) -> None:
        """Write the content, at once."""
        self._put(data, mode="overwrite")

    def create(self, data: bytes) -> None:
        """Write the content if there is no such object.

        Raises
        ------
        FileExistsError
            There is one.
        """
        self._put(data, mode="create")

    def replace_unchanged(self, data: bytes, etag: str) -> None:
        """Write the content if the object still has an ETag.

        Raises
        ------
        FileExistsError
            It has another one, or is gone.
        """
        try:
            self._put(data, mode={"e_tag": etag})
        except FileNotFoundError as error:
            raise FileExistsError(str(self)) from error

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        import obstore

        if not missing_ok:
            self.stat()
        try:
            with translated(str(self)):
                obstore.delete(self._store, self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def open_ranges(self, ranges: Sequence[tuple[int, int]] = ()) -> io.RawIOBase:
        """Open for reading; only what is read is fetched, and all of it is of one version of the object.

        Parameters
        ----------
        ranges
            What will be read, as offsets: it is fetched now, several ranges at once.
        """
        state = self.stat()

        def fetch(ends: tuple[int, int]) -> bytes:
            return self.read_range(*ends, state.etag)

        if not ranges:
            return _Ranges(self, state, {})
        with ThreadPoolExecutor(min(_AT_ONCE, len(ranges)), "ranges") as pool:
            return _Ranges(self, state, dict(zip(ranges, pool.map(fetch, ranges), strict=True)))

    def read_range(self, start: int, end: int, etag: str) -> bytes:
        """Return some bytes of a version of the object.

        Raises
        ------
        StorageUnavailableError
            It was replaced.
        """
        import obstore

        try:
            options: Any = {"range": (start, end), **({"if_match": etag} if etag else {})}
            with translated(str(self)):
                return bytes(obstore.get(self._store, self.key, options=options).bytes())
        except FileExistsError as error:
            raise StorageUnavailableError(
                f"{self} was replaced while it was read", "run this again"
            ) from error

    def _put(self, content: bytes | Path, mode: Any) -> None:
        import obstore

        with translated(str(self)):
            obstore.put(self._store, self.key, content, mode=mode)

    def _object(self, meta: ObjectMeta) -> BucketPath:
        return BucketPath(self.scheme, self.bucket, meta["path"], ObjectState.of(meta))

    @property
    def _store(self) -> Any:
        return store_of(self.scheme, self.bucket)


class _Ranges(io.RawIOBase):
    """A file of which every read is a request of exactly those bytes, as Parquet's readers want it."""

    def __init__(self, path: BucketPath, state: ObjectState, fetched: dict[tuple[int, int], bytes]) -> None:
        super().__init__()
        self._path, self._state, self._fetched, self._place = path, state, fetched, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._state.st_size}[whence]
        self._place = base + offset
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        rest = max(0, self._state.st_size - self._place)
        count = rest if size is None or size < 0 else min(size, rest)
        if count == 0:
            return b""
        ends = (self._place, self._place + count)
        found = self._fetched.pop(ends, None) or self._path.read_range(*ends, self._state.etag)
        self._place += len(found)
        return found

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)
