"""The prediction log: every prediction with its features, as Parquet by day in the lake."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from evermodel.core.atomic import replacing, sweep
from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import SourceError
from evermodel.core.formats import PARQUET_METADATA, require_known_parquet
from evermodel.core.paths import inside
from evermodel.core.storage import StoragePath, files_in, readable
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

ROW_GROUP = 65_536


def log_schema(spec: ModelSpec) -> pa.Schema:
    """Return the schema of a model's prediction log: answer, time, version and features."""
    import pyarrow as pa

    columns: list[tuple[str, pa.DataType]] = [
        ("prediction_id", pa.string()),
        ("event_time", pa.timestamp("us", tz="UTC")),
        ("model_version", pa.string()),
        ("score", pa.float64()),
        ("predicted", pa.string()),
        ("source", pa.string()),
        ("request_id", pa.string()),
        *[(name, pa.float64()) for name in spec.features.numeric],
        *[(name, pa.string()) for name in spec.features.categorical],
    ]
    return pa.schema(columns)


def _stored_schema(spec: ModelSpec) -> pa.Schema:
    """Return the log's schema as a file is written: text, but the ids, as codes of a dictionary."""
    import pyarrow as pa

    codes = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            (field.name, codes if field.type == pa.string() and field.name != "prediction_id" else field.type)
            for field in log_schema(spec)
        ]
    )


Log = Literal["predictions", "shadow"]


@overload
def day_folder(spec: ModelSpec, lake: Path, day: str, log: Log = "predictions") -> Path: ...
@overload
def day_folder(spec: ModelSpec, lake: StoragePath, day: str, log: Log = "predictions") -> StoragePath: ...
def day_folder(spec: ModelSpec, lake: StoragePath, day: str, log: Log = "predictions") -> StoragePath:
    """Return the folder of one day (``YYYY-MM-DD``, UTC); ``shadow`` is the log of a shadow's answers."""
    return inside(lake / log / spec.name, f"date={day}")


def day_file(spec: ModelSpec, lake: StoragePath, day: str) -> StoragePath:
    """Return the file of a day's batch predictions; those of serving are in the same folder."""
    return day_folder(spec, lake, day) / "batch.parquet"


def write_batch(spec: ModelSpec, lake: StoragePath, day: str, table: pa.Table) -> StoragePath:
    """Write a day's batch predictions; a repetition replaces only that file."""
    target = day_file(spec, lake, day)
    write_batches(spec, target, [table.cast(log_schema(spec))])
    return target


def write_batches(spec: ModelSpec, target: StoragePath, tables: Iterable[pa.Table]) -> None:
    """Write a stream of tables as one file, atomically.

    What a writer that was killed has left beside it is removed.

    Parameters
    ----------
    tables
        Of the log's schema; any text may be a dictionary.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _stored_schema(spec)
    coded = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    sweep(target.parent, f".{target.name}.*.tmp", older_than=3600)
    with (
        replacing(target) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression="lz4",  # half of zstd's processor time; the file is an eighth larger
            use_dictionary=coded,  # type: ignore[arg-type]  # names of columns, too
            store_schema=False,  # which would make readers keep the dictionaries
            write_statistics=[
                "event_time"
            ],  # what readers look for; those of every column cost a fifth of writing
        ) as writer,
        ThreadPoolExecutor(1, "writing") as thread,  # the next rows are made meanwhile
    ):
        writer.add_key_value_metadata(PARQUET_METADATA)

        def write(group: pa.Table) -> None:
            rows = max(1, group.num_rows)  # an empty table leaves a file without rows
            writer.write_table(group.cast(schema).unify_dictionaries(), row_group_size=rows)

        written: Future[None] | None = None
        for group in _grouped(tables, ROW_GROUP):
            if written is not None:
                written.result()
            written = thread.submit(write, group)
        if written is not None:
            written.result()


def _grouped(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Join small tables until they make a row group."""
    import pyarrow as pa

    kept: list[pa.Table] = []
    for table in tables:
        kept.append(table)
        if sum(part.num_rows for part in kept) >= rows:
            yield pa.concat_tables(kept)
            kept = []
    if kept:
        yield pa.concat_tables(kept)


def files_of(
    spec: ModelSpec, lake: StoragePath, window: Window, log: Log = "predictions"
) -> list[StoragePath]:
    """Return the files of the days that a window touches."""
    day, last = window.start.astimezone(UTC).date(), (window.end - timedelta(microseconds=1)).date()
    files: list[StoragePath] = []
    while day <= last:
        files += files_in(day_folder(spec, lake, day.isoformat(), log), "[!.]*.parquet")
        day += timedelta(days=1)
    return files


def read_file(file: StoragePath, schema: pa.Schema, filters: pc.Expression) -> pa.Table:
    """Read the rows of one file that pass filters; a column that it does not have reads as null.

    Raises
    ------
    NewerFormatError
        A newer release wrote the file.
    """
    import pyarrow.parquet as pq

    opened = readable(file)
    require_known_parquet(pq.read_metadata(opened).metadata, file)
    return pq.read_table(opened, schema=schema, filters=filters, partitioning=None)


def read_log(spec: ModelSpec, lake: StoragePath, window: Window) -> pa.Table:
    """Read the predictions of a window.

    A column that a file does not have (a feature that is new) reads as null.

    Raises
    ------
    SourceError
        A file is damaged.
    """
    import pyarrow as pa

    schema = log_schema(spec)
    filters = window.filter("event_time")
    tables = [schema.empty_table()]
    for file in files_of(spec, lake, window):
        try:
            tables.append(read_file(file, schema, filters))
        except (pa.ArrowException, OSError) as error:
            raise damaged_log(spec, file, error) from error
    return pa.concat_tables(tables)


def damaged_log(spec: ModelSpec, file: StoragePath, error: Exception) -> SourceError:
    """Return the error for a file of the log that cannot be read."""
    return SourceError(
        f"model {spec.name}: the prediction log {file} cannot be read: {error}",
        f"score that day again (DAG {dag_id('score', spec.name)}), which replaces the file",
    )
