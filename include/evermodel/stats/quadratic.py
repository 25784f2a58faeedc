"""Tail of a weighted sum of squared standard normal variables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

_STEPS = 100


def quadratic_tail(observed: float, weights: NDArray[np.floating[Any]]) -> float:
    """Return the probability that the sum exceeds the observed value.

    Lugannani and Rice's saddlepoint formula, whose relative error stays small far into the tail (Kuonen: Saddlepoint
    approximations for distributions of quadratic forms in normal variables, Biometrika 86, 1999).

    Parameters
    ----------
    weights
        Weights of the squares, at least one of them positive; negative ones, which are rounding errors, count as 0.

    >>> round(quadratic_tail(11.0705, np.ones(5)), 3)
    0.05
    """
    used = weights[weights > 1e-10 * weights.max()]
    scaled, x = used / used.max(), observed / used.max()
    mean = float(scaled.sum())
    if x <= 0:
        return 1.0
    if abs(x - mean) < 1e-3 * mean:
        x = mean * (1 + 1e-3)  # the formula has a removable gap at the mean
    point = _saddlepoint(x, scaled)
    logs = float(np.log1p(-2 * point * scaled).sum())
    w = math.copysign(math.sqrt(max(2 * point * x + logs, 0)), point)
    v = point * math.sqrt(float(np.sum(2 * (scaled / (1 - 2 * point * scaled)) ** 2)))
    if w == 0 or v == 0:
        return 0.5
    z = w + math.log(v / w) / w
    return min(1.0, max(0.0, float(erfc(z / math.sqrt(2))) / 2))


def _saddlepoint(x: float, weights: NDArray[np.floating[Any]]) -> float:
    """Find the point where the derivative of the cumulant function is ``x``; it rises without bound up to 1/2."""
    low, high = -len(weights) / (2 * x), 0.5
    point = 0.0
    for _ in range(_STEPS):
        terms = weights / (1 - 2 * point * weights)
        away = float(terms.sum()) - x
        if abs(away) < 1e-10 * x:
            break
        low, high = (point, high) if away < 0 else (low, point)
        point -= away / (2 * float(terms @ terms))  # Newton's step, halving when it leaves the bracket
        if not low < point < high:
            point = (low + high) / 2
    return point
