"""The section `features`, and the tables of events that features aggregate as they were known at a row's time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from evermodel.core.names import did_you_mean
from evermodel.spec.expressions import check_formula, columns_of, parse_formula
from evermodel.spec.parts import Column, Span, SpecSection, format_span

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
Function = Literal["count", "sum", "mean", "min", "max", "distinct", "last"]
Value = bool | int | float | str


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Formula = Annotated[str, AfterValidator(check_formula)]
Columns = Annotated[tuple[Column, ...], BeforeValidator(_several)]


class EventTable(SpecSection):
    """Events beside a model's rows: what happened to whom, when, and since when it is known."""

    path: str | None = Field(
        None, min_length=1, description="File, glob or URL; of the source kinds files, sql and python."
    )
    table: str | None = Field(
        None,
        min_length=1,
        description="Table or view in the engine of `kind: ibis`; a dot separates the schema.",
    )
    query: str | None = Field(
        None,
        min_length=1,
        description="SQL: over the table `source` of the files, or in the engine of `kind: ibis`.",
    )
    time_column: Column = Field(description="Time of the event.")
    key: Columns = Field((), description="Columns, here and in the rows, that say whose event it is.")
    arrival_column: Column | None = Field(
        None, description="Time at which this version of the event was known."
    )
    lateness: Span = Field(
        timedelta(0), description="Time from an event until it is known, where no column tells."
    )
    id_column: Column | None = Field(
        None,
        description="Identifies an event of which corrected versions arrive; the latest one known counts.",
    )

    @model_validator(mode="after")
    def _known(self) -> EventTable:
        if self.arrival_column is not None and self.lateness:
            raise ValueError("set `arrival_column` or `lateness`, not both")
        if self.id_column is not None and self.arrival_column is None:
            raise ValueError("`id_column` needs an `arrival_column`, which tells the versions apart")
        if self.table is not None and (self.query is not None or self.path is not None):
            raise ValueError("set `table`, `query`, or `path` with or without a `query`")
        return self


class Aggregate(SpecSection):
    """One feature: an aggregate of the events of a row's key before its time."""

    name: Column = Field(description="The feature; also listed under `numeric` or `categorical`.")
    table: str = Field(min_length=1, description="One of `source.tables`.")
    function: Function
    column: Column | None = Field(None, description="What is aggregated; `count` without it counts events.")
    over: Span | None = Field(
        None, description="Length of the window before the row's time; null, for `last` only: no limit."
    )
    key: Columns = Field((), description="Instead of the table's.")
    where: dict[str, Value | tuple[Value, ...]] = Field(
        default_factory=dict, description="Only events with this value, or one of these, in a column."
    )
    default: float | str | None = Field(
        None, description="In place of a missing value: no event is seen, or `last` is missing."
    )
    decimals: int = Field(
        6, ge=0, le=12, description="Decimals to which `sum` and `mean` round values, to add them exactly."
    )

    @model_validator(mode="after")
    def _complete(self) -> Aggregate:
        if self.column is None and self.function != "count":
            raise ValueError(f"the function `{self.function}` needs a `column`")
        if self.over is None and self.function != "last":
            raise ValueError(f"the function `{self.function}` needs `over`, such as 7d")
        if self.over is not None and self.over <= timedelta(0):
            raise ValueError("`over` must be longer than zero")
        if isinstance(self.default, str) and self.function != "last":
            raise ValueError(f"the function `{self.function}` gives numbers; `default` must be one")
        return self

    @property
    def columns(self) -> list[str]:
        """The columns of events that it needs beside key and times."""
        return [*([] if self.column is None else [self.column]), *self.where]

    @property
    def told(self) -> str:
        """What it computes, for people.

        >>> Aggregate(name="late", table="trips", function="mean", column="delay", over="3h", where={"kind": "late"}).told
        'mean of delay over 3h of trips where kind is late'
        """
        what = self.function if self.column is None else f"{self.function} of {self.column}"
        over = "" if self.over is None else f" over {format_span(self.over)}"
        wanted = {name: one if isinstance(one, tuple) else (one,) for name, one in self.where.items()}
        where = [f"{name} is {' or '.join(map(str, values))}" for name, values in wanted.items()]
        return f"{what}{over} of {self.table}" + (f" where {' and '.join(where)}" if where else "")

    @property
    def without_events(self) -> float | str | None:
        """Its value for a key without events."""
        if self.default is None:
            return 0.0 if self.function in ("count", "sum", "distinct") else None
        return self.default if isinstance(self.default, str) else float(self.default)


@dataclass(frozen=True)
class FeatureView:
    """Features that are found by one key together: the aggregates of a table, or what Feast gives.

    Parameters
    ----------
    table
        One of `source.tables`; of Feast its feature service.
    given
        Names of Feast's features.
    """

    table: str
    key: tuple[str, ...]
    aggregates: tuple[Aggregate, ...] = ()
    given: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What tells it from the model's other views."""
        return f"{self.table} by {', '.join(self.key)}"

    @property
    def features(self) -> list[str]:
        """Their names, in order."""
        return [*(aggregate.name for aggregate in self.aggregates), *self.given]

    @property
    def without_events(self) -> list[float | str | None]:
        """The values of a key that has none."""
        return [*(aggregate.without_events for aggregate in self.aggregates), *(None for _ in self.given)]


class OnlineSpec(SpecSection):
    """Aggregates that are computed once a period, and looked up by the serving app in place of being sent."""

    every: Span = Field(timedelta(days=1), description="Length of a period, counted from midnight UTC.")
    delay: Span = Field(
        timedelta(hours=6),
        description="Time after a period begins within which its values are written; until then those of the one before are used.",
    )
    max_age: Span | None = Field(
        None,
        description="Oldest values that the serving app uses, counted from what they show; null: `delay` and two periods.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> OnlineSpec:
        if self.every <= timedelta(0):
            raise ValueError("`every` must be longer than zero")
        if self.oldest < self.every + self.delay:
            raise ValueError("`max_age` must be at least `every` and `delay` together")
        return self

    @property
    def oldest(self) -> timedelta:
        """The age from which on values are too old."""
        return self.delay + 2 * self.every if self.max_age is None else self.max_age

    def shown_at(self, micros: int) -> int:
        """Return the beginning of the period whose values a row at a time has; both in microseconds since 1970.

        >>> OnlineSpec(every="1h", delay="5min").shown_at(7_500_000_000) // 60_000_000  # of 02:05, those of 02:00
        120
        """
        since = micros - self.delay // _MICROSECOND
        return since - since % (self.every // _MICROSECOND)

    def period_at(self, moment: datetime) -> datetime:
        """Return the beginning of the period whose values a row at a moment has."""
        return _EPOCH + self.shown_at((moment - _EPOCH) // _MICROSECOND) * _MICROSECOND


@dataclass(frozen=True)
class OwnCode:
    """Code of a user's own that a stored model may name.

    Parameters
    ----------
    module
        The spec's `features.module`.
    types
        The spec's `trusted_types`.
    """

    module: str | None = None
    types: tuple[str, ...] = ()


NO_OWN_CODE = OwnCode()


class FeaturesSpec(SpecSection):
    """The columns that the model uses."""

    numeric: tuple[Column, ...] = ()
    categorical: tuple[Column, ...] = ()
    module: str | None = Field(
        None,
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$",
        description="Python module with `features(frame)`, `build_pipeline(spec, candidate)` or both.",
    )
    derived_numeric: tuple[Column, ...] = Field((), description="Numbers that `features` of the module adds.")
    derived_categorical: tuple[Column, ...] = Field(
        (), description="Categories that `features` of the module adds."
    )
    aggregates: tuple[Aggregate, ...] = Field(
        (), description="Features that aggregate `source.tables`, as known at each row's time."
    )
    expressions: dict[Column, Formula] = Field(
        default_factory=dict,
        description="Numbers that formulas make of a row's numeric features, by name, such as `fare / distance`.",
    )
    online: OnlineSpec | None = Field(
        None,
        description="Compute aggregates and Feast's features once a period, so that the serving app can look them up.",
    )

    @model_validator(mode="after")
    def _derived(self) -> FeaturesSpec:
        derived = [*self.derived_numeric, *self.derived_categorical]
        if derived and self.module is None:
            raise ValueError("derived columns need a `module` with a function `features`")
        made = [*derived, *self.expressions]
        twice = sorted({name for name in made if name in self.names or made.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} listed twice among declared and derived columns")
        return self

    @model_validator(mode="after")
    def _computable(self) -> FeaturesSpec:
        for name, text in self.expressions.items():
            for column in columns_of(parse_formula(text)):
                if column not in self.numeric:
                    hint = did_you_mean(column, list(self.numeric))
                    raise ValueError(f"expressions: {name}: {column} is not listed under numeric{hint}")
        return self

    @property
    def made_numeric(self) -> list[str]:
        """Numbers that the model computes of a row: derived by the module, and by formulas."""
        return [*self.derived_numeric, *self.expressions]

    @property
    def names(self) -> list[str]:
        """All feature columns that come from the source, numeric first."""
        return [*self.numeric, *self.categorical]


def aggregate_problems(
    aggregates: tuple[Aggregate, ...],
    tables: Mapping[str, EventTable],
    numeric: tuple[str, ...],
    categorical: tuple[str, ...],
) -> Iterator[str]:
    """Say what is wrong between the aggregates, the tables and the lists of features."""
    made = {aggregate.name for aggregate in aggregates}
    for number, one in enumerate(aggregates):
        where = f"features.aggregates.{number}"
        if sum(other.name == one.name for other in aggregates[:number]):
            yield f"{where}.name: {one.name} is defined twice"
        if one.name not in (*numeric, *categorical):
            yield f"{where}.name: {one.name} is not listed under features.numeric or features.categorical"
        if one.name in categorical and one.function != "last":
            yield f"{where}.name: `{one.function}` gives a number, list {one.name} under features.numeric"
        if one.name in numeric and isinstance(one.default, str):
            yield f"{where}.default: {one.default} is not a number, and {one.name} is numeric"
        table = tables.get(one.table)
        if table is None:
            hint = did_you_mean(one.table, list(tables)).removeprefix("; ")
            yield f"{where}.table: {one.table} is not one of source.tables{f' ({hint})' if hint else ''}"
            continue
        key = one.key or table.key
        if not key:
            yield f"{where}.key: set it here or in source.tables.{one.table}"
        yield from (f"{where}.key: {name} is an aggregate itself" for name in key if name in made)
        if one.over is not None and one.over <= table.lateness:
            yield f"{where}.over: must be longer than the lateness of {one.table}: no event would be seen"
