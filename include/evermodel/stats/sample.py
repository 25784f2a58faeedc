"""One column of one side of a comparison, reduced to the statistics' input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[np.float64]
_MARKS = 4096


@dataclass(frozen=True)
class NumericSample:
    """The values of a numeric column.

    Parameters
    ----------
    values
        Known values in ascending order; infinities are values too.
    weights
        Rows behind each value, or None for one each.
    missing
        Rows without a value (null or not-a-number).
    """

    values: Array
    weights: Array | None = None
    missing: float = 0.0

    @property
    def runs(self) -> list[Array]:
        """The values, in parts that are sorted each."""
        return [self.values]

    @property
    def rows(self) -> float:
        """Rows in all, with and without a value."""
        return self.known + self.missing

    @property
    def known(self) -> float:
        """Rows with a value."""
        return float(len(self.values) if self._cumulated is None else self._cumulated[-1])

    def below(self, values: Array) -> Array:
        """Count the rows below each of some values."""
        return self._rows(np.searchsorted(self.values, values, side="left"))

    def up_to(self, values: Array) -> Array:
        """Count the rows up to and including each of some values."""
        return self._rows(np.searchsorted(self.values, values, side="right"))

    def at(self, places: NDArray[np.intp]) -> Array:
        """Return the values at some places of the ascending order, of a sample without weights."""
        return self.values[places]

    def distinct(self, most: int) -> tuple[Array, Array] | None:
        """Return the distinct values and their rows, of a sample without weights; None if there are more than so many."""
        return distinct(self.values, most)

    @cached_property
    def marks(self) -> Array:
        """Some of the values, the smallest and the largest among them, that cut the rows into parts of a few each."""
        return marks(self.values, _MARKS)

    def between(self, lows: Array, highs: Array) -> Array:
        """Return the values that are inside some intervals, both ends excluded."""
        return between(self.values, lows, highs)

    @cached_property
    def _cumulated(self) -> Array | None:
        return None if self.weights is None else np.concatenate([[0.0], np.cumsum(self.weights)])

    def _rows(self, places: NDArray[np.intp]) -> Array:
        return places.astype(np.float64) if self._cumulated is None else self._cumulated[places]


def distinct(values: Array, most: int) -> tuple[Array, Array] | None:
    """Return the distinct ones of sorted values and their number; None if there are more than so many."""
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if len(values) else np.empty(0, int)
    return None if len(last) > most else (values[last], np.diff(last, prepend=-1).astype(np.float64))


def marks(values: Array, most: int) -> Array:
    """Return evenly spaced ones of sorted values, and the last one."""
    return np.append(values[:: max(1, len(values) // most)], values[-1:])


def between(values: Array, lows: Array, highs: Array) -> Array:
    """Return those of sorted values that are inside some intervals, both ends excluded."""
    starts, stops = np.searchsorted(values, lows, side="right"), np.searchsorted(values, highs, side="left")
    return np.concatenate([values[:0], *(values[a:b] for a, b in zip(starts, stops, strict=True))])


def smallest(samples: Iterable[NumericSample], rows: Array) -> Array:
    """Return the smallest values up to which some samples together have at least so many rows.

    Counts are added, and whole numbers of rows add up without error: how the rows are cut into samples changes nothing.
    Of samples without a row there is no value.
    """
    sides = list(samples)
    known = np.unique(np.concatenate([side.marks for side in sides]))
    at = _first(sides, known, rows)
    inner = np.unique(at[at > 0])  # the first mark is the smallest value of all
    found = [side.between(known[inner - 1], known[inner]) for side in sides]
    values = np.unique(np.concatenate([known[np.unique(at)], *found]))
    return values[_first(sides, values, rows)]


def _first(sides: list[NumericSample], values: Array, rows: Array) -> NDArray[np.intp]:
    total = np.sum([side.up_to(values) for side in sides], axis=0)
    return np.searchsorted(total, rows, side="left").clip(0, len(values) - 1)


@dataclass(frozen=True)
class CategoricalSample:
    """The values of a categorical column: rows by name."""

    counts: Mapping[str, float]
    missing: float = 0.0

    @property
    def rows(self) -> float:
        """Rows in all, with and without a value."""
        return float(sum(self.counts.values())) + self.missing


Sample = NumericSample | CategoricalSample


def categories(pieces: Iterable[pa.Array[Any]]) -> CategoricalSample:
    """Take a categorical column from Arrow, piece by piece: each may have names, and codes for them, of its own."""
    counts: dict[str, float] = {}
    rows = 0
    for piece in pieces:
        rows += len(piece)
        for name, count in _counted(piece):
            if name is not None and count:
                counts[name] = counts.get(name, 0) + count
    return CategoricalSample(counts, missing=float(rows - sum(counts.values())))


def _counted(piece: pa.Array[Any]) -> Iterable[tuple[str | None, int]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(piece, pa.DictionaryArray):
        codes = np.from_dlpack(piece.indices.cast(pa.int64()).drop_null())
        rows = np.bincount(codes, minlength=len(piece.dictionary)).tolist()
        return zip(piece.dictionary.cast(pa.string()).to_pylist(), rows, strict=True)
    tally = pc.value_counts(piece.cast(pa.string()).drop_null())
    return zip(tally.field("values").to_pylist(), tally.field("counts").to_pylist(), strict=True)
