"""The variance of a series whose level moves slowly, from its successive differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SeriesVariance:
    """How much the values of a series vary around their slowly moving level.

    Parameters
    ----------
    freedom
        Degrees of freedom of the variance.
    values
        How many values it was taken from.
    """

    variance: float
    freedom: float
    values: int


def successive_variance(values: Iterable[float]) -> SeriesVariance | None:
    """Return half the mean squared difference of successive values; None for fewer than two.

    A level that moves once, as after a break, counts once, where the usual variance would count it in every value and hide
    the break. The degrees of freedom are those of the chi-squared distribution with the same variance (von Neumann, Kent,
    Bellinson, Hart: The mean square successive difference, Annals of Mathematical Statistics 12, 1941).

    Parameters
    ----------
    values
        In the order of time.

    Examples
    --------
    >>> found = successive_variance([0.70, 0.72, 0.70, 0.72, 0.70])
    >>> round(found.variance, 6), round(found.freedom, 2), found.values
    (0.0002, 2.91, 5)
    >>> successive_variance([0.7]) is None
    True
    """
    series = np.asarray(list(values), dtype=np.float64)
    count = len(series)
    if count < 2:
        return None
    freedom = 2 * (count - 1) ** 2 / (3 * count - 4)
    return SeriesVariance(float(np.mean(np.diff(series) ** 2) / 2), freedom, count)


def joint_freedom(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """Return the degrees of freedom of a sum of independent variances (Satterthwaite, Biometrics Bulletin 2, 1946).

    >>> joint_freedom([1.0, 1.0], [6.0, 6.0])
    12.0
    """
    total, parts = sum(variances), sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    return total**2 / parts if parts > 0 else float("inf")
