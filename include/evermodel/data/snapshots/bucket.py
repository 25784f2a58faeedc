"""Snapshots of a lake in a bucket: DVC's pointers in the lake, the content once, as DVC's remote keeps it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evermodel.core.atomic import replacing
from evermodel.core.errors import SnapshotStoreError
from evermodel.core.storage import BucketPath, StoragePath, local_copy, storage_path
from evermodel.data.snapshots.dvc import file_md5, pointer_md5, snapshot_file, write_pointer


class BucketSnapshots:
    """The snapshots of a lake in a bucket; the same operations as `SnapshotStore`, and no file of this machine is kept.

    The content is at ``files/md5/ab/cdef…`` of the remote, where DVC looks for it: ``dvc pull`` with a pointer and
    that remote brings a snapshot to any machine.

    Parameters
    ----------
    remote
        A bucket's URL or a folder.

    Raises
    ------
    SettingsError
        The remote is neither.
    """

    def __init__(self, lake: BucketPath, remote: str) -> None:
        self._lake = lake
        self._remote = storage_path(remote, "EVERMODEL_DVC_REMOTE")

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Give a folder of this machine in which a snapshot is written before `track`."""
        with tempfile.TemporaryDirectory(prefix="evermodel-snapshot-") as folder:
            yield Path(folder)

    def push(self, file: Path) -> str:
        """Put a file's content into the remote if it is not there, and return its md5."""
        md5 = file_md5(file)
        content = self._content(md5)
        if not content.exists() or content.stat().st_size != file.stat().st_size:
            with replacing(content) as temporary:
                shutil.copyfile(file, temporary)
        return md5

    def track(self, file: Path) -> str:
        """Push ``…/snapshots/<model>/<name>`` of a workspace, write its pointer into the lake, and return its md5."""
        md5 = self.push(file)
        pointed = snapshot_file(self._lake, f"snapshots/{file.parent.name}/{file.name}")
        write_pointer(pointed, md5, file.stat().st_size)
        return md5

    def source(self, path: str) -> StoragePath:
        """Return where the content of a snapshot is read from.

        Raises
        ------
        SnapshotStoreError
            The lake has no pointer of that path, or the remote not its content.
        """
        pointed = snapshot_file(self._lake, path)
        md5 = pointer_md5(pointed)
        if md5 is None:
            raise SnapshotStoreError(
                f"the lake has no pointer {pointed}.dvc",
                "correct EVERMODEL_LAKE, or retrain so that the champion has an existing snapshot",
            )
        return self._existing(md5)

    def uri(self, path: str, md5: str) -> str:
        """Return where the content of a snapshot is."""
        return str(self._content(md5))

    @contextmanager
    def local(self, path: str) -> Iterator[Path]:
        """Give a snapshot as a file of this machine, in a workspace of its own; see `source` for the errors."""
        with self.workspace() as folder, local_copy(self.source(path)) as copy:
            file = snapshot_file(folder, path)
            file.parent.mkdir(parents=True)
            yield copy.rename(file)

    def bring(self, path: str, md5: str) -> None:
        """Point to the content of an md5; nothing but the remote is needed.

        Raises
        ------
        SnapshotStoreError
            The remote does not have it, or has something else under its name.
        """
        with local_copy(self._existing(md5)) as copy:
            found = file_md5(copy)
            if found != md5:
                raise SnapshotStoreError(
                    f"{self._remote} has other content for md5 {md5}: its md5 is {found}",
                    "restore the remote from a backup",
                )
            pointed = snapshot_file(self._lake, path)
            if pointer_md5(pointed) != md5:
                write_pointer(pointed, md5, copy.stat().st_size)

    def _existing(self, md5: str) -> StoragePath:
        content = self._content(md5)
        if not content.exists():
            raise SnapshotStoreError(
                f"the remote {self._remote} has no content with md5 {md5}",
                "restore the remote, or retrain so that the champion has an existing snapshot",
            )
        return content

    def _content(self, md5: str) -> StoragePath:
        return self._remote / "files" / "md5" / md5[:2] / md5[2:]
