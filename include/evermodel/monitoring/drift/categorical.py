"""The two-sample test of a categorical column: all categories together, the one that moved most, and their evenness."""

from __future__ import annotations

import numpy as np

from evermodel.monitoring.drift.evidence import combine
from evermodel.stats.contingency import Contingency
from evermodel.stats.sample import CategoricalSample

# How much of the false-alarm rate each part may use, chosen by simulation; those of absent parts go to the others.
TOGETHER, LARGEST, EVENNESS, MISSING = 0.5, 0.25, 0.25, 0.2
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
