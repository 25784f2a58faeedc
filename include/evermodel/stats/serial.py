"""Comparison of the means of two series, such as days, whose values depend on those before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_STRONGEST = 0.95
_DOUBT = 1.0  # standard errors by which the correlation is taken larger than it looks


@dataclass(frozen=True)
class SerialEffect:
    """What the dependence of successive values costs.

    Parameters
    ----------
    inflation
        By how much the variance of the difference of the means exceeds that of independent values.
    freedom
        Degrees of freedom: the independent values that both series are worth, less two.
    """

    inflation: float
    freedom: float


def serial_effect(before: NDArray[np.float64], after: NDArray[np.float64]) -> SerialEffect:
    """Return what the dependence of successive values costs when the means of two series are compared.

    Both follow one autoregression of first order. Its correlation is that of successive values around the mean of their own
    side, corrected for the bias of short series (Marriott, Pope: Bias in the estimation of autocorrelations, Biometrika 41,
    1954) and one standard error more, because taking it too small costs more than too large. The variance of a mean and
    of the values around it follow from it (Zwiers, von Storch: Taking serial correlation into account in tests of the mean,
    Journal of Climate 8, 1995).

    Parameters
    ----------
    before, after
        In the order of time; one value at least.

    Examples
    --------
    >>> steps = np.random.default_rng(2).normal(size=60)
    >>> alone = serial_effect(steps[:40], steps[40:])
    >>> walk = serial_effect(steps.cumsum()[:40], steps.cumsum()[40:])
    >>> alone.inflation < 2 < 8 < walk.inflation, walk.freedom < 5 < alone.freedom
    (True, True)
    """
    sides = [side - side.mean() for side in (before, after)]
    count, squares = sum(map(len, sides)), float(sum((side**2).sum() for side in sides))
    if count <= 2 or squares <= 0:
        return SerialEffect(1.0, float(max(count - 2, 0)))
    found = float(sum((side[1:] * side[:-1]).sum() for side in sides)) / squares
    correlation = (found + 2 / count) / (1 - 6 / count) if count > 10 else found + 2 / count
    correlation += _DOUBT * np.sqrt(max(1 - min(abs(correlation), 1.0) ** 2, 0.0) / count)
    correlation = float(min(max(correlation, 0.0), _STRONGEST))
    factors = [_of_mean(correlation, len(side)) for side in sides]
    left = max(sum(len(side) - factor for side, factor in zip(sides, factors, strict=True)), 0.3)
    means = sum(factor / len(side) for side, factor in zip(sides, factors, strict=True))
    inflation = (count - 2) / left * means / sum(1 / len(side) for side in sides)
    freedom = count * (1 - correlation) / (1 + correlation) - 2
    return SerialEffect(float(inflation), float(max(freedom, 0.0)))


def _of_mean(correlation: float, count: int) -> float:
    """Return by how much the variance of a mean of successive values exceeds that of independent ones."""
    lags = np.arange(1, count)
    return float(1 + 2 * ((1 - lags / count) * correlation**lags).sum())
