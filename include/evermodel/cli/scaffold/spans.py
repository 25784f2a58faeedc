"""Choose spans that fit how much time a table covers and how many rows it has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from evermodel.cli.scaffold.labels import Label
from evermodel.cli.scaffold.query import Shape
from evermodel.core.errors import SpecError

_TEST_ROWS, _TEST_RARE = 300, 40
# Below it a test part says nothing, whatever the model.
_LEAST_ROWS, _LEAST_RARE = 20, 5
_WINDOW_ROWS = 40
_TESTS = [timedelta(days=days) for days in (1, 2, 7, 14, 28, 91, 182, 364)]
_TRAIN_PARTS = 7
_LONGEST_WINDOW = timedelta(days=28)
_WINDOWS = [timedelta(days=days) for days in (1, 2, 7, 14, 28, 91, 182)]
_WEEK, _DAY, _HOUR, _MINUTE = timedelta(days=7), timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


@dataclass(frozen=True)
class Spans:
    """How much time each part covers, and the first day from which a retrain sees all of the data."""

    train: timedelta
    validation: timedelta
    test: timedelta
    drift: timedelta
    drift_rows: int
    delay: timedelta
    as_of: datetime
    rows: int

    @property
    def total(self) -> timedelta:
        """The whole window."""
        return self.train + self.validation + self.test


def choose_spans(shape: Shape, rows: int, label: Label, delay: timedelta) -> Spans:
    """Choose the shortest usual split with enough rows for the gate, or 70, 15 and 15 % of all there is.

    Parameters
    ----------
    rows
        Rows of the whole table.
    delay
        How long after the event the label is known.

    Raises
    ------
    SpecError
        The test part would be too small for any verdict.
    """
    covered = max(shape.newest - shape.oldest, _MINUTE)
    rare = label.rarest
    needed = max(_TEST_ROWS, _TEST_RARE / rare)
    # A part that is shorter than a week knows some days of it only.
    least = _WEEK if covered >= (_TRAIN_PARTS + 2) * _WEEK else _DAY
    test = next((t for t in _TESTS if t >= least and rows * (t / covered) >= needed), None)
    if test is not None and test * (_TRAIN_PARTS + 2) <= covered and not shape.made_up:
        train, validation = test * _TRAIN_PARTS, test
    else:
        # Parts whose sum covers everything, in units that keep them whole.
        unit = next((u for u in (_DAY, _HOUR) if covered >= 20 * u), _MINUTE)
        test = validation = max(unit, covered * 0.15 // unit * unit)
        train = -(-covered // unit) * unit - 2 * test + unit
    require_enough(int(rows * min(1.0, test / covered)), label)
    as_of = _midnight_after(shape.newest) + delay
    as_of = as_of if as_of == _midnight(as_of) else _midnight(as_of) + _DAY
    total = train + validation + test
    seen = min(1.0, total / covered)
    drift = max(_DAY, min(test, _LONGEST_WINDOW))
    # A window that never holds enough rows would never be judged.
    drift = next((w for w in _WINDOWS if w >= drift and rows * (w / covered) >= _WINDOW_ROWS), _WINDOWS[-1])
    return Spans(
        train, validation, test, drift, int(rows * (drift / covered)), delay, as_of, int(rows * seen)
    )


def require_enough(test_rows: int, label: Label) -> None:
    """Raise `SpecError` if a test part of that many rows cannot tell a good model from a bad one."""
    rare = int(test_rows * label.rarest)
    if test_rows >= _LEAST_ROWS and rare >= _LEAST_RARE:
        return
    of = f", {rare} of them of the rarest class of {label.column}" if label.classes else ""
    raise SpecError(
        f"the table is too small: its test part would hold about {test_rows} rows{of}; a verdict needs at least "
        f"{_LEAST_ROWS}" + (f", and {_LEAST_RARE} of each class" if label.classes else ""),
        "collect more rows"
        + (", merge rare classes, or name one class with --positive" if label.classes else ""),
    )


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _midnight_after(moment: datetime) -> datetime:
    return _midnight(moment) + _DAY
