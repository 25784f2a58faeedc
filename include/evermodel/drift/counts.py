"""Columns as counts: bins fixed by the reference, and rows counted by day."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Counts = NDArray[np.float64]
QUANTILE_BINS = 10
MOST_CATEGORIES = 50


@dataclass(frozen=True)
class Binning:
    """How the values of one column fall into bins; the last bin takes missing values.

    Parameters
    ----------
    kind
        ``numeric``: bins between the reference's deciles. ``categorical``: the reference's commonest categories, then
        one bin for its other ones, one for those it never saw.
    edges
        Inner edges of the numeric bins.
    categories
        Categories with a bin of their own.
    rare
        The reference's other categories.
    """

    column: str
    kind: Literal["numeric", "categorical"]
    labels: tuple[str, ...]
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    rare: frozenset[str] = frozenset()

    def codes(self, values: pa.ChunkedArray) -> NDArray[np.intp]:
        """Return the bin of each value."""
        missing = len(self.labels) - 1
        if self.kind == "numeric":
            numbers = _floats(values)
            found = np.searchsorted(self.edges, numbers, side="right")
            return np.where(np.isnan(numbers), missing, found).astype(np.intp)
        return self._category_codes(values, missing)

    def _category_codes(self, values: pa.ChunkedArray, missing: int) -> NDArray[np.intp]:
        import pyarrow as pa

        encoded = values.cast(pa.string()).combine_chunks().dictionary_encode()
        bins = {name: position for position, name in enumerate(self.categories)}
        other = len(self.categories)
        lookup = [bins.get(n, other if n in self.rare else other + 1) for n in encoded.dictionary.to_pylist()]
        table = np.array([*lookup, missing], dtype=np.intp)
        codes: NDArray[np.intp] = table[encoded.indices.fill_null(len(lookup)).to_numpy(zero_copy_only=False)]
        return codes


def fit_binning(column: str, kind: Literal["numeric", "categorical"], values: pa.ChunkedArray) -> Binning:
    """Choose the bins of a column from the reference."""
    return _numeric(column, values) if kind == "numeric" else _categorical(column, values)


def count_by_day(binning: Binning, values: pa.ChunkedArray, days: NDArray[np.intp]) -> Counts:
    """Count the rows of each day in each bin.

    Parameters
    ----------
    days
        Day of each row, counted from 0.

    Returns
    -------
    Array of days x bins.
    """
    width = len(binning.labels)
    height = int(days.max()) + 1 if len(days) else 0
    flat = np.bincount(days * width + binning.codes(values), minlength=height * width)
    return flat.reshape(height, width).astype(np.float64)


def count(binning: Binning, values: pa.ChunkedArray) -> Counts:
    """Count the rows in each bin."""
    return np.bincount(binning.codes(values), minlength=len(binning.labels)).astype(np.float64)


def _numeric(column: str, values: pa.ChunkedArray) -> Binning:
    numbers = _floats(values)
    known = np.clip(numbers[~np.isnan(numbers)], -1e300, 1e300)  # between two infinities there is no quantile
    shares = np.arange(1, QUANTILE_BINS) / QUANTILE_BINS
    edges = tuple(float(e) for e in np.unique(np.quantile(known, shares))) if len(known) else ()
    bounds = [f"{edge:.4g}" for edge in edges]
    if bounds:
        inner = [f"{low} to {high}" for low, high in pairwise(bounds)]
        labels = (f"< {bounds[0]}", *inner, f"≥ {bounds[-1]}", "missing")
    else:
        labels = ("any", "missing")
    return Binning(column, "numeric", labels, edges=edges)


def _categorical(column: str, values: pa.ChunkedArray) -> Binning:
    import pyarrow as pa
    import pyarrow.compute as pc

    tally = pc.value_counts(values.cast(pa.string()).drop_null())
    pairs = sorted((-row["counts"], row["values"]) for row in tally.to_pylist())
    names = [name for _, name in pairs]
    kept = tuple(names[:MOST_CATEGORIES])
    return Binning(
        column,
        "categorical",
        (*kept, "other", "never seen", "missing"),
        categories=kept,
        rare=frozenset(names[MOST_CATEGORIES:]),
    )


def _floats(values: pa.ChunkedArray) -> Any:
    import pyarrow as pa

    return values.cast(pa.float64()).to_numpy()
