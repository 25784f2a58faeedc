"""One column of one side of a comparison, reduced to the statistics' input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


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

    values: NDArray[np.float64]
    weights: NDArray[np.float64] | None = None
    missing: float = 0.0

    @property
    def rows(self) -> float:
        """Rows in all, with and without a value."""
        known = len(self.values) if self.weights is None else float(self.weights.sum())
        return known + self.missing


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


def numbers(values: pa.ChunkedArray[Any]) -> NumericSample:
    """Take a numeric column (booleans and dates count as numbers) from Arrow."""
    import pyarrow as pa

    known = [chunk.drop_null() for chunk in values.cast(pa.float64()).chunks]
    # Not by Arrow's to_numpy, which would import pandas.
    found = np.concatenate([np.empty(0), *(np.from_dlpack(chunk) for chunk in known if len(chunk))])
    found.sort()
    found = found[: np.searchsorted(found, np.nan)]  # not-a-number comes last
    return NumericSample(found, missing=float(len(values) - len(found)))


def categories(values: pa.ChunkedArray[Any]) -> CategoricalSample:
    """Take a categorical column from Arrow."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(values.type):
        return _encoded(values)
    texts = values.cast(pa.string())
    tally = pc.value_counts(texts.drop_null())
    names, counts = tally.field("values").to_pylist(), tally.field("counts").to_pylist()
    return CategoricalSample(dict(zip(names, counts, strict=True)), missing=float(texts.null_count))


def _encoded(values: pa.ChunkedArray[Any]) -> CategoricalSample:
    """Count the codes of a column that is stored as codes, chunk by chunk: each has names of its own."""
    import pyarrow as pa

    counts: dict[str, float] = {}
    for chunk in values.chunks:
        assert isinstance(chunk, pa.DictionaryArray)
        codes = np.from_dlpack(chunk.indices.cast(pa.int64()).drop_null())
        rows = np.bincount(codes, minlength=len(chunk.dictionary)).tolist()
        for name, count in zip(chunk.dictionary.cast(pa.string()).to_pylist(), rows, strict=True):
            if name is not None and count:
                counts[name] = counts.get(name, 0) + count
    return CategoricalSample(counts, missing=float(len(values) - sum(counts.values())))
