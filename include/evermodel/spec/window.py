"""Time windows in UTC: the data of a run, the split of a snapshot, and its folds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from evermodel.core.errors import PermanentError
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa


_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Window:
    """A half-open interval of time, ``start <= t < end``, both in UTC."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"

    def days(self, zone: tzinfo = UTC) -> list[date]:
        """Return the days of a time zone that the window touches."""
        first = self.start.astimezone(zone).date()
        last = (self.end - timedelta(microseconds=1)).astimezone(zone).date()
        return [first + timedelta(days=step) for step in range((last - first).days + 1)]

    def holds(self, times: pa.Array[Any] | pa.ChunkedArray[Any]) -> Any:
        """Tell for each time of an Arrow column whether it lies in the window; null if it is missing."""
        import pyarrow.compute as pc

        return pc.and_(pc.greater_equal(times, self.start), pc.less(times, self.end))

    def filter(self, column: str) -> Any:
        """Return Arrow's filter of the rows whose time lies in the window; readers skip what it rules out."""
        import pyarrow.compute as pc

        return (pc.field(column) >= self.start) & (pc.field(column) < self.end)


@dataclass(frozen=True)
class WindowSplit:
    """The parts of a training snapshot, in the order of time."""

    train: Window
    validation: Window
    test: Window

    @property
    def fit(self) -> Window:
        """Train and validation together: what the shipped model is fitted on."""
        return Window(self.train.start, self.validation.end)


def parse_moment(value: str | datetime) -> datetime:
    """Read an ISO date or time; without a zone it is UTC.

    >>> parse_moment("2013-03-12").isoformat()
    '2013-03-12T00:00:00+00:00'
    """
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def file_stamp(moment: datetime) -> str:
    """Return a moment (UTC) for the name of a file; names sort as the moments do."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H%M%S}"


def whole_day(moment: str | datetime) -> datetime:
    """Return the last midnight (UTC) at or before a moment: windows end with whole days.

    >>> whole_day("2013-03-12T06:30:00").isoformat()
    '2013-03-12T00:00:00+00:00'
    """
    return parse_moment(moment).replace(hour=0, minute=0, second=0, microsecond=0)


def zone_of(spec: ModelSpec) -> tzinfo:
    """Return the time zone of a model's days: that of a watched model, else UTC."""
    return ZoneInfo(spec.watch.timezone) if spec.watch is not None else UTC


def midnight(spec: ModelSpec, day: date) -> datetime:
    """Return the moment (UTC) at which a day of a model begins, also where clocks change."""
    return datetime.combine(day, time(), zone_of(spec)).astimezone(UTC)


def look_moment(spec: ModelSpec, moment: str | datetime) -> datetime:
    """Return the last end of a window (UTC) at or before a moment: midnight or, of a watched model, by `watch.every`."""
    every = spec.watch.every if spec.watch is not None else _DAY
    local = parse_moment(moment).astimezone(zone_of(spec))
    if every >= _DAY:
        return midnight(spec, local.date() - timedelta(days=local.weekday() if every > _DAY else 0))
    # By the clock on the wall; of an hour that clocks show twice, each has its own.
    past = timedelta(hours=local.hour, minutes=local.minute)
    wall = datetime.combine(local.date(), time(), local.tzinfo) + past // every * every
    return wall.replace(fold=local.fold).astimezone(UTC)


def looks(spec: ModelSpec, first: datetime, last: datetime) -> Iterator[datetime]:
    """Yield the ends of a watched model's windows between two moments, both included, the oldest first."""
    every = spec.watch.every if spec.watch is not None else _DAY
    moment = look_moment(spec, first)
    moment = moment if moment >= first else _next_look(spec, moment, every)
    while moment <= last:
        yield moment
        moment = _next_look(spec, moment, every)


def _next_look(spec: ModelSpec, moment: datetime, every: timedelta) -> datetime:
    found = look_moment(spec, moment + every)
    # Where clocks go back, a part of the day is an hour longer.
    return found if found > moment else look_moment(spec, moment + every + timedelta(hours=1))


def training_window(spec: ModelSpec, as_of: datetime) -> Window:
    """Return the training window as of a moment: only rows whose label was known by then."""
    end = as_of - spec.label.delay
    return Window(end - spec.split.total, end)


def split_window(spec: ModelSpec, as_of: datetime) -> WindowSplit:
    """Cut the training window into train, validation and test, in the order of time."""
    whole = training_window(spec, as_of)
    validation = whole.start + spec.split.train
    test = validation + spec.split.validation
    return WindowSplit(Window(whole.start, validation), Window(validation, test), Window(test, whole.end))


def last_day(as_of: datetime) -> Window:
    """Return the whole day before a moment: what daily scoring covers."""
    return Window(as_of - timedelta(days=1), as_of)


def days_to_score(first: str, last: str, as_of: str | datetime, longest: int = 1024) -> list[datetime]:
    """Return for each day the midnight that ends it.

    Parameters
    ----------
    first, last
        Days (``YYYY-MM-DD``, UTC), both included; without a first day, only the whole day before ``as_of``.

    Raises
    ------
    PermanentError
        There is a last day but no first one, the range ends before it begins, or it is too long.

    >>> [f"{day:%m-%d}" for day in days_to_score("2024-02-28", "2024-03-01", "2024-06-01")]
    ['02-29', '03-01', '03-02']
    >>> days_to_score("", "", "2024-06-02T03:00")[0].isoformat()
    '2024-06-02T00:00:00+00:00'
    """
    newest = last_day(whole_day(as_of)).start
    if not first:
        if last:
            raise PermanentError(
                f"`to` is {last}, but `from` is missing", "start the run again with both days"
            )
        return [newest + timedelta(days=1)]
    start, end = whole_day(first), whole_day(parse_moment(last)) if last else newest
    count = (end - start).days + 1
    if count < 1:
        raise PermanentError(f"`from` ({start:%Y-%m-%d}) is after `to` ({end:%Y-%m-%d})", "swap the two days")
    if count > longest:
        raise PermanentError(
            f"{count} days are too many for one run (at most {longest}, Airflow's core.max_map_length)",
            "start several runs, or raise this setting",
        )
    return [start + timedelta(days=number) for number in range(1, count + 1)]


def drift_window(spec: ModelSpec, as_of: datetime) -> Window:
    """Return the trailing window that the drift DAG evaluates."""
    length = spec.drift.window
    if length % _DAY:
        return Window(as_of - length, as_of)
    # Whole days by the calendar: one of 23 or 25 hours is a day.
    local = as_of.astimezone(zone_of(spec))
    return Window((local - length).astimezone(UTC), as_of)


@dataclass(frozen=True)
class Fold:
    """What is fitted on, and what is measured on; the first ends where the second begins."""

    fit: Window
    check: Window


def folds_of(spec: ModelSpec, as_of: datetime) -> list[Fold]:
    """Cut train and validation into folds, oldest first; the last one is measured on the validation part.

    Each is measured on as much time as `split.validation`. Expanding folds are fitted on everything before, rolling
    ones on the same length of time each. One fold is the plain split into train and validation.

    >>> from datetime import timedelta
    >>> spec = ModelSpec.model_construct(**{
    ...     "label": ModelSpec.model_fields["label"].annotation(column="y"),
    ...     "split": ModelSpec.model_fields["split"].annotation(train="6d", validation="2d", test="1d"),
    ...     "training": ModelSpec.model_fields["training"].annotation(folds={"kind": "rolling", "count": 3}),
    ... })
    >>> for fold in folds_of(spec, datetime(2024, 1, 10)):
    ...     print(fold.fit.start.day, fold.check.start.day, fold.check.end.day)
    1 3 5
    3 5 7
    5 7 9
    """
    parts = split_window(spec, as_of)
    count, length = spec.training.folds.count, spec.split.validation
    rolling = spec.training.folds.kind == "rolling"
    made = []
    for number in range(count):
        check = parts.validation.start - (count - 1 - number) * length
        start = parts.train.start + number * length if rolling else parts.train.start
        made.append(Fold(Window(start, check), Window(check, check + length)))
    return made
