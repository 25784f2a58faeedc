"""The two-sample test of a numeric column: several rank tests, each good at something else, made into one p-value."""

from __future__ import annotations

import numpy as np

from evermodel.drift.contingency import Contingency
from evermodel.drift.evidence import combine
from evermodel.drift.quadratic import quadratic_tail
from evermodel.drift.ranks import Pooled
from evermodel.drift.sample import Numbers

# How much of the false-alarm rate each part may use, chosen by simulation; those of absent parts go to the others.
PLACE, SCALE, SHAPE, TAILS, ATOM, MISSING = 0.45, 0.2, 0.15, 0.2, 0.2, 0.2


def numeric_p_value(reference: Numbers, window: Numbers, pooled: Pooled) -> float:
    """Return the p-value that both columns come from one distribution.

    Only ranks and the numbers of missing rows count, all given the pooled sample, so that the answer is the same after
    any increasing change of units and heavy tails do no harm.

    Parameters
    ----------
    pooled
        Both sides merged.
    """
    missing = two_by_two(reference.rows, window.rows, reference.missing, window.missing)
    parts = [(MISSING, missing)] if reference.missing + window.missing > 0 else []
    return combine([*parts, *_known(pooled)])


def _known(pooled: Pooled) -> list[tuple[float, float]]:
    if not pooled.testable:
        return []
    fine, coarse = pooled.fine(), pooled.coarse()
    if not fine.testable:
        return []
    if len(fine.totals) == 2:
        return [(1.0, fine.one_cell())]
    middle = (np.cumsum(fine.totals) - fine.totals / 2) / fine.rows
    parts = [
        (PLACE, anderson_darling(fine)),
        (SCALE, fine.trend((middle - 0.5) ** 2)),
        (SHAPE, coarse.omnibus()),
    ]
    now = float(pooled.window[-1])
    before = float(pooled.rows[-1]) - now
    tails = [two_by_two(before, now, rows - mine, mine) for rows, mine, _ in pooled.tails()]
    parts += [(TAILS / len(tails), p) for p in tails]
    atom = pooled.atom()
    if atom:
        parts.append((ATOM, two_by_two(before, now, atom[0] - atom[1], atom[1])))
    return parts


def anderson_darling(table: Contingency) -> float:
    """Return the p-value of the two-sample Anderson-Darling statistic on ordered bins.

    The weighted sum of squared differences of both distribution functions at the bins' edges (Scholz and Stephens:
    K-sample Anderson-Darling tests, JASA 82, 1987). Under the null hypothesis it is a quadratic form whose covariance,
    ties included, is known.
    """
    share = np.cumsum(table.totals)[:-1] / table.rows
    found = np.cumsum(table.now - table.expected)[:-1]
    scale = table.window * (table.rows - table.window) / (table.rows - 1)
    halves = table.totals / table.rows / 2
    weights = halves[:-1] + halves[1:]
    spread = share * (1 - share)
    statistic = float(np.sum(weights * found**2 / (scale * spread)))
    root = np.sqrt(weights / spread)
    form = np.minimum.outer(share, share) - np.outer(share, share)
    return quadratic_tail(statistic, np.linalg.eigvalsh(root[:, None] * form * root[None, :]))


def two_by_two(before: float, now: float, before_of: float, now_of: float) -> float:
    """Return the p-value that a part of the rows is as large on both sides."""
    table = Contingency.of(np.array([before_of, before - before_of]), np.array([now_of, now - now_of]))
    return table.one_cell()
