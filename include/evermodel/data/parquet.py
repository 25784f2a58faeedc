"""Write an immutable Parquet file, named by its content, atomically."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.core.atomic import no_space
from evermodel.core.errors import LakeFullError
from evermodel.core.storage import StoragePath

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_GROUP_ROWS = 100_000


def write_by_content(
    tables: Iterable[pa.Table], folder: Path, order: tuple[str, ...]
) -> tuple[Path, int] | None:
    """Write rows to ``<first 16 hex digits of the SHA-256>.parquet``; the same rows give the same bytes.

    Parameters
    ----------
    tables
        The rows, already in order, all of one schema; how they are cut into tables does not matter.
    folder
        Where the file comes to be; it appears there when it is complete.
    order
        Columns that the rows are sorted by, told in the file for those who read it.

    Returns
    -------
    The file and its rows; None if there is no row, and then no file.

    Raises
    ------
    LakeFullError
        There is no room for the file.
    """
    import pyarrow.parquet as pq

    rows = 0
    temporary = folder / f".{uuid.uuid4().hex}.tmp"
    writer: pq.ParquetWriter | None = None
    with room_for(temporary):
        try:
            for table in _groups(tables):
                if writer is None:
                    folder.mkdir(parents=True, exist_ok=True)
                    sorting = pq.SortingColumn.from_ordering(
                        table.schema, [(name, "ascending") for name in order]
                    )
                    writer = pq.ParquetWriter(
                        temporary,
                        table.schema,
                        compression="zstd",
                        store_schema=False,
                        sorting_columns=sorting,
                        use_dictionary=repeating(table.schema),  # type: ignore[arg-type]  # names of columns, too
                    )
                writer.write_table(table, row_group_size=_GROUP_ROWS)
                rows += table.num_rows
            if writer is None:
                return None
            writer.close()
            with temporary.open("rb") as content:
                name = hashlib.file_digest(content, "sha256").hexdigest()[:16]
            target = folder / f"{name}.parquet"
            temporary.replace(target)  # also over a file of that name: it is the same, or was damaged since
        finally:
            if writer is not None and writer.is_open:
                with contextlib.suppress(OSError):  # on a full disk even that fails
                    writer.close()
            temporary.unlink(missing_ok=True)
    return target, rows


def column_ranges(footer: pq.FileMetaData, name: str, groups: Iterable[int]) -> list[tuple[int, int]]:
    """Return where a file has a column, as offsets, one for each of some row groups."""
    index = footer.schema.names.index(name)
    chunks = [footer.row_group(group).column(index) for group in groups]
    starts = [min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset))) for chunk in chunks]
    return [(start, start + chunk.total_compressed_size) for start, chunk in zip(starts, chunks, strict=True)]


def repeating(schema: pa.Schema) -> list[str]:
    """Return the columns whose values repeat; looking for repeated floats takes longer than writing them."""
    import pyarrow as pa

    return [field.name for field in schema if not pa.types.is_floating(field.type)]


@contextmanager
def room_for(file: StoragePath) -> Iterator[None]:
    """Turn a full disk, quota or limit into an error that says where."""
    try:
        yield
    except OSError as error:
        if not no_space(error):
            raise
        raise LakeFullError(
            f"no space is left in {file.parent}: {error}",
            "free some space there or move the lake (EVERMODEL_LAKE), then run this again",
        ) from error


def _groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Regroup rows, so that the row groups do not depend on the input batches."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        while count >= _GROUP_ROWS:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, _GROUP_ROWS).combine_chunks()
            waiting = [joined.slice(_GROUP_ROWS)]
            count -= _GROUP_ROWS
    if count:
        yield pa.concat_tables(waiting).combine_chunks()
