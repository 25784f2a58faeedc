"""Evidently's own methods for columns whose spec sets one: its statistic, its threshold, its verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from evermodel.monitoring.drift.family import DriftTest, refused
from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.spec.drift import ColumnWatch
from evermodel.stats.sample import NumericSample, Sample

if TYPE_CHECKING:
    import pandas as pd

# Those whose score is a p-value: drift is *below* the threshold.
_P_VALUES = frozenset(
    ["anderson", "chisquare", "cramer_von_mises", "es", "ks", "kuiper_test", "mannw", "t_test", "z"]
)


def by_evidently(watch: ColumnWatch, name: str, old: Sample, new: Sample, words: str) -> DriftTest:
    """Evaluate a column by one of Evidently's methods, on all rows; drift is critical, as Evidently has one degree.

    Rows without a value, and infinite ones, are left out as in Evidently's reports.
    """
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    side_kind: Literal["numeric", "categorical"] = (
        "numeric" if isinstance(new, NumericSample) else "categorical"
    )
    kind = ColumnType.Numerical if side_kind == "numeric" else ColumnType.Categorical
    before, now = _series(old, name), _series(new, name)
    if before.empty or now.empty:
        return refused(name, side_kind, "feature", words, "no known value")
    test = get_stattest(before, now, kind, watch.method)
    found = test(before, now, kind, watch.threshold)
    score = float(found.drift_score)
    is_p_value = watch.method in _P_VALUES
    sure = math.isfinite(score)
    drift = ColumnDrift(
        column=name,
        kind=side_kind,
        what="feature",
        method=watch.method,
        measure=test.display_name,
        effect=score if sure else 0.0,
        low=score if sure else 0.0,
        high=score if sure else 0.0,
        calm=0.0,
        threshold=float(found.actual_threshold),
        p_value=score if is_p_value and sure else 1.0,
        reference=words,
        severity="none",
        summary=f"{test.display_name} {score:.4g}, threshold {found.actual_threshold:g}",
    )
    return DriftTest(drift, drift.threshold, decided="critical" if found.drifted else "none")


def _series(sample: Sample, name: str) -> pd.Series:
    import pandas as pd

    if isinstance(sample, NumericSample):
        finite = np.isfinite(sample.values)
        values = sample.values[finite]
        if sample.weights is not None:
            values = np.repeat(values, np.maximum(np.round(sample.weights[finite]), 1).astype(np.intp))
        return pd.Series(values, name=name)
    names, counts = list(sample.counts), [round(count) for count in sample.counts.values()]
    return pd.Series(np.repeat(np.array(names, dtype=object), counts), name=name, dtype=object)
