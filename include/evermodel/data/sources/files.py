"""Parquet and CSV files, read in place by DuckDB."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.core.atomic import no_space
from evermodel.core.errors import EvermodelError, SourceError
from evermodel.core.extras import OF_SCHEME, install_command
from evermodel.data.sources.relation import Relation, first_line, require_columns, trouble, without_class
from evermodel.spec import ModelSpec
from evermodel.spec.source import FilesSource
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import duckdb

_CSV = re.compile(r"\.(csv|tsv|txt)(\.gz|\.zst)?$")
_DELIMITERS = (",", ";", "\t", "|")
# What DuckDB opens without downloading an extension.
_BUILT_IN = ("file", "")
_LONGEST_LINE = 1_000_000


class FilesRelation(Relation[FilesSource]):
    """Files under a path, a glob or an fsspec URL."""

    def __init__(self, spec: ModelSpec, source: FilesSource) -> None:
        super().__init__(spec, source)
        self._duck: duckdb.DuckDBPyConnection | None = None

    def open(self, duck: duckdb.DuckDBPyConnection, window: Window, columns: Sequence[str]) -> None:
        """Make the views `source` and `rows`; DuckDB pushes the time filter into their scan."""
        self._duck = duck
        _require_present(self.spec, self.source.path)
        _use_filesystem(self.spec, duck, self.source.path)
        duck.execute(f"CREATE VIEW source AS SELECT * FROM {self._reader(duck, columns)}")
        duck.execute(f"CREATE VIEW rows AS {self.source.query or 'SELECT * FROM source'}")
        self._require(duck, "rows", columns)

    def open_events(self, duck: duckdb.DuckDBPyConnection, view: str, columns: Sequence[str]) -> None:
        """Make a view of these files with their events, which may lie beside others of `open`."""
        self._duck = duck
        _require_present(self.spec, self.source.path)
        _use_filesystem(self.spec, duck, self.source.path)
        query = (self.source.query or "SELECT * FROM source").strip().rstrip(";")
        reader = self._reader(duck, columns)
        duck.execute(f"CREATE VIEW {view} AS WITH source AS (SELECT * FROM {reader}) SELECT * FROM ({query})")
        self._require(duck, view, columns)

    def _require(self, duck: duckdb.DuckDBPyConnection, view: str, columns: Sequence[str]) -> None:
        names = [row[0] for row in duck.execute(f"DESCRIBE {view}").fetchall()]
        require_columns(self.spec, names, columns)

    def unreadable(self, error: Exception) -> EvermodelError:
        """Return the most exact description of what is wrong with the files."""
        if isinstance(error, OSError) or no_space(error):
            return trouble(self.spec, error, "check `source.path`")
        said = _ragged_line(self._duck, self.source) if self._duck and "sniffing" in str(error) else None
        advice = "check that the file is complete and that `source.query` is valid DuckDB SQL over the table `source`"
        if "not utf-8" in str(error) or "unicode" in str(error).lower():
            advice = "save the file as UTF-8, or set `source.encoding` to utf-16 or latin-1"
        elif said is not None:
            advice = "fix the export: every line must have as many fields as the header"
        return SourceError(
            f"model {self.spec.name}: {self.source.told} cannot be read: {self.source.hide(said or _reason(error))}",
            advice,
        )

    @property
    def is_csv(self) -> bool:
        """True if the files are CSV, by their name."""
        return _CSV.search(self.source.path) is not None

    def names(self, duck: duckdb.DuckDBPyConnection) -> list[str]:
        """Return the names of the first file's columns as they are written, also those that appear twice."""
        if self.is_csv:
            return _header(duck, self.source)[0]
        first = _first_file(duck, self.source.path)
        nodes = "SELECT name, num_children FROM parquet_schema(?)"
        return _top_level(duck.execute(nodes, [first]).fetchall()) if first is not None else []

    def _reader(self, connection: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> str:
        path = _quoted(self.source.path)
        if not self.is_csv:
            _require_once(self.spec, self.names(connection), columns)
            return f"read_parquet({path})"
        header, delimiter = _header(connection, self.source)
        _require_once(self.spec, header, columns)
        # Offsets of single values would be dropped without a word if this column were read as a time without zone.
        kinds = {self.spec.time_column: "TIMESTAMPTZ"} | dict.fromkeys(self.source.text, "VARCHAR")
        typed = ", ".join(f"{_quoted(c)}: '{kind}'" for c, kind in kinds.items() if c in header)
        types = f", types={{{typed}}}" if typed else ""
        return f"read_csv({path}, {_csv_options(delimiter, self.source)}, sample_size=-1{types})"


def _top_level(nodes: list[tuple[str, int | None]]) -> list[str]:
    """Return the columns among the nodes of a Parquet schema, which come depth first, the root before all."""
    names: list[str] = []
    open_nodes: list[int] = []
    for name, children in nodes:
        if len(open_nodes) == 1:
            names.append(name)
        if open_nodes:
            open_nodes[-1] -= 1
        if children:
            open_nodes.append(children)
        while len(open_nodes) > 1 and open_nodes[-1] == 0:
            open_nodes.pop()
    return names


def _csv_options(delimiter: str, source: FilesSource) -> str:
    return (
        f"delim={_quoted(delimiter)}, quote='\"', escape='\"', comment='', header=true, strict_mode=true, "
        f"null_padding=false, encoding={_quoted(source.encoding)}"
    )


def _first_file(connection: duckdb.DuckDBPyConnection, path: str) -> str | None:
    found = connection.execute("SELECT min(file) FROM glob(?)", [path]).fetchone()
    return found[0] if found else None


def _header(connection: duckdb.DuckDBPyConnection, source: FilesSource) -> tuple[list[str], str]:
    """Return the names in the first line of the first file, and the delimiter."""
    import fsspec

    first = _first_file(connection, source.path)
    if first is None:
        return [], ","
    try:
        with fsspec.open(first, "rb", compression="infer") as content:
            line = content.readline(_LONGEST_LINE)
    except (
        ValueError,
        OSError,
    ):  # no library for this compression; or no such format after all, which DuckDB tells
        return [], ","
    if line.startswith(b"PAR1"):
        raise SourceError(
            f"{source.hide(first)} is a Parquet file, although its name ends like that of a CSV file",
            "rename it to .parquet, and correct the path",
        )
    text = line.decode(source.encoding, errors="ignore").lstrip("\ufeff").rstrip("\r\n\0")
    delimiter = max(_DELIMITERS, key=text.count)
    return next(csv.reader(io.StringIO(text), delimiter=delimiter), []), delimiter


def _ragged_line(connection: duckdb.DuckDBPyConnection, source: FilesSource) -> str | None:
    """Read a CSV file as text only: the remaining errors are lines with too many or too few fields."""
    import duckdb

    try:
        header, delimiter = _header(connection, source)
        columns = ", ".join(f"{_quoted(f'{name} {n}')}: 'VARCHAR'" for n, name in enumerate(header))
        options = f"{_csv_options(delimiter, source)}, auto_detect=false, columns={{{columns}}}"
        connection.execute(
            f"SELECT count(*) FROM (SELECT * FROM read_csv({_quoted(source.path)}, {options}))"
        )
        connection.execute(f"SELECT max(columns(*)) FROM read_csv({_quoted(source.path)}, {options})")
    except (duckdb.Error, OSError, UnicodeError) as error:
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    """Return what is wrong in a line: the engine's first line, and the line of the file if it names one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = lines[:1]
    if lines and "CSV Error" in lines[0]:
        kept = [line for line in lines[:3] if "Possible" not in line]
    return without_class("; ".join(kept)) or type(error).__name__


def _require_present(spec: ModelSpec, path: str) -> None:
    unset = re.search(r"\$\{([^}]+)\}", path)
    if unset:
        raise SourceError(
            f"model {spec.name}: the source path {path} uses the environment variable {unset[1]}, which is not set",
            f"set {unset[1]} for Airflow's processes, or write the path into the spec",
        )
    if "://" not in path and not any(sign in path for sign in "*?[") and not Path(path).exists():
        raise SourceError(
            f"model {spec.name}: the data file {path} does not exist",
            "run the export that writes it, or correct `source.path` in the spec",
        )


def _use_filesystem(spec: ModelSpec, connection: duckdb.DuckDBPyConnection, path: str) -> None:
    """Let DuckDB open a URL through fsspec, whose credentials come from the environment."""
    scheme = path.partition("://")[0] if "://" in path else ""
    if scheme in _BUILT_IN:
        connection.execute(
            "SET disable_parquet_prefetching = true"
        )  # a local disk is fast, and it takes 50 MB
        return
    import fsspec

    try:
        files = fsspec.filesystem(scheme)
        files.invalidate_cache()  # a process that waits for data lists the same folder again and again
        connection.register_filesystem(files)
    except (ImportError, ValueError) as error:
        extra = f": {install_command([OF_SCHEME[scheme]])}" if scheme in OF_SCHEME else ""
        raise SourceError(
            f"model {spec.name}: {spec.source.hide(path)} cannot be opened: {spec.source.hide(first_line(error))}",
            f"install the fsspec file system for {scheme}://{extra}, or correct `source.path`",
        ) from error


def _require_once(spec: ModelSpec, names: list[str], columns: Sequence[str]) -> None:
    """Reject duplicate columns; the engine would silently number the second one."""
    require_columns(spec, [*names, *(set(columns) - set(names))], columns)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
