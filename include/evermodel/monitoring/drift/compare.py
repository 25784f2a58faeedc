"""Comparison of a window's column with the reference's: significance, index, and change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evermodel.core.errors import PermanentError
from evermodel.monitoring.drift.bins import CategoryBins, Counts, NumberBins, quantiles
from evermodel.monitoring.drift.two_sample import categorical_p_value, numeric_p_value
from evermodel.monitoring.drift.verdict import Bin
from evermodel.stats.sample import CategoricalSample, NumericSample, Sample
from evermodel.stats.stability import Stability, stability


@dataclass(frozen=True)
class ColumnComparison:
    """A window's column compared with the reference's.

    Parameters
    ----------
    p_value
        Of the two-sample test that both sides come from one distribution, both being samples.
    psi, low, high
        Population stability index with a 95 % interval.
    """

    p_value: float
    psi: float
    low: float
    high: float
    summary: str
    bins: tuple[Bin, ...]


_MOST_BINS = 12
_MUCH_MISSING = 0.05


def compare(reference: Sample, window: Sample) -> ColumnComparison:
    """Compare two samples of one column.

    Both are samples: the reference is not taken as exact. The result is deterministic and defined for any input: where
    nothing can be computed the p-value is 1 and the index 0.

    Parameters
    ----------
    reference, window
        Both numbers or both categories.

    Raises
    ------
    PermanentError
        One is numbers, the other categories.
    """
    if isinstance(reference, NumericSample) and isinstance(window, NumericSample):
        return _compare_numbers(reference, window)
    if isinstance(reference, CategoricalSample) and isinstance(window, CategoricalSample):
        return _compare_categories(reference, window)
    raise PermanentError(
        f"A column of {_kind(reference)} cannot be compared with one of "
        f"{_kind(window)}; read both sides as the same kind."
    )


def _compare_numbers(reference: NumericSample, window: NumericSample) -> ColumnComparison:
    bins = NumberBins.of(reference)
    before, now = bins.count(reference), bins.count(window)
    medians = tuple(_median(side) for side in (reference, window))
    changed = f"median {medians[0]} → {medians[1]}" if medians[0] != medians[1] else None
    return _comparison(
        numeric_p_value(reference, window),
        stability(before, now),
        bins.labels,
        before,
        now,
        changed,
    )


def _compare_categories(reference: CategoricalSample, window: CategoricalSample) -> ColumnComparison:
    bins = CategoryBins.of(reference)
    before, now = bins.count(reference), bins.count(window)
    new = bins.never_seen(window)
    changed = None
    if new and reference.rows > 0 and _moved(before, now) == len(before) - 2:
        name = min(new, key=lambda one: (-new[one], one))
        others = f" and {len(new) - 1} more" if len(new) > 1 else ""
        changed = f"never seen: {name}{others}, {now[-2] / now.sum():.1%}"
    return _comparison(
        categorical_p_value(reference, window),
        stability(bins.for_index(before), bins.for_index(now)),
        bins.labels,
        before,
        now,
        changed,
    )


def _comparison(
    p_value: float,
    index: Stability,
    labels: tuple[str, ...],
    before: Counts,
    now: Counts,
    changed: str | None,
) -> ColumnComparison:
    return ColumnComparison(
        p_value=p_value,
        psi=index.psi,
        low=index.low,
        high=index.high,
        summary=_summary(labels, before, now, changed),
        bins=_bins(labels, before, now),
    )


def _summary(labels: tuple[str, ...], before: Counts, now: Counts, changed: str | None) -> str:
    """Describe the change: new nulls first, then the column's own description, then the bin that changed most."""
    if before.sum() == 0 or now.sum() == 0:
        return "no rows in the reference" if before.sum() == 0 else "no rows in the window"
    old, new = before / before.sum(), now / now.sum()
    if abs(new[-1] - old[-1]) > _MUCH_MISSING:
        return f"missing {old[-1]:.0%} → {new[-1]:.0%}"
    moved = _moved(before, now)
    return changed or f"{labels[moved]} {old[moved]:.1%} → {new[moved]:.1%}"


def _moved(before: Counts, now: Counts) -> int:
    old, new = before / max(before.sum(), 1), now / max(now.sum(), 1)
    return int(np.argmax(np.abs(new - old)))


def _bins(labels: tuple[str, ...], before: Counts, now: Counts) -> tuple[Bin, ...]:
    """Return shares by bin for plots; of many categories those with the largest shares."""
    old, new = before / max(before.sum(), 1), now / max(now.sum(), 1)
    shown = [i for i in range(len(before)) if before[i] + now[i] > 0]
    if len(shown) > _MOST_BINS:
        shown = sorted(sorted(shown, key=lambda i: -max(old[i], new[i]))[:_MOST_BINS])
    return tuple(Bin(labels[i], round(float(old[i]), 6), round(float(new[i]), 6)) for i in shown)


def _median(side: NumericSample) -> str:
    if side.known == 0:
        return "none"
    return f"{quantiles(side, np.array([0.5]))[0]:.4g}"


def _kind(sample: Sample) -> str:
    return "numbers" if isinstance(sample, NumericSample) else "categories"
