"""Read one window of a model's source, pushed down to DuckDB."""

from __future__ import annotations

import difflib
import re
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.errors import SourceError
from evermodel.spec import ModelSpec
from evermodel.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa


@dataclass(frozen=True)
class Arrival:
    """What a source holds for a window: its rows, and the newest event anywhere."""

    rows: int
    newest: datetime | None


def read_window(spec: ModelSpec, window: Window, *, with_label: bool) -> pa.Table:
    """Read the rows of a window, ordered by time and id.

    Parameters
    ----------
    window
        Half-open interval of the time column.
    with_label
        Read the label too; scoring leaves it out, so that it cannot leak.

    Returns
    -------
    Table with id, time (microseconds, UTC), features and, if asked for, the label.

    Raises
    ------
    SourceError
        The files or a column are missing, or cannot be read.
    """
    import pyarrow as pa

    columns = [name for name in spec.columns if with_label or name != spec.label.column]
    with _connection(spec) as connection:
        _require_columns(spec, connection, columns)
        picked = ", ".join(_quoted(name) for name in columns if name != spec.time_column)
        time = _quoted(spec.time_column)
        query = (
            f"SELECT {time}::TIMESTAMPTZ AS {time}, {picked} FROM rows "
            f"WHERE {time}::TIMESTAMPTZ >= ? AND {time}::TIMESTAMPTZ < ? "
            f"ORDER BY {time}, {_quoted(spec.id_column)}"
        )
        table = connection.sql(query, params=[window.start, window.end]).to_arrow_table()
    moments = table[spec.time_column].cast(pa.timestamp("us", tz="UTC"))
    return table.set_column(0, spec.time_column, moments).select(columns)


def read_labels(spec: ModelSpec, window: Window) -> pa.Table:
    """Read id, time and label of a window's rows."""
    table = read_window(spec, window, with_label=True)
    return table.select([spec.id_column, spec.time_column, spec.label.column])


def arrival(spec: ModelSpec, window: Window) -> Arrival:
    """Tell how many rows of a window are there, and the newest event of the source."""
    with _connection(spec) as connection:
        _require_columns(spec, connection, [spec.time_column])
        time = f"{_quoted(spec.time_column)}::TIMESTAMPTZ"
        query = f"SELECT count(*) FILTER ({time} >= ? AND {time} < ?), max({time})::TIMESTAMPTZ FROM rows"
        rows, newest = connection.execute(query, [window.start, window.end]).fetchone()
    return Arrival(int(rows), newest)


@contextmanager
def _connection(spec: ModelSpec) -> Iterator[Any]:
    import duckdb

    connection = duckdb.connect(config={"autoinstall_known_extensions": False})
    try:
        # Times without a zone are UTC, wherever this machine is.
        connection.execute("SET TimeZone = 'UTC'")
        reader = _reader(spec)
        connection.execute(f"CREATE VIEW source AS SELECT * FROM {reader}")
        connection.execute(f"CREATE VIEW rows AS {spec.source.query or 'SELECT * FROM source'}")
        yield connection
    except duckdb.Error as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise SourceError(
            f"model {spec.name}: {spec.source.path} cannot be read: {reason}",
            "check that the file is whole and that `source.query` is valid DuckDB SQL over the table `source`",
        ) from error
    finally:
        connection.close()


def _reader(spec: ModelSpec) -> str:
    path = spec.source.path
    unset = re.search(r"\$\{([^}]+)\}", path)
    if unset:
        raise SourceError(
            f"model {spec.name}: the source path {path} names the environment variable {unset[1]}, which is not set",
            f"set {unset[1]} for Airflow's processes, or write the path into the spec",
        )
    if "://" not in path and not any(sign in path for sign in "*?[") and not Path(path).exists():
        raise SourceError(
            f"model {spec.name}: the data file {path} does not exist",
            "check that the export that makes it has run, or correct `source.path` in the spec",
        )
    function = "read_csv" if re.search(r"\.(csv|tsv)(\.gz|\.zst)?$", path) else "read_parquet"
    return f"{function}('{path.replace(chr(39), chr(39) * 2)}')"


def _require_columns(spec: ModelSpec, connection: Any, columns: list[str]) -> None:
    present = [row[0] for row in connection.execute("DESCRIBE rows").fetchall()]
    missing = [name for name in columns if name not in present]
    if not missing:
        return
    hints = {name: difflib.get_close_matches(name, present, n=1) for name in missing}
    named = ", ".join(f"{name} (did you mean {near[0]}?)" if near else name for name, near in hints.items())
    raise SourceError(
        f"model {spec.name}: {spec.source.path} lacks the columns {named}",
        f"it has: {', '.join(present)}; correct the spec or the source query",
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
