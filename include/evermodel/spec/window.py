"""Time windows in UTC: the data of a run, and the split of a snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Window:
    """A half-open interval of time, ``start <= t < end``, both in UTC."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"

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


def whole_day(moment: str | datetime) -> datetime:
    """Return the last midnight (UTC) at or before a moment: windows end with whole days.

    >>> whole_day("2013-03-12T06:30:00").isoformat()
    '2013-03-12T00:00:00+00:00'
    """
    return parse_moment(moment).replace(hour=0, minute=0, second=0, microsecond=0)


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


def drift_window(spec: ModelSpec, as_of: datetime) -> Window:
    """Return the trailing window that the drift DAG evaluates."""
    return Window(as_of - spec.drift.window, as_of)
