"""The two-sample test of a column whose rows belong together: by day, and by the spec's cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import eval_legendre, stdtr

from evermodel.monitoring.drift.columns import to_numpy
from evermodel.monitoring.drift.reference_and_current import ComparedRows, GroupedValues
from evermodel.spec import ModelSpec
from evermodel.spec.parts import BY_DAY, BY_ROW
from evermodel.stats.serial import serial_effect

Floats = NDArray[np.float64]
_DEGREES = 4
_COMMON, _CATEGORIES = 0.05, 8
_LEAST_GROUPS = 4
_FAR = 2.0
_FEW = 0.1  # of the usual rows of a day; one with fewer is left out


def clustered(spec: ModelSpec, before: ComparedRows, now: ComparedRows, source: str) -> float | None:
    """Return the larger of a column's p-values by day and by the spec's cluster; None where rows are the draws."""
    if spec.cluster == BY_ROW:
        return None
    wanted = [""] if spec.cluster == BY_DAY else ["", spec.cluster]
    found = [clustered_p_value(before, now, source, cluster) for cluster in wanted]
    return max((p for p in found if p is not None), default=None)


def clustered_p_value(before: ComparedRows, now: ComparedRows, name: str, cluster: str = "") -> float | None:
    """Return the p-value that both sides of a column come from one distribution of days, or of clusters.

    The column is seen through a few scores of each row: of a number the first four orthogonal polynomials of its rank
    (place, spread, skewness, tails; Neyman: "Smooth" test for goodness of fit, Skandinavisk Aktuarietidskrift 20, 1937) and
    whether it is the most common value; of a category whether it is each of the most common ones; of both whether it
    is missing. Their means by day are compared as values that depend on the day before (`serial_effect`), their means by
    cluster with a variance by cluster (Liang, Zeger: Longitudinal data analysis using generalized linear models,
    Biometrika 73, 1986). The smallest p-value counts, times their number (Bonferroni). Ranks know no distance, so numbers
    whose median is more than twice as far out as that of any day of the reference are beyond a question of days: 0.

    Parameters
    ----------
    cluster
        A column whose equal values belong together; empty for the day.

    Returns
    -------
    None where a side does not know the day or the cluster of its rows, or knows fewer than four.
    """
    old, new = before.grouped(name, cluster), now.grouped(name, cluster)
    if old is None or new is None:
        return None
    if not cluster and _far_out(old, new):
        return 0.0
    compare = by_cluster if cluster else by_day
    found = [compare(scores, old.groups, new.groups) for scores in _scores(old, new)]
    known = [p for p in found if p is not None]
    return min(1.0, len(known) * min(known)) if known else None


def _far_out(old: GroupedValues, new: GroupedValues) -> bool:
    if not old.numeric or len(np.unique(old.groups)) < _LEAST_GROUPS:
        return False
    before, now = to_numpy(old.values), to_numpy(new.values)
    known = np.isfinite(before)
    days, codes = np.unique(old.groups[known], return_inverse=True)
    if len(days) < _LEAST_GROUPS or not np.isfinite(now).any():
        return False
    medians = np.array([np.median(before[known][codes == day]) for day in range(len(days))])
    middle = np.median(medians)
    return bool(abs(np.median(now[np.isfinite(now)]) - middle) > _FAR * np.abs(medians - middle).max())


def _scores(old: GroupedValues, new: GroupedValues) -> Iterator[Floats]:
    """Yield a score of each row, of both sides one after the other; not-a-number where a row has none."""
    if old.numeric:
        values = np.concatenate([to_numpy(old.values), to_numpy(new.values)])
        missing = np.isnan(values)
    else:
        names = np.array([*map(str, old.values.to_pylist()), *map(str, new.values.to_pylist())])
        missing = names == "None"
    if missing.any():
        yield missing.astype(np.float64)
    if (~missing).sum() == 0:
        return
    common, codes, counts = np.unique(
        values[~missing] if old.numeric else names[~missing], return_inverse=True, return_counts=True
    )
    if len(common) == 1:
        return
    kept = np.argsort(-counts, kind="stable")[: 1 if old.numeric else _CATEGORIES]
    for code in kept[: len(common) - 1]:
        if counts[code] >= _COMMON * len(codes) or not old.numeric:
            yield _spread((codes == code).astype(np.float64), missing)
    if old.numeric:
        middle = (np.cumsum(counts) - counts / 2) / len(codes)
        for degree in range(1, _DEGREES + 1):
            yield _spread(eval_legendre(degree, 2 * middle - 1)[codes], missing)


def _spread(scores: Floats, missing: NDArray[np.bool_]) -> Floats:
    found = np.full(len(missing), np.nan)
    found[~missing] = scores
    return found


def by_day(scores: Floats, old: NDArray[Any], new: NDArray[Any]) -> float | None:
    """Compare the means of days of both sides, whose scores stand one after the other; None if there are too few days."""
    before, now = _means(scores[: len(old)], old), _means(scores[len(old) :], new)
    count = len(before) + len(now)
    if len(now) == 0 or len(before) < _LEAST_GROUPS:
        return None
    squares = sum(float(((side - side.mean()) ** 2).sum()) for side in (before, now))
    serial = serial_effect(before, now)
    variance = squares / (count - 2) * (1 / len(before) + 1 / len(now)) * serial.inflation
    return _two_sided(now.mean() - before.mean(), variance, max(serial.freedom, 1.0))


def by_cluster(scores: Floats, old: NDArray[Any], new: NDArray[Any]) -> float | None:
    """Compare the means of rows, with a variance by cluster on each side."""
    variance, freedom, means = 0.0, 0.0, []
    for side, groups in ((scores[: len(old)], old), (scores[len(old) :], new)):
        known = ~np.isnan(side)
        _, codes = np.unique(groups[known], return_inverse=True)
        sizes = np.bincount(codes).astype(np.float64)
        if len(sizes) < _LEAST_GROUPS:
            return None
        means.append(float(side[known].mean()))
        sums = np.bincount(codes, weights=side[known] - means[-1])
        variance += float((sums**2).sum()) / sizes.sum() ** 2 * len(sizes) / (len(sizes) - 1)
        freedom += float(sizes.sum() ** 2 / (sizes**2).sum()) - 1
    return _two_sided(means[1] - means[0], variance, max(freedom, 1.0))


def _means(scores: Floats, groups: NDArray[Any]) -> Floats:
    """Return the mean score of each day, in the order of time; days with few rows are left out."""
    known = ~np.isnan(scores)
    if not known.any():
        return np.empty(0)
    _, codes = np.unique(groups[known], return_inverse=True)
    counts = np.bincount(codes)
    means = np.bincount(codes, weights=scores[known]) / counts
    found: Floats = means[counts >= _FEW * np.median(counts)]
    return found


def _two_sided(difference: float, variance: float, freedom: float) -> float:
    if variance <= 0:
        return 0.0 if difference else 1.0
    return float(2 * stdtr(freedom, -abs(difference) / np.sqrt(variance)))
