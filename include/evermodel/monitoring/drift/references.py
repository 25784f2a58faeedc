"""References of a window: training rows, the days before it, its weekdays, or its season in earlier years."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from evermodel.data.sources import read_window
from evermodel.monitoring.drift.columns import days_of
from evermodel.monitoring.drift.profile import KeptRows, ThinnedRows, merged, of_version
from evermodel.monitoring.drift.profiles import Profiles, days_before
from evermodel.monitoring.drift.reference_and_current import ColumnarRows, ComparedRows, ExactRows
from evermodel.monitoring.drift.rows import LogRows
from evermodel.spec import ModelSpec
from evermodel.spec.drift import ReferenceSpec
from evermodel.spec.window import Window, zone_of

_KEPT_VALUES = 5_000_000  # 40 MB: of larger references one column at a time is in memory
_YEAR = timedelta(days=364)  # whole weeks, so that a Monday is compared with Mondays
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Reference:
    """One reference.

    Parameters
    ----------
    key
        Identifies it from day to day: effects under one key are measured against the same reference.
    side
        Its rows; None when there are too few.
    """

    words: str
    key: str
    side: ComparedRows | None
    refusal: str = ""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return round(self.side.rows) if self.side else 0


@dataclass(frozen=True)
class References:
    """The references of one window of one model.

    Parameters
    ----------
    version
        Version of the champion, whose predictions are evaluated.
    training
        The rows that it was fitted on.
    fitted
        The interval that they come from.
    held_out
        Answers that the version gave on rows that it was not fitted on, with the time column, if they were kept.
    compact
        Thin the references' columns, for many comparisons against the same.
    sides
        What the windows of one champion are compared with alike: it is made once where they are given the same dictionary.
    """

    spec: ModelSpec
    window: Window
    version: str
    training: ColumnarRows
    fitted: Window
    profiles: Profiles
    held_out: ColumnarRows | None = None
    compact: bool = False
    _found: dict[object, Reference] = field(default_factory=dict, compare=False, repr=False)
    sides: dict[object, ComparedRows] = field(default_factory=dict, compare=False, repr=False)

    def of(self, column: str) -> Reference:
        """Return the reference of a column."""
        watch = self.spec.drift.by_column.get(column)
        return self._get(watch.reference if watch and watch.reference else self.spec.drift.reference)

    def main(self) -> Reference:
        """Return the reference of all columns without their own."""
        return self._get(self.spec.drift.reference)

    def of_answers(self, column: str) -> Reference:
        """Return the reference of the champion's predictions: predictions of the same version.

        Those on rows that were held out; else its first days in the log, or the days before the window when the
        reference is a trailing one. Answers on its own training rows would be too sure of themselves.
        """
        name = ("answers", column)
        if name not in self._found:
            self._found[name] = self._answers(column)
        return self._found[name]

    def at(self, window: Window, *, compact: bool = True) -> References:
        """Return the references of another window of the same champion; what both use is made once."""
        return replace(self, window=window, compact=compact, _found={})

    def _get(self, wanted: ReferenceSpec) -> Reference:
        if wanted not in self._found:
            make = {
                "training": self._training,
                "trailing": self._trailing,
                "weekday": self._weekday,
                "season": self._season,
            }[wanted.kind]
            self._found[wanted] = make(wanted)
        return self._found[wanted]

    def _training(self, wanted: ReferenceSpec) -> Reference:
        words = f"{self._fitted_words}, {_length(self.fitted)} until {_day(self.fitted.end)}"
        side = self._shared_side("training", lambda: self.training)
        return self._checked(words, f"training-{self._fitted_key}", side)

    def _weekday(self, wanted: ReferenceSpec) -> Reference:
        days = sorted({day.weekday() for day in self.window.days(zone_of(self.spec))})
        if len(days) == 7:
            return self._training(wanted)
        side = self._shared_side(f"weekday {days}", lambda: _of_weekdays(self.training, self.spec, days))
        named = ", ".join(f"{_WEEKDAYS[day]}s" for day in days)
        words = f"{self._fitted_words}, {named} of {_length(self.fitted)} until {_day(self.fitted.end)}"
        return self._checked(words, f"weekday-{self._fitted_key}", side)

    def _trailing(self, wanted: ReferenceSpec) -> Reference:
        span = Window(self.window.start - wanted.span, self.window.start)
        words = f"trailing, {_length(span)} until {_day(span.end)}"
        key = f"trailing-{wanted.span.days}d"
        side = self.profiles.merged(days_before(self.spec, self.window, wanted.span))
        found, least = len(side.parts) if side else 0, min(self._least_days, wanted.span.days)
        if found < least:
            return Reference(
                words, key, None, f"the log has {found} days before the window, at least {least}"
            )
        return self._checked(words, key, side)

    def _season(self, wanted: ReferenceSpec) -> Reference:
        import pyarrow as pa

        reach = f"± {wanted.width.days} days"
        tables = []
        for back in range(1, wanted.years + 1):
            start = self.window.start - back * _YEAR - wanted.width
            end = self.window.end - back * _YEAR + wanted.width
            part = read_window(self.spec, Window(start, end), with_label=False)
            if part.num_rows:
                tables.append((start.year, part))
        if not tables:
            return Reference(f"season, {reach}", "season", None, "the source has no earlier year")
        years = f"{tables[-1][0]}" if len(tables) == 1 else f"{tables[-1][0]} to {tables[0][0]}"
        whole = pa.concat_tables([part for _, part in tables])
        key = f"season-{wanted.width.days}d-{wanted.years}y"
        words = f"same season of {years}, {reach}"
        return self._checked(words, key, self._side(whole))

    def _answers(self, column: str) -> Reference:
        wanted, name = self.spec.drift.reference, of_version(column, self.version)
        if self.held_out is not None and wanted.kind != "trailing":
            rows = LogRows(self.held_out, [column], self.version)
            side = self._shared_side(f"held out {column}", lambda: rows, rows.numbers)
            return self._checked(
                f"{self._held_out_words} of version {self.version}", f"held-out-{self.version}", side
            )
        if wanted.kind == "trailing":
            days, words = days_before(self.spec, self.window, wanted.span), "before the window"
        else:
            days, words = self._first_days(name, wanted.span), "since its promotion"
        parts = [part for day in days if (part := self.profiles.day(day)) and part.has(name)]
        words = f"predictions of version {self.version}, {len(parts)} days {words}"
        key = f"answers-{self.version}-{wanted.kind}"
        if len(parts) < self._least_days:
            why = f"{len(parts)} days with predictions of version {self.version}, at least {self._least_days}"
            return Reference(words, key, None, why)
        side = merged(parts)
        known, fewest = round(side.sample(name).rows), self.spec.drift.min_rows
        if known < fewest:
            return Reference(words, key, None, f"{known} predictions, at least {fewest}")
        return Reference(words, key, side)

    def _first_days(self, name: str, span: timedelta) -> list[date]:
        """Return the first days on which the version answered, so far as they lie before the window."""
        known = [
            d for d in self.profiles.days() if d < self.window.start.astimezone(zone_of(self.spec)).date()
        ]
        for place, day in enumerate(known):
            found = self.profiles.day(day)
            if found is not None and found.has(name):
                last = day + span
                return [d for d in known[place:] if d < last]
        return []

    def _shared_side(
        self, name: str, rows: Callable[[], ColumnarRows], more_numbers: frozenset[str] = frozenset()
    ) -> ComparedRows:
        """Make a side once for all windows."""
        key = (name, self.compact)
        if key not in self.sides:
            self.sides[key] = self._side(rows(), more_numbers)
        return self.sides[key]

    def _side(self, rows: ColumnarRows, more_numbers: frozenset[str] = frozenset()) -> ComparedRows:
        numeric = frozenset(self.spec.features.numeric) | more_numbers
        small = rows.num_rows * len(self.spec.watched) <= _KEPT_VALUES
        kind = ThinnedRows if self.compact else KeptRows if small else ExactRows
        return kind(rows, numeric, self.spec.time_column, self.spec.seed)

    def _checked(self, words: str, key: str, side: ComparedRows | None) -> Reference:
        rows, least = round(side.rows) if side else 0, self.spec.drift.min_rows
        if rows < least:
            return Reference(words, key, None, f"{rows} rows, at least {least}")
        return Reference(words, key, side)

    @property
    def _least_days(self) -> int:
        """Days of the log below which a reference could not tell how much days differ by themselves."""
        return 3 * max(1, round(self.spec.drift.window / timedelta(days=1)))

    @property
    def _held_out_words(self) -> str:
        return "held-out predictions" if self.spec.watch is None else "predictions of the reference"

    @property
    def _fitted_words(self) -> str:
        return "training" if self.spec.watch is None else "reference"

    @property
    def _fitted_key(self) -> str:
        return f"{self.version}-{self.fitted.start:%Y%m%d}-{self.fitted.end:%Y%m%d}"


def _of_weekdays(training: ColumnarRows, spec: ModelSpec, days: Sequence[int]) -> ColumnarRows:
    import numpy as np
    import pyarrow as pa

    # Day 0, 1 January 1970, was a Thursday.
    inside = np.isin((days_of(training[spec.time_column]) + 3) % 7, days)
    names = [name for name in [*spec.logged, spec.time_column] if name in training.column_names]
    rows: ColumnarRows = pa.table({name: training[name].filter(pa.array(inside)) for name in names})
    return rows


def _length(window: Window) -> str:
    days = (window.end - window.start).days
    if days % 7 == 0 and days > 7:
        return f"{days // 7} weeks"
    return "1 day" if days == 1 else f"{days} days"


def _day(end: datetime) -> str:
    """Name the last day before an exclusive end."""
    last = end - timedelta(microseconds=1)
    return f"{last.day} {last:%b %Y}"
