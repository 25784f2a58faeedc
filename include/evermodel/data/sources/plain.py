"""Plain Parquet files, read by Arrow without an engine; text columns keep the file's dictionary."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from evermodel.data.sources.relation import Stream
from evermodel.spec import ModelSpec
from evermodel.spec.source import FilesSource
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_ENDINGS = (".parquet", ".parq", ".pq")
# In a path: a file system, or a pattern that engines understand in their own way.
_ENGINES = (":", "**", "[", "{")
_MOST_FILES = 1000  # whose footers are read before the first row
_BUFFER = 2**16  # bytes read at a time of each column


def plain_rows(spec: ModelSpec, window: Window, columns: Sequence[str], batch_rows: int) -> Stream | None:
    """Read the rows of a window from local Parquet files, in file order.

    An engine, which can do far more, makes text of the dictionaries, which are then made again for the model and the log.

    Returns
    -------
    Batches with the values that the engine would give, text as dictionaries; None where there might be a difference: the
    source is no such file or has a query, a column comes from a path or is neither number, text nor time in UTC, or
    something is wrong, which the engine tells.
    """
    files = _files(spec)
    if set(spec.joined).intersection(columns) or any(
        f"{name}=" in file for file in files for name in columns
    ):
        return None
    schemas = {_schema(spec, file, columns) for file in files}
    schema = schemas.pop() if len(schemas) == 1 else None
    return None if schema is None else Stream(schema, _batches(spec, files, window, schema, batch_rows))


def _files(spec: ModelSpec) -> list[str]:
    source = spec.source
    if not isinstance(source, FilesSource) or source.query or any(sign in source.path for sign in _ENGINES):
        return []
    found = sorted(glob.glob(source.path, include_hidden=True))
    plain = len(found) <= _MOST_FILES and all(file.lower().endswith(_ENDINGS) for file in found)
    return found if plain else []


def _schema(spec: ModelSpec, file: str, columns: Sequence[str]) -> pa.Schema | None:
    """Return the types in which a file's columns are read; None if an engine is needed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_schema(file)
    except (pa.ArrowException, OSError):
        return None
    fields, counts = [], Counter(name.casefold() for name in found.names)
    for name in columns:
        once = name in found.names and counts[name.casefold()] == 1
        kind = _kind(found.field(name).type, coded=name != spec.id_column) if once else None
        if kind is None or pa.types.is_timestamp(kind) != (name == spec.time_column):
            return None
        fields.append((name, kind))
    return pa.schema(fields)


def _kind(kind: pa.DataType, *, coded: bool) -> pa.DataType | None:
    """Return as what a type is read; None if it is not plain."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC") if kind.tz is not None and kind.unit in ("us", "ms") else None
    value = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_string(value) or types.is_large_string(value):
        return pa.dictionary(pa.int32(), pa.string()) if coded else pa.string()
    plain = types.is_integer(kind) or types.is_float32(kind) or types.is_float64(kind)
    return kind if plain or types.is_boolean(kind) else None


def _batches(
    spec: ModelSpec, files: Sequence[str], window: Window, schema: pa.Schema, rows: int
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    coded = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    for file in files:
        with pq.ParquetFile(file, read_dictionary=coded, buffer_size=_BUFFER) as content:
            # Each row group by itself: one reader of all keeps the buffers of those it has read.
            for group, whole in _groups(content.metadata, spec.time_column, window):
                picked: dict[str, Any] = {
                    "row_groups": [group],
                    "columns": schema.names,
                    "use_threads": False,
                }
                try:
                    for batch in content.iter_batches(rows, **picked):
                        yield _checked(batch, schema, None if whole else (spec.time_column, window))
                except (pa.ArrowInvalid, OSError) as error:
                    if isinstance(error, OSError) and error.errno is not None:
                        raise
                    where = f"{file}: " if len(files) > 1 else ""
                    raise pa.ArrowInvalid(f"{where}{error}") from error  # what the file holds is broken


def _groups(metadata: pq.FileMetaData, time_column: str, window: Window) -> Iterator[tuple[int, bool]]:
    """Give the row groups that may hold rows of a window, and whether all their rows are in it."""
    leaves = metadata.schema
    place = next(n for n in range(len(leaves)) if leaves.column(n).path == time_column)
    for number in range(metadata.num_row_groups):
        # The stubs misspell `has_null_count`, and do not know that limits which are there are not None.
        known: Any = metadata.row_group(number).column(place).statistics
        if known is None or not known.has_min_max or not known.has_null_count:
            yield number, False
        elif known.max >= window.start and known.min < window.end:
            whole = known.min >= window.start and known.max < window.end and known.null_count == 0
            yield number, whole


def _checked(batch: pa.RecordBatch, schema: pa.Schema, cut: tuple[str, Window] | None) -> pa.RecordBatch:
    """Bring a batch into the order and types of the schema, and look for text that is none."""
    import pyarrow as pa

    arrays: list[Any] = []
    for field in schema:
        values = batch.column(field.name)
        if pa.types.is_string(values.type) or pa.types.is_dictionary(values.type):
            _require_text(field.name, values)
        arrays.append(values if values.type == field.type else values.cast(field.type))
    checked = pa.RecordBatch.from_arrays(arrays, schema=schema)
    if cut is None:
        return checked
    time_column, window = cut
    return checked.filter(window.holds(checked.column(time_column)))


def _require_text(name: str, values: pa.Array[Any]) -> None:
    import pyarrow as pa

    try:
        values.validate(full=True)  # a file may say text and hold other bytes
    except pa.ArrowInvalid as error:
        raise pa.ArrowInvalid(f"column {name} contains bytes that are not UTF-8 text ({error})") from error
