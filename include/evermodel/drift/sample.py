"""One column of one side of a comparison, as much of it as the statistics need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Numbers:
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

    values: NDArray[np.float64]
    weights: NDArray[np.float64] | None = None
    missing: float = 0.0

    @property
    def rows(self) -> float:
        """Rows in all, with and without a value."""
        known = len(self.values) if self.weights is None else float(self.weights.sum())
        return known + self.missing


@dataclass(frozen=True)
class Categories:
    """The values of a categorical column: rows by name.

    Parameters
    ----------
    counts
        Rows of each category.
    missing
        Rows without a value.
    """

    counts: Mapping[str, float]
    missing: float = 0.0

    @property
    def rows(self) -> float:
        """Rows in all, with and without a value."""
        return float(sum(self.counts.values())) + self.missing


Sample = Numbers | Categories


def numbers(values: pa.ChunkedArray) -> Numbers:
    """Take a numeric column (booleans and dates count as numbers) from Arrow."""
    import pyarrow as pa

    found = values.cast(pa.float64()).to_numpy()
    known = np.sort(found[~np.isnan(found)])
    return Numbers(known, missing=float(len(found) - len(known)))


def categories(values: pa.ChunkedArray) -> Categories:
    """Take a categorical column from Arrow."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = values.cast(pa.string())
    tally = pc.value_counts(texts.drop_null())
    names, counts = tally.field("values").to_pylist(), tally.field("counts").to_pylist()
    return Categories(dict(zip(names, counts, strict=True)), missing=float(texts.null_count))
