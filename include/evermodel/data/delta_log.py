"""The log of a Delta Lake table of files by day and source: its versions, and the commits that make the next one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from evermodel.core.errors import NewerFormatError, SpecError, StorageUnavailableError
from evermodel.core.extras import named_extras
from evermodel.core.paths import inside
from evermodel.core.storage import (
    BucketPath,
    StoragePath,
    require_own_process,
    table_options,
    without_secrets,
)
from evermodel.data.table_file import FileEntry, TableFile, plain_files

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

_PARTITIONS = ["date", "source"]
_CONFIGURATION = {
    "delta.checkpointInterval": "20",
    "delta.logRetentionDuration": "interval 7 days",
    "delta.deletedFileRetentionDuration": "interval 7 days",
    "delta.setTransactionRetentionDuration": "interval 30 days",
}
_AT_ONCE = 16  # files that are described while a folder is taken over


@dataclass(frozen=True)
class Change:
    """What one commit does.

    Parameters
    ----------
    added
        Files that are written; one that the table has already stays in it once.
    removed
        Files that no longer count; vacuum deletes them later.
    numbers
        By key. Of two commits with one key that were planned on the same version, one is planned again. The table keeps
        the last number of each key for 30 days.
    moves_rows
        Whether rows come or go; False of a compaction.
    """

    added: Sequence[FileEntry]
    removed: Sequence[TableFile]
    numbers: Mapping[str, int]
    moves_rows: bool = True


@dataclass(frozen=True)
class TableState:
    """One version of a table."""

    root: StoragePath
    table: DeltaTable

    @cached_property
    def files(self) -> list[TableFile]:
        """The files that count."""
        import pyarrow as pa

        found = pa.table(self.table.get_add_actions(flatten=True))
        names = ("path", "size_bytes", "modification_time", "partition.date", "partition.source")
        return [self._file(*row) for row in zip(*(found[name].to_pylist() for name in names), strict=True)]

    @property
    def columns(self) -> pa.Schema:
        """The columns of the table."""
        import pyarrow as pa

        found: pa.Schema = pa.schema(cast("Any", self.table.schema()))
        return found

    def last_number(self, key: str) -> int:
        """Return the number of the last commit with a key; 0 if there is none."""
        return self.table.transaction_version(key) or 0

    def _file(self, name: str, size: int, written: int, day: date, source: str) -> TableFile:
        path = inside(self.root, name)
        return TableFile(
            path.immutable(size, written / 1000) if isinstance(path, BucketPath) else path, day, source
        )


def open_table(root: StoragePath, known: dict[str, DeltaTable] | None = None) -> TableState | None:
    """Return the newest version; None if there is no table.

    Parameters
    ----------
    known
        Tables that were opened before, of which only what is new is fetched.
    """
    known = {} if known is None else known
    with named_extras():
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError
    require_own_process("a table of the lake")
    name = str(root)
    if name in known:
        known[name].update_incremental()
    elif not (root / "_delta_log").is_dir():
        return None
    else:
        try:
            known[name] = DeltaTable(name, storage_options=_options(root))
        except TableNotFoundError:  # who was to make it was killed, or is about to
            return None
    return TableState(root, known[name])


def create_table(root: StoragePath, schema: pa.Schema) -> None:
    """Make the table; the files of earlier releases are in its first version. Of several writers one does."""
    from deltalake import Schema
    from deltalake.exceptions import DeltaError
    from deltalake.transaction import create_table_with_add_actions

    with ThreadPoolExecutor(_AT_ONCE, "files") as pool:
        plain = list(plain_files(root))
        added = list(pool.map(lambda file: file.entry(root).added(), plain))
        columns = {field.name: field for found in pool.map(TableFile.schema, plain) for field in found}
    columns.update({field.name: field for field in schema})
    try:
        create_table_with_add_actions(
            str(root),
            Schema.from_arrow(columns_of(columns.values())),
            added,
            partition_by=_PARTITIONS,
            name=root.name,
            configuration=_CONFIGURATION,
            storage_options=_options(root),
        )
    except DeltaError:
        if open_table(root) is None:
            raise


def write_version(state: TableState, change: Change) -> None:
    """Make the next version; raises `CommitFailedError` if another writer was faster."""
    from deltalake import CommitProperties, Transaction

    root, moved = state.root, change.moves_rows
    now = int(time.time() * 1000)
    seen = [Transaction(key, number, now) for key, number in change.numbers.items()]
    state.table.create_write_transaction(
        [
            *(entry.added(moves_rows=moved) for entry in change.added),
            *(file.removed(root, moves_rows=moved) for file in change.removed),
        ],
        "append",
        state.table.schema(),
        partition_by=_PARTITIONS,
        commit_properties=CommitProperties(app_transactions=seen),
    )


def require_columns(state: TableState, schema: pa.Schema) -> None:
    """Add the columns that a table lacks."""
    import pyarrow as pa
    from deltalake import Schema

    present, new = state.columns, []
    for field in columns_of(schema):
        if field.name not in present.names:
            new.append(field)
        elif (was := present.field(field.name).type) != field.type:
            raise SpecError(
                f"{state.root}: column {field.name} is {was} in the table and {field.type} in the new rows",
                "give the feature its former type, or another name",
            )
    if new:
        state.table.alter.add_columns(Schema.from_arrow(pa.schema(new)).fields)


def columns_of(fields: Iterable[pa.Field[pa.DataType]]) -> pa.Schema:
    """Return a table's columns: text without codes, and the partition last."""
    import pyarrow as pa

    plain = {
        field.name: field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        for field in fields
        if field.name not in _PARTITIONS
    }
    return pa.schema([*plain.items(), ("date", pa.date32()), ("source", pa.string())])


def _options(root: StoragePath) -> dict[str, str] | None:
    return None if isinstance(root, Path) else table_options(root.scheme)


@contextmanager
def translated(root: StoragePath) -> Iterator[None]:
    """Turn errors of `deltalake` into those that say what to do; conflicts are for who commits."""
    with named_extras():
        from deltalake.exceptions import CommitFailedError, DeltaError, DeltaProtocolError
    try:
        yield
    except CommitFailedError:
        raise
    except DeltaProtocolError as error:
        raise NewerFormatError(
            f"{root}: the table has features that this deltalake cannot use: {error}",
            "upgrade deltalake, or remove what another program has added to the table",
        ) from error
    except DeltaError as error:
        raise StorageUnavailableError(
            f"{root}: the table cannot be used: {without_secrets(error)}",
            "check that the store is up and _delta_log complete, then run this again",
        ) from None
    except OSError as error:
        if isinstance(root, Path):
            raise
        raise StorageUnavailableError(
            f"{root} cannot be reached: {without_secrets(error)}",
            "check that the store is up and its endpoint right, then run this again",
        ) from None
