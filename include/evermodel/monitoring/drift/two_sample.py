"""The two-sample test of a column: several tests, each good at something else, made into one p-value."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from scipy.special import ndtri

from evermodel.stats.contingency import Contingency, parts_of_rows, quadratic_tail
from evermodel.stats.ranks import Pooled
from evermodel.stats.sample import CategoricalSample, NumericSample

_MOST = 0.99  # a p-value of 1, common with few rows, would silence every other part


def combine(parts: Iterable[tuple[float, float]]) -> float:
    """Return the Cauchy combination of p-values; 1.0 when there are none.

    The weighted mean of ``tan(pi (1/2 - p))`` has a Cauchy tail under the null hypothesis however the p-values depend
    on each other, the more exactly the smaller the level (Liu and Xie: Cauchy combination test, JASA 115, 2020).

    Parameters
    ----------
    parts
        Pairs of weight and p-value; the weights need not add up to 1.

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


# How much of the false-alarm rate each part may use, chosen by simulation; that of absent parts goes to the others.
PLACE, ORDER, SCALE, SHAPE, TAILS, ATOM, MISSING = 0.5, 0.2, 0.15, 0.1, 0.25, 0.6, 0.2


def numeric_p_value(reference: NumericSample, window: NumericSample) -> float:
    """Return the p-value that both columns come from one distribution.

    Only ranks and the numbers of missing rows count, all given the pooled sample, so that the answer is the same after
    any increasing change of units and heavy tails do no harm.
    """
    missing = two_by_two(reference.rows, window.rows, reference.missing, window.missing)
    parts = [(MISSING, missing)] if reference.missing + window.missing > 0 else []
    return combine([*parts, *_known(Pooled(reference, window))])


def _known(pooled: Pooled) -> list[tuple[float, float]]:
    if not pooled.testable:
        return []
    fine, coarse = pooled.fine(), pooled.coarse()
    if not fine.testable:
        return []
    if len(fine.totals) == 2:
        return [(1.0, fine.one_cell())]
    atom = pooled.atom()
    parts = np.array([*pooled.tails(), *([atom] if atom else [])]).reshape(-1, 2)
    alone = parts_of_rows(parts[:, 0], parts[:, 1], fine.window, fine.rows).tolist()
    if atom is None:
        return [
            (SHAPE, coarse.omnibus()),
            *_shared(TAILS, alone),
            (PLACE, place(fine)),
            (ORDER, anderson_darling(fine)),
            (SCALE, spread(fine)),
        ]
    rest = fine.without(int(np.argmax(fine.totals)))
    return [
        (SHAPE, coarse.omnibus()),
        *_shared(TAILS, alone[:-1]),
        (ATOM, alone[-1]),
        (PLACE, place(rest)),
        (ORDER, anderson_darling(fine)),
        (SCALE, spread(rest)),
    ]


def _shared(weight: float, p_values: list[float]) -> list[tuple[float, float]]:
    return [(weight / len(p_values), p) for p in p_values]


def place(table: Contingency) -> float:
    """Return the p-value of van der Waerden's test on ordered bins: are the window's values larger, or smaller?

    Normal scores lose nothing against the t-test where that is best (Chernoff and Savage: Asymptotic normality and
    efficiency of certain nonparametric test statistics, Annals of Mathematical Statistics 29, 1958).
    """
    middle = (np.cumsum(table.totals) - table.totals / 2) / table.rows
    return table.trend(ndtri(middle))


def spread(table: Contingency) -> float:
    """Return the p-value of Mood's test on ordered bins: are the window's ranks further from the middle, or nearer?

    Mood: On the asymptotic efficiency of certain nonparametric two-sample tests, Annals of Mathematical Statistics 25,
    1954.
    """
    middle = (np.cumsum(table.totals) - table.totals / 2) / table.rows
    return table.trend((middle - 0.5) ** 2)


def anderson_darling(table: Contingency) -> float:
    """Return the p-value of the two-sample Anderson-Darling statistic on ordered bins.

    The weighted sum of squared differences of both distribution functions at the bins' edges (Scholz and Stephens:
    K-sample Anderson-Darling tests, JASA 82, 1987). Under the null hypothesis it is a quadratic form whose covariance,
    ties included, is known.
    """
    if not table.testable:
        return 1.0
    share = np.cumsum(table.totals)[:-1] / table.rows
    found = np.cumsum(table.now - table.expected)[:-1]
    scale = table.window * (table.rows - table.window) / (table.rows - 1)
    halves = table.totals / table.rows / 2
    weights = halves[:-1] + halves[1:]
    variance = share * (1 - share)
    statistic = float(np.sum(weights * found**2 / (scale * variance)))
    root = np.sqrt(weights / variance)
    form = np.minimum.outer(share, share) - np.outer(share, share)
    return quadratic_tail(statistic, np.linalg.eigvalsh(root[:, None] * form * root[None, :]))


def two_by_two(before: float, now: float, before_of: float, now_of: float) -> float:
    """Return the p-value that a part of the rows is as large on both sides."""
    table = Contingency.of(np.array([before_of, before - before_of]), np.array([now_of, now - now_of]))
    return table.one_cell()


# How much of the false-alarm rate each part may use, chosen by simulation; those of absent parts go to the others.
TOGETHER, LARGEST, EVENNESS = 0.5, 0.25, 0.25
_SLACK = 1.15  # by how much their combination is too small at 1 %, by simulation


def categorical_p_value(reference: CategoricalSample, window: CategoricalSample) -> float:
    """Return the p-value that both columns come from one distribution; a missing value is one more category."""
    names = sorted(reference.counts.keys() | window.counts.keys())
    before = np.array([*(reference.counts.get(name, 0.0) for name in names), reference.missing])
    now = np.array([*(window.counts.get(name, 0.0) for name in names), window.missing])
    table = Contingency.of(before, now)
    if not table.testable:
        return 1.0
    if len(table.totals) == 2:
        return table.one_cell()
    parts = [
        (TOGETHER, table.omnibus()),
        (LARGEST, table.largest_cell()),
        (EVENNESS, table.trend(np.log(table.totals))),
    ]
    if before[-1] + now[-1] > 0:
        parts.append((MISSING, table.one_cell(len(table.totals) - 1)))
    return min(1.0, _SLACK * combine(parts))
