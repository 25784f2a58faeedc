"""Several p-values of one comparison made into one, whatever their dependence."""

from __future__ import annotations

import math
from collections.abc import Iterable

_MOST = 0.99  # a p-value of 1, common with few rows, would silence every other part


def combine(parts: Iterable[tuple[float, float]]) -> float:
    """Return the Cauchy combination of p-values.

    The weighted mean of ``tan(pi (1/2 - p))`` has a Cauchy tail under the null hypothesis however the p-values depend
    on each other, the more exactly the smaller the level (Liu and Xie: Cauchy combination test, JASA 115, 2020).

    Parameters
    ----------
    parts
        Pairs of weight and p-value; the weights need not add up to 1.

    Returns
    -------
    1.0 when there are no parts.

    >>> round(combine([(1, 0.01), (1, 0.01)]), 6)
    0.01
    """
    known = [(weight, min(max(p, 1e-300), _MOST)) for weight, p in parts if weight > 0]
    if not known:
        return 1.0
    total = math.fsum(weight for weight, _ in known)
    mean = math.fsum(weight * _cotangent(p) for weight, p in known) / total
    return min(1.0, max(0.0, math.atan2(1.0, mean) / math.pi))


def _cotangent(p: float) -> float:
    return 1 / math.tan(math.pi * p) if p > 1e-12 else 1 / (math.pi * p)
