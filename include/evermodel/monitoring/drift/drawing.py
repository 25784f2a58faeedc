"""The data of Evidently's report: the sources of each test, and a seeded sample of a column for its plots."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeIs

from evermodel.monitoring.drift.columns import as_numbers, to_numpy
from evermodel.monitoring.drift.profile import of_version
from evermodel.monitoring.drift.profiles import answers
from evermodel.monitoring.drift.reference_and_current import ColumnarRows, ComparedRows, ExactRows
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.rows import LogRows
from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.stats.sample import CategoricalSample, Sample

if TYPE_CHECKING:
    import pyarrow as pa

Source = ColumnarRows | ComparedRows
# Finds one side of a test: where its rows are, and its column's name there.
Chosen = Callable[[ColumnDrift], tuple[Source, str] | None]
_NORMAL = 1.959964


def rows_needed(error: float) -> int:
    """Return how many rows it takes for every share to be within an error, at 95 %.

    A share's standard error is largest at one half: ``1.96 * sqrt(0.25 / n)``.

    >>> rows_needed(0.02)
    2401
    """
    return ceil((_NORMAL * 0.5 / error) ** 2)


def draw(source: Source, name: str, kind: str, most_rows: int, seed: int) -> NDArray[Any]:
    """Draw values of a column: all of them if there are few enough.

    Parameters
    ----------
    kind
        ``numeric`` or ``categorical``.

    Returns
    -------
    Float64 with not-a-number for missing values, or objects with None.

    Raises
    ------
    KeyError
        The source has no such column.
    """
    import pyarrow as pa

    generator = np.random.default_rng(seed)
    if isinstance(source, ExactRows) and name in source.table.column_names:
        return draw(source.table, name, kind, most_rows, seed)  # the whole column need not be sorted for this
    if not _are_rows(source):
        return _from_sample(source.sample(name), kind, most_rows, generator)
    if name not in source.column_names:
        raise KeyError(name)
    values: pa.ChunkedArray[Any] = source[name]
    if len(values) > most_rows:
        values = values.take(np.sort(generator.choice(len(values), most_rows, replace=False)))
    if kind == "numeric":
        return to_numpy(pa.chunked_array([as_numbers(piece)[0] for piece in values.chunks], pa.float64()))
    return _texts(values)


def _are_rows(source: Source) -> TypeIs[ColumnarRows]:
    return hasattr(source, "num_rows")


def _from_sample(sample: Sample, kind: str, most_rows: int, generator: np.random.Generator) -> NDArray[Any]:
    """Draw from values with weights; what is missing is drawn by its share too."""
    known: NDArray[Any]
    if isinstance(sample, CategoricalSample):
        known = np.array([*sample.counts, None], dtype=object)
        weights = np.array([*sample.counts.values(), sample.missing], dtype=np.float64)
    else:
        known = np.append(sample.values, np.nan)
        counted = np.ones(len(sample.values)) if sample.weights is None else sample.weights
        weights = np.append(counted, sample.missing)
    if kind == "numeric" and isinstance(
        sample, CategoricalSample
    ):  # a column that was not kept has only missing values
        known = np.full(len(weights), np.nan)
    if weights.sum() == 0:
        return known[:0]
    rows = min(most_rows, round(float(weights.sum())))
    drawn: NDArray[Any] = generator.choice(known, rows, p=weights / weights.sum())
    return drawn


def _texts(values: pa.ChunkedArray[Any]) -> NDArray[Any]:
    import pyarrow as pa

    kind = values.type
    named = values.cast(kind.value_type) if pa.types.is_dictionary(kind) else values
    texts = named.cast(pa.string()).to_pylist()
    return np.array([*texts, None], dtype=object)[:-1]  # the None keeps numpy from choosing a text type


def sources_of(references: References, window: ColumnarRows) -> tuple[Chosen, Chosen]:
    """Return functions that find reference and window of a test.

    Predictions are those of the evaluated version on both sides.
    """
    log = LogRows(window, answers(references.spec))

    def name(drift: ColumnDrift) -> str:
        return of_version(drift.column, references.version) if drift.what == "prediction" else drift.column

    def before(drift: ColumnDrift) -> tuple[Source, str] | None:
        of = references.of_answers if drift.what == "prediction" else references.of
        side = of(drift.column).side
        return None if side is None else (side, name(drift))

    def now(drift: ColumnDrift) -> tuple[Source, str] | None:
        return log, name(drift)

    return before, now
