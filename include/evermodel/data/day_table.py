"""A Delta Lake table of Parquet files by day and source: which files count, and what changes that."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from evermodel.core.atomic import write_text
from evermodel.core.errors import StorageUnavailableError, UnsafePathError
from evermodel.core.extras import named_extras
from evermodel.core.formats import loads, stamped
from evermodel.core.paths import inside
from evermodel.core.storage import BucketPath, StoragePath, files_in, path_in
from evermodel.data.delta_log import (
    Change,
    TableState,
    columns_of,
    create_table,
    open_table,
    require_columns,
    translated,
    write_version,
)
from evermodel.data.table_file import FileEntry, TableFile, plain_files

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

_LOG = logging.getLogger(__name__)
_TRIES = 20
_LONGEST_WAIT = 5.0  # seconds
_PENDING = "_pending"  # engines and vacuum leave folders of such names alone
_AT_ONCE = 16
_LOOK_SECONDS = 5.0
_looked: dict[str, float] = {}  # when this process last looked for pending files
_LOCK = threading.Lock()
_read: dict[str, DeltaTable] = {}  # of what this process reads, so that it fetches only what is new

Plan = Callable[[TableState], Change | None]


@dataclass(frozen=True)
class DayTable:
    """A Delta Lake table, partitioned by ``date`` and ``source``, in a folder or a bucket.

    A folder of plain Parquet files by day (``date=YYYY-MM-DD``), as earlier releases wrote it, reads as if it was a
    table of these files; the first commit makes it one, with the files where they are.

    Parameters
    ----------
    root
        Folder of the table.
    """

    root: StoragePath

    def exists(self) -> bool:
        """Tell whether there is a table, and no folder of plain files."""
        with _LOCK, translated(self.root):
            return open_table(self.root, _read) is not None

    def files(self, first: date = date.min, last: date = date.max) -> list[TableFile]:
        """Return the files of some days, both included, in the order of days and paths.

        Raises
        ------
        StorageUnavailableError
            The store does not answer.
        NewerFormatError
            Another program gave the table features that `deltalake` does not know.
        """
        if self._may_have_pending():
            self.take_pending()
        with _LOCK, translated(self.root):
            state = open_table(self.root, _read)
            found: Iterable[TableFile] = plain_files(self.root, first, last)
            if state is not None:
                found = (file for file in state.files if first <= file.day <= last)
            return sorted(found, key=lambda file: file.order)

    def _may_have_pending(self) -> bool:
        """Tell whether to look: a bucket is asked every few seconds, not for every day that is read."""
        last, now = _looked.get(str(self.root), -_LOOK_SECONDS), time.monotonic()
        if isinstance(self.root, BucketPath) and now - last < _LOOK_SECONDS:
            return False
        _looked[str(self.root)] = now
        return True

    def columns(self) -> pa.Schema:
        """Return the columns that the table has; those of its partition if there is none."""
        with _LOCK, translated(self.root):
            state = open_table(self.root, _read)
            return columns_of([]) if state is None else state.columns

    def replace(self, file: TableFile, schema: pa.Schema) -> None:
        """Have a file instead of all others of its day and source; see `commit` for what is raised."""
        self.replace_all([file.entry(self.root)], schema)

    def replace_all(self, entries: Sequence[FileEntry], schema: pa.Schema) -> None:
        """Have files instead of all others of their days and sources, in one commit; see `commit` for what is raised."""
        now = time.time_ns() // 1_000_000
        parts, paths = {entry.part for entry in entries}, {entry.path for entry in entries}
        numbers = {f"{source}/{day}": now for day, source in parts}

        def plan(state: TableState) -> Change | None:
            same = [found for found in state.files if (found.day.isoformat(), found.source) in parts]
            old = [found for found in same if path_in(self.root, found.path) not in paths]
            if len(same) - len(old) == len(entries) and not old:
                return None  # this change is made: its answer was lost
            return Change(entries, old, numbers)

        self.commit(schema, plan)

    def announce(self, entry: FileEntry, columns: Mapping[str, str], key: str, number: int) -> None:
        """Leave a written file for the next commit; doing it again, even after that commit, changes nothing.

        It needs no `deltalake`: whoever reads or writes the table next commits what was announced before.

        Parameters
        ----------
        columns
            Arrow's name of the type of each column.
        key, number
            Which of its writer's files it is: a writer has a key of its own, and counts up.
        """
        note = {
            "file": entry.to_json(),
            "columns": {**columns},
            "key": key,
            "number": number,
        }
        write_text(self.root / _PENDING / f"{key}-{number:09d}.json", json.dumps(stamped(note)))

    def take_pending(self) -> None:
        """Commit the files that were announced, all at once; one whose columns have other types is put aside."""
        import pyarrow as pa

        notes = files_in(self.root / _PENDING, "*.json")
        if not notes:
            return
        with ThreadPoolExecutor(_AT_ONCE, "pending") as pool:
            found = [pending for pending in pool.map(self._pending, notes) if pending is not None]
        columns = self.columns()
        accepted = []
        for pending in found:
            try:
                columns = pending.joined_to(columns)
                accepted.append(pending)
            except pa.ArrowException as error:
                self._put_aside(pending.note, pending.file.path, error)

        def plan(state: TableState) -> Change | None:
            new = [one for one in accepted if state.last_number(one.key) < one.number]
            numbers = {one.key: one.number for one in new}  # the last of each key: they are in order
            return Change([one.file for one in new], (), numbers) if new else None

        if accepted:
            self.commit(columns, plan)
        for pending in found:
            pending.note.unlink(missing_ok=True)

    def _pending(self, note: StoragePath) -> PendingFile | None:
        """Read what was announced; None if it is committed by now, or names no file of this table."""
        pending = PendingFile.read(note)
        try:
            if pending is not None:
                inside(self.root, pending.file.path)
            return pending
        except UnsafePathError as error:
            self._put_aside(note, note.name, error)
            note.unlink(missing_ok=True)
            return None

    def _put_aside(self, note: StoragePath, file: str, error: Exception) -> None:
        _LOG.warning('event=log_file_refused table=%s file=%s error="%s"', self.root, file, error)
        write_text(note.with_suffix(".refused"), note.read_text(encoding="utf-8"))

    def commit(self, schema: pa.Schema, plan: Plan) -> None:
        """Change the table in one step, planned anew whenever another writer was faster.

        Parameters
        ----------
        schema
            Columns of the files; those that the table lacks are added to it, and are null in its other files.
        plan
            Returns the change for the version that there is, or None if there is nothing to do.

        Raises
        ------
        SpecError
            A column of the table has another type.
        StorageUnavailableError
            The store does not answer, or other writers were faster too often.
        """
        with named_extras():
            from deltalake.exceptions import CommitFailedError
        for attempt in range(_TRIES):
            try:
                with translated(self.root):
                    state = open_table(self.root)
                    if state is None:
                        create_table(self.root, schema)
                        continue
                    require_columns(state, schema)
                    change = plan(state)
                    if change is not None:
                        write_version(state, change)
                    return
            except CommitFailedError:
                time.sleep(random.uniform(0.1, 1) * min(_LONGEST_WAIT, 0.05 * 2**attempt))
        raise StorageUnavailableError(
            f"{self.root}: other writers changed the table during each of {_TRIES} attempts", "run this again"
        )

    def vacuum(self) -> int:
        """Delete the files that have not counted for a week, or never did, and return their number."""
        with translated(self.root):
            state = open_table(self.root)
            return 0 if state is None else len(state.table.vacuum(dry_run=False, full=True))


@dataclass(frozen=True)
class PendingFile:
    """A file that was announced, and is not in the table yet."""

    note: StoragePath
    file: FileEntry
    columns: dict[str, str]
    key: str
    number: int

    @classmethod
    def read(cls, note: StoragePath) -> PendingFile | None:
        """Read what was announced; None if another process has committed it meanwhile."""
        try:
            found = loads(note.read_text(encoding="utf-8"), note)
        except FileNotFoundError:
            return None
        return cls(note, FileEntry.from_json(found["file"]), found["columns"], found["key"], found["number"])

    def joined_to(self, known: pa.Schema) -> pa.Schema:
        """Return a table's columns and those of the file; raises `ArrowException` if one has another type."""
        import pyarrow as pa

        types = {str(one): one for one in (pa.string(), pa.float64(), pa.timestamp("us", tz="UTC"))}
        mine = pa.schema([(name, types[kind]) for name, kind in self.columns.items()])
        return pa.unify_schemas([known, mine])
