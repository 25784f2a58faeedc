"""The prediction log: every prediction with its features, as a Delta Lake table by day in the lake."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from evermodel.core.atomic import replacing, sweep
from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import SourceError
from evermodel.core.formats import PARQUET_METADATA, require_known_parquet
from evermodel.core.paths import inside
from evermodel.core.storage import StoragePath, readable
from evermodel.data.day_table import DayTable
from evermodel.data.table_file import TableFile
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

ROW_GROUP = 65_536


def log_schema(spec: ModelSpec) -> pa.Schema:
    """Return the schema of a model's prediction log: answer, time, version, features and context."""
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
        *[(name, pa.string()) for name in (*spec.features.categorical, *spec.context)],
    ]
    return pa.schema(columns)


def _stored_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema as a file is written: text, but the ids, as codes of a dictionary."""
    import pyarrow as pa

    codes = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            (field.name, codes if field.type == pa.string() and field.name != "prediction_id" else field.type)
            for field in schema
        ]
    )


Log = Literal["predictions", "shadow"]
LOGS: tuple[Log, ...] = ("predictions", "shadow")


@overload
def log_folder(spec: ModelSpec, lake: Path, log: Log = "predictions") -> Path: ...
@overload
def log_folder(spec: ModelSpec, lake: StoragePath, log: Log = "predictions") -> StoragePath: ...
def log_folder(spec: ModelSpec, lake: StoragePath, log: Log = "predictions") -> StoragePath:
    """Return the folder of a model's log; ``shadow`` is the log of a shadow's answers."""
    return inside(lake / log, spec.name)


def log_of(spec: ModelSpec, lake: StoragePath, log: Log = "predictions") -> DayTable:
    """Return the table of a model's log."""
    return DayTable(log_folder(spec, lake, log))


def write_day(spec: ModelSpec, lake: StoragePath, day: date, tables: Iterable[pa.Table]) -> StoragePath:
    """Write a day's batch predictions instead of those that the log has of that day, in one commit.

    Whoever is killed before it leaves a file that does not count, and that `compact` removes.

    Parameters
    ----------
    tables
        Of the log's schema; any text may be a dictionary.

    Returns
    -------
    The file.

    Raises
    ------
    SpecError
        A feature has another type in the log.
    """
    (file,) = write_days(spec, lake, [(day, tables)])
    return file


def write_days(
    spec: ModelSpec, lake: StoragePath, days: Iterable[tuple[date, Iterable[pa.Table]]]
) -> list[StoragePath]:
    """Write some days as `write_day` does, all in one commit; return their files."""
    table, files = log_of(spec, lake), []
    for day, tables in days:
        files.append(TableFile.new(table.root, day, "batch"))
        write_file(log_schema(spec), files[-1].path, tables)
    if files:
        table.replace_all([file.entry(table.root) for file in files], log_schema(spec))
    return [file.path for file in files]


def plain_file(spec: ModelSpec, lake: Path, day: str) -> Path:
    """Return the file of a day in a log that is no table, such as a backtest's.

    Parameters
    ----------
    day
        ``YYYY-MM-DD``.
    """
    return inside(log_folder(spec, lake), f"date={day}") / "batch.parquet"


def write_plain_day(spec: ModelSpec, lake: Path, day: str, table: pa.Table) -> Path:
    """Write a day of a log that is no table; a repetition replaces the file."""
    target = plain_file(spec, lake, day)
    write_file(log_schema(spec), target, [table])
    return target


def write_file(schema: pa.Schema, target: StoragePath, tables: Iterable[pa.Table]) -> None:
    """Write a stream of tables as one file, atomically.

    What a writer that was killed has left beside it is removed.

    Parameters
    ----------
    tables
        Of the schema; any text may be a dictionary.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _stored_schema(schema)
    coded = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    sweep(target.parent, ".*.tmp", older_than=3600)
    with (
        replacing(target) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression="lz4",  # half of zstd's processor time; the file is an eighth larger
            use_dictionary=coded,  # type: ignore[arg-type]  # names of columns, too
            store_schema=False,  # which would make readers keep the dictionaries
            # What readers look for; those of every column cost a fifth of writing.
            write_statistics=["event_time", "prediction_id"],
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
    first, last = window.start.astimezone(UTC), window.end.astimezone(UTC) - timedelta(microseconds=1)
    return [file.path for file in log_of(spec, lake, log).files(first.date(), last.date())]


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


def read_log(
    spec: ModelSpec, lake: StoragePath, window: Window, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read the predictions of a window.

    A column that a file does not have (a feature that is new) reads as null.

    Parameters
    ----------
    columns
        Those to read, the time among them; all if not given.

    Raises
    ------
    SourceError
        A file is damaged.
    """
    import pyarrow as pa

    schema = log_schema(spec)
    if columns is not None:
        schema = pa.schema([field for field in schema if field.name in columns])
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
        f"score that day again (DAG {dag_id('score', spec.name)}), which replaces it",
    )
