"""The section `source`: where a model's rows come from, one class for each kind."""

from __future__ import annotations

import re
import string
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, JsonValue, Tag, model_validator

from evermodel.core.logins import without_login
from evermodel.spec.feast import FeastSpec
from evermodel.spec.features import EventTable
from evermodel.spec.parts import Column, Span, SpecSection

_IMPORT_PATH = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
_PASSWORD = re.compile(r"://[^/@\s:]*:[^/@\s]+@|[?&](password|passwd|pwd|token|secret\w*)=", re.IGNORECASE)


def _check_marker(value: str | None) -> str | None:
    """Fill in a marker's names once, so that an unknown one fails when the spec is read."""
    if value is not None:
        names = {name for _, name, _, _ in string.Formatter().parse(value) if name is not None}
        if unknown := names - {"start", "end", "day"}:
            raise ValueError(
                f"a marker can contain {{start}}, {{end}} and {{day}}, not {', '.join(sorted(unknown))}"
            )
        marker_path(value, datetime(2000, 1, 1, tzinfo=UTC), datetime(2000, 1, 2, tzinfo=UTC))
    return value


def marker_path(marker: str, start: datetime, end: datetime) -> str:
    """Return the path of a marker for a window; ``{day}`` is its last day.

    >>> marker_path("/in/{day:%Y-%m-%d}/_SUCCESS", datetime(2024, 1, 1), datetime(2024, 1, 8))
    '/in/2024-01-07/_SUCCESS'
    """
    return marker.format(start=start, end=end, day=end - timedelta(days=1))


def _some_time(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero")
    return value


Step = Annotated[Span, AfterValidator(_some_time)]


class CompleteSpec(SpecSection):
    """When the data of an interval counts as complete."""

    min_rows: int = Field(1, ge=0, description="Minimum rows of the interval's last day.")
    newest_within: Span | None = Field(
        None, description="Largest time between the newest row and the interval's end."
    )
    marker: Annotated[str | None, AfterValidator(_check_marker)] = Field(
        None,
        description="File, folder or glob that marks the data as complete; {day:%Y-%m-%d} is its last day.",
    )


class BaseSource(SpecSection):
    """What every kind of source has."""

    complete: CompleteSpec = CompleteSpec()
    late: Span | None = Field(
        None,
        description="Days older than this are read once and cached; null reads all of them each time.",
    )
    upstream: str | None = Field(
        None,
        min_length=1,
        description="What the rows come from, if not told by the rest: models with the same one report their drift together.",
    )
    tables: dict[str, EventTable] = Field(
        default_factory=dict, description="Tables of events that `features.aggregates` aggregate, by name."
    )
    feast: FeastSpec | None = Field(None, description="Features that Feast joins to the rows.")

    @model_validator(mode="after")
    def _tables_of_this_kind(self) -> BaseSource:
        for name, table in self.tables.items():
            if self._in_engine and (table.path is not None or (table.table or table.query) is None):
                raise ValueError(f"tables: {name}: set `table` or `query` in the engine of this source")
            if not self._in_engine and table.path is None:
                raise ValueError(f"tables: {name}: set `path`; only `kind: ibis` reads tables of an engine")
        return self

    @property
    def _in_engine(self) -> bool:
        return False

    @property
    def content(self) -> dict[str, Any]:
        """What decides which rows are read, for the keys of what is kept of them.

        They stay as earlier releases made them: fields that were added later are in it only where they are set.
        """
        left_out = {"upstream"} if self.feast is not None else {"upstream", "feast"}
        return self.model_dump(mode="json", exclude=left_out)

    @property
    def told(self) -> str:
        """Where the rows come from, for people."""
        raise NotImplementedError

    @property
    def hides(self) -> bool:
        """Tell whether one of the addresses has a login or a query."""
        return any(without_login(address) != address for address in self._addresses())

    def hide(self, text: str) -> str:
        """Return a text, such as an error's, in which the addresses have no login and no query."""
        for address in self._addresses():
            text = text.replace(address, without_login(address))
            text = text.replace(query, "…") if (query := urlsplit(address).query) else text
        return text

    def _addresses(self) -> list[str]:
        own = getattr(self, "path", None) or getattr(self, "url", None)
        return [one for one in (own, *(t.path for t in self.tables.values())) if one and "://" in one]


class FilesSource(BaseSource):
    """Parquet or CSV files, optionally seen through a query."""

    kind: Literal["files"] = "files"
    path: str = Field(min_length=1, description="File, glob or URL; ${NAME} inserts environment variables.")
    query: str | None = Field(
        None, description="SQL (DuckDB) over the table `source`; without it, every row and column."
    )
    encoding: Literal["utf-8", "utf-16", "latin-1"] = Field("utf-8", description="Of CSV files.")
    text: tuple[Column, ...] = Field(
        (), description="Columns of CSV files to read as text, for `query` to cast; other types are guessed."
    )

    @property
    def told(self) -> str:
        """The path."""
        return self.hide(self.path)


class SqlSource(BaseSource):
    """A query on a database that an Airflow connection leads to."""

    kind: Literal["sql"]
    connection: str = Field(min_length=1, description="Airflow connection id.")
    query: str = Field(min_length=1, description="SQL; :start and :end are the ends of the interval.")
    batch_rows: int = Field(50_000, ge=1, description="Rows fetched at a time.")
    late: Span | None = timedelta(days=3)

    @model_validator(mode="after")
    def _bound(self) -> SqlSource:
        found = re.findall(r"\{\{(.*?)\}\}", self.query)
        if unknown := [name.strip() for name in found if name.strip() not in ("start", "end")]:
            raise ValueError(
                f"a query can contain {{{{ start }}}} and {{{{ end }}}}, not {', '.join(unknown)}"
            )
        return self

    @property
    def told(self) -> str:
        """The connection."""
        return f"connection {self.connection}"


class IbisSource(BaseSource):
    """A table or an expression in an engine that Ibis supports."""

    kind: Literal["ibis"]
    url: str = Field("duckdb://", min_length=1, description="URL for `ibis.connect`, without a password.")
    connection: str | None = Field(
        None, min_length=1, description="Airflow connection id instead of `url`, if a password is needed."
    )
    table: str | None = Field(None, min_length=1, description="Table or view; a dot separates the schema.")
    query: str | None = Field(
        None, min_length=1, description="SQL in the engine's dialect, instead of `table`."
    )
    expression: str | None = Field(
        None,
        pattern=_IMPORT_PATH,
        description="Import path `module:function` of a function from the connection to an Ibis table.",
    )
    step: Step | None = Field(
        None, description="Time span of one read, for engines that return whole results (Spark)."
    )
    late: Span | None = timedelta(days=3)

    @model_validator(mode="after")
    def _one_of_three(self) -> IbisSource:
        if sum(part is not None for part in (self.table, self.query, self.expression)) != 1:
            raise ValueError("set exactly one of `table`, `query` and `expression`")
        if _PASSWORD.search(self.url):
            raise ValueError(
                "`url` contains a password, and specs are stored with every run; use `connection`"
            )
        return self

    @property
    def _in_engine(self) -> bool:
        return True

    @property
    def told(self) -> str:
        """The engine, and what is read there."""
        place = self.connection or self.hide(self.url)
        return f"{place} {self.table or self.expression or 'query'}"


class PythonSource(BaseSource):
    """A user function that returns the rows of an interval."""

    kind: Literal["python"]
    function: str = Field(
        pattern=_IMPORT_PATH,
        description="Import path `module:function`, called with start and end; gives Arrow or pandas.",
    )
    arguments: dict[str, JsonValue] = Field(default_factory=dict, description="Further arguments, by name.")
    step: Step | None = Field(None, description="Time span of one call; null: the whole interval.")
    late: Span | None = timedelta(days=3)

    @property
    def told(self) -> str:
        """The function."""
        return self.function


def _kind(value: object) -> str:
    found = value.get("kind", "files") if isinstance(value, dict) else getattr(value, "kind", "files")
    return str(found)


SourceSpec = Annotated[
    Annotated[FilesSource, Tag("files")]
    | Annotated[SqlSource, Tag("sql")]
    | Annotated[IbisSource, Tag("ibis")]
    | Annotated[PythonSource, Tag("python")],
    Discriminator(_kind, custom_error_type="unknown_kind", custom_error_message="unknown kind of source"),
]
