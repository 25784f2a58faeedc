"""One side of a comparison: its columns as samples, read one at a time, and some whole rows of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evermodel.monitoring.drift.columns import as_numbers, days_of, named, nulls, taken, to_numpy
from evermodel.monitoring.drift.correlation import Ranked, natural_changes, ranked
from evermodel.stats.sample import Sample, categories
from evermodel.stats.spilled import numbers

if TYPE_CHECKING:
    import pyarrow as pa

Joint = NDArray[np.float64]  # rows x columns, not-a-number where a value is missing
JOINT_ROWS = 20_000  # an error of 0.007 in a correlation, whatever the number of rows


class ColumnarRows(Protocol):
    """Rows in columns, such as an Arrow table; a column may be read only when it is asked for."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        ...

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        ...

    def __getitem__(self, name: str) -> pa.ChunkedArray[Any]:
        """Return one column as a chunked array."""
        ...


@dataclass(frozen=True)
class GroupedValues:
    """Some values of one column, and the day or the cluster of each."""

    values: pa.ChunkedArray[Any]
    groups: NDArray[Any]
    numeric: bool


class ComparedRows(Protocol):
    """One side of a comparison: exact rows or a profile of them."""

    @property
    def rows(self) -> float:
        """Number of rows."""
        ...

    def sample(self, name: str) -> Sample:
        """Return one column."""
        ...

    def joint(self, names: Sequence[str]) -> Joint:
        """Return some whole rows; a category is a number that stands for its name."""
        ...

    def ranked(self, names: Sequence[str]) -> Ranked:
        """Return the same rows as ranks."""
        ...

    def has(self, name: str) -> bool:
        """Tell whether a column is there."""
        ...

    def note(self, name: str) -> str:
        """Say what is odd about a column, if anything is."""
        ...

    def stretches(self, name: str, days: int) -> list[tuple[Sample, Sample]]:
        """Return stretches of so many days of one column, each with the rest as its reference."""
        ...

    def once(self, key: Hashable, find: Callable[[], float]) -> float:
        """Return a figure of these rows that is found once."""
        ...

    def keeps(self, names: Sequence[str]) -> bool:
        """Tell whether these columns of whole rows are known."""
        ...

    def stretches_of_rows(self, names: Sequence[str], days: int) -> list[tuple[Joint, Joint]]:
        """Return stretches of so many days one after the other: the other whole rows, and those of the stretch."""
        ...

    def grouped(self, name: str, cluster: str = "") -> GroupedValues | None:
        """Return some values of one column with their day, or their cluster; None if that is not known."""
        ...

    def natural_changes(self, names: Sequence[str], days: int) -> tuple[NDArray[np.float64], float]:
        """Return columns x columns, the usual change of rank correlation in stretches of so many days, and their number."""
        ...


@dataclass
class ExactRows:
    """Exact rows.

    Parameters
    ----------
    numeric
        Columns that are numbers; all others are categories.
    time_column
        When the rows happened, for stretches of days; without it there are none.
    seed
        Which whole rows are drawn.
    """

    table: ColumnarRows
    numeric: frozenset[str]
    time_column: str = ""
    seed: int = 0
    joint_rows: int = JOINT_ROWS
    _joint: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    _notes: dict[str, str] = field(default_factory=dict)
    _ranked: dict[tuple[str, ...], Ranked] = field(default_factory=dict)
    _natural: dict[tuple[str, ...], tuple[NDArray[np.float64], float]] = field(default_factory=dict)
    _figures: dict[Hashable, float] = field(default_factory=dict)

    @property
    def rows(self) -> float:
        """Number of rows."""
        return float(self.table.num_rows)

    def sample(self, name: str) -> Sample:
        """Return one column; one that is not there has only missing values."""
        some: list[pa.Array[Any]] = []
        count = numbers if name in self.numeric else categories
        found: Sample = count(self._picking(self._pieces(name), some))
        if found.rows == self.rows and name not in self._joint:
            self._joint[name] = self._as_numpy(name, some)
        return found

    def has(self, name: str) -> bool:
        """Tell whether a column is there."""
        return name in self.table.column_names

    def note(self, name: str) -> str:
        """Say what is odd about a column that was read."""
        return self._notes.get(name, "")

    def joint(self, names: Sequence[str]) -> Joint:
        """Return a seeded sample of whole rows; a category is a number that stands for its name."""
        for name in names:
            if name not in self._joint:
                self._joint[name] = self._as_numpy(name, self.picked(name))
        return np.column_stack([self._joint[name] for name in names]) if names else np.empty((0, 0))

    def ranked(self, names: Sequence[str]) -> Ranked:
        """Return the same rows as ranks, made once."""
        key = tuple(names)
        if key not in self._ranked:
            self._ranked[key] = ranked(self.joint(names))
        return self._ranked[key]

    def stretches(self, name: str, days: int) -> list[tuple[Sample, Sample]]:
        """Cut a sample of the rows into stretches that overlap by half."""
        if not self._has_times:
            return []
        when, values = self._days_picked, self._chunked(name)
        if len(values) != len(when):
            return []
        return [
            (
                self._of(name, taken(values, np.flatnonzero(~inside))),
                self._of(name, taken(values, np.flatnonzero(inside))),
            )
            for inside in _cuts(when, days)
        ]

    def once(self, key: Hashable, find: Callable[[], float]) -> float:
        """Return a figure of these rows that is found once."""
        if key not in self._figures:
            self._figures[key] = find()
        return self._figures[key]

    def keeps(self, names: Sequence[str]) -> bool:
        """Tell that whole rows are known."""
        return True

    def stretches_of_rows(self, names: Sequence[str], days: int) -> list[tuple[Joint, Joint]]:
        """Cut the sample of whole rows into stretches one after the other."""
        if not self._has_times:
            return []
        rows, apart = self.joint(names), _cuts(self._days_picked, days, days)
        return [(rows[~inside], rows[inside]) for inside in apart]

    def grouped(self, name: str, cluster: str = "") -> GroupedValues | None:
        """Return a sample of one column with the day, or the cluster, of each row."""
        if not (self.has(cluster) if cluster else self._has_times):
            return None
        values, groups = self._chunked(name), self._days_picked
        if cluster:
            some = self.picked(cluster, as_it_is=True)
            groups = np.array([str(value) for piece in some for value in piece.to_pylist()])
        return GroupedValues(values, groups, name in self.numeric) if len(values) == len(groups) else None

    def natural_changes(self, names: Sequence[str], days: int) -> tuple[NDArray[np.float64], float]:
        """Return how far the rank correlations of stretches that overlap by half are from the others, found once."""
        key = (*names, str(days))
        if key not in self._natural:
            whole = self.ranked(names)
            parts = []
            if self._has_times:
                cuts = _cuts(self._days_picked, days)
                parts = [(float(inside.mean()), self.joint(names)[inside]) for inside in cuts]
            self._natural[key] = natural_changes(whole, parts, 2 if days > 1 else 1)
        return self._natural[key]

    def _as_numpy(self, name: str, some: list[pa.Array[Any]]) -> NDArray[np.float64]:
        import pyarrow as pa

        if name not in self.numeric:
            return named(some)
        return to_numpy(pa.chunked_array(some, pa.float64()))

    @property
    def _has_times(self) -> bool:
        return self.time_column in self.table.column_names and self.table.num_rows > 0

    def _of(self, name: str, values: pa.ChunkedArray[Any]) -> Sample:
        return numbers(values.chunks) if name in self.numeric else categories(values.chunks)

    @cached_property
    def _days_picked(self) -> NDArray[np.int64]:
        """The day of each picked row."""
        import pyarrow as pa

        return days_of(pa.chunked_array(self.picked(self.time_column, as_it_is=True)))

    def _chunked(self, name: str) -> pa.ChunkedArray[Any]:
        import pyarrow as pa

        return pa.chunked_array(self.picked(name) or [nulls(0, name in self.numeric)])

    def _pieces(self, name: str) -> Iterator[pa.Array[Any]]:
        """Yield one column piece by piece, numbers as such."""
        if name not in self.table.column_names:
            self._notes[name] = "the column is missing"
            yield nulls(self.table.num_rows, name in self.numeric)
            return
        for piece in pieces(self.table, name):
            if name not in self.numeric:
                yield piece
                continue
            found, note = as_numbers(piece)
            if note:
                self._notes.setdefault(name, note)
            yield found

    def picked(self, name: str, *, as_it_is: bool = False) -> list[pa.Array[Any]]:
        """Return one column of the seeded sample of rows, numbers as such unless it is wanted as it is."""
        some: list[pa.Array[Any]] = []
        for _ in self._picking(pieces(self.table, name) if as_it_is else self._pieces(name), some):
            pass
        return some

    def _picking(self, whole: Iterator[pa.Array[Any]], some: list[pa.Array[Any]]) -> Iterator[pa.Array[Any]]:
        """Give the pieces of a column on, and keep the picked rows of each."""
        start = 0
        for piece in whole:
            stop = start + len(piece)
            if self.places is None:
                some.append(piece)
            else:
                first, last = np.searchsorted(self.places, [start, stop])
                some.append(taken(piece, self.places[first:last] - start))
            start = stop
            yield piece

    @cached_property
    def places(self) -> NDArray[np.intp] | None:
        """The places of the seeded sample, ascending; None if it is all rows."""
        rows = self.table.num_rows
        if rows <= self.joint_rows:
            return None
        drawn = np.random.default_rng(self.seed).choice(rows, self.joint_rows, replace=False)
        return np.sort(drawn).astype(np.intp)


def pieces(rows: ColumnarRows, name: str) -> Iterator[pa.Array[Any]]:
    """Yield one column piece by piece; rows that are read from files are in memory no longer than their piece."""
    read = getattr(rows, "pieces", None)
    yield from rows[name].chunks if read is None else read(name)


def _cuts(when: NDArray[np.int64], days: int, step: int = 0) -> list[NDArray[np.bool_]]:
    """Mark the rows of each stretch, which overlap by half unless a step is given; fewer than three stretches of the length tell nothing."""
    first, last = int(when.min()), int(when.max())
    if last - first + 1 < 3 * days:
        return []
    starts = range(first, last - days + 2, step or max(1, days // 2))
    marks = [(when >= start) & (when < start + days) for start in starts]
    return [mark for mark in marks if mark.any() and not mark.all()]
