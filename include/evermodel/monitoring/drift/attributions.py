"""Drift of attributions: the answers rest on other features than at the promotion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evermodel.data.dtypes import feature_frame
from evermodel.modeling.scoring.answer_details import shapley_values
from evermodel.monitoring.drift.by_day import by_cluster, by_day
from evermodel.monitoring.drift.columns import days_of
from evermodel.monitoring.drift.family import DriftTest, refused
from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.spec import ModelSpec
from evermodel.spec.drift import ColumnKind
from evermodel.spec.parts import BY_DAY, BY_ROW

if TYPE_CHECKING:
    import pyarrow as pa

    from evermodel.modeling.scoring.loaded_version import ServedModel
    from evermodel.monitoring.drift.reference_and_current import ColumnarRows

Floats = NDArray[np.float64]
WARNING, CRITICAL = 0.1, 0.2  # change of a feature's mean share in the attributions
_ROWS, _CALLS = 300, 1_000  # rows of each side, and answers of the model for each of them
_LEAST_ROWS = 50


def attribution_findings(
    spec: ModelSpec, served: ServedModel, reference: pa.Table | None, rows: ColumnarRows, words: str
) -> list[DriftTest]:
    """Compare how large a share each feature has in the Shapley values of the answers.

    A row's shares are its absolute values divided by their sum. Their means are compared by day, and by the spec's cluster, as
    those of columns are (`evermodel.monitoring.drift.by_day`); with ``cluster: row`` each row counts alone.

    Parameters
    ----------
    served
        The version that answered; without rows to compare with (`serving.explain`) there is nothing to find.
    reference
        The version's test rows; None if they cannot be read.

    Returns
    -------
    One finding for each feature. They join the family of the day's tests, with a weight of one altogether.
    """
    if served.reference is None or not served.reference.background:
        return []
    counts = (0 if reference is None else reference.num_rows, rows.num_rows)
    if reference is None or min(counts) < _LEAST_ROWS:
        why = f"{counts[1]} rows against {counts[0]}, at least {_LEAST_ROWS} are needed"
        return [refused(served.inputs.names[0], "numeric", "attribution", words, why)]
    old, before = _shares(spec, served, reference, spec.time_column)
    new, now = _shares(spec, served, rows, "event_time")
    numeric, count = frozenset(spec.features.numeric), len(served.inputs.names)
    findings = []
    for place, name in enumerate(served.inputs.names):
        p_value = _p_value(np.append(old[:, place], new[:, place]), before, now)
        kind: ColumnKind = "numeric" if name in numeric else "categorical"
        if p_value is None:
            findings.append(
                refused(name, kind, "attribution", words, "too few days to tell how much days differ")
            )
            continue
        drift = _drift(float(old[:, place].mean()), float(new[:, place].mean()), p_value, name, kind, words)
        findings.append(DriftTest(drift, CRITICAL, 1 / count))
    return findings


def _shares(
    spec: ModelSpec, served: ServedModel, rows: ColumnarRows, time: str
) -> tuple[Floats, list[NDArray[Any]]]:
    """Return the shares of a seeded sample of rows (rows x features), and its groups: of days, and of clusters."""
    import pyarrow as pa

    assert served.reference is not None
    chosen = np.random.default_rng(spec.seed).permutation(rows.num_rows)[:_ROWS]
    chosen.sort()
    grouping = [] if spec.cluster in (BY_DAY, BY_ROW) else [spec.cluster]
    wanted = dict.fromkeys([*served.inputs.names, time, *grouping])
    table = pa.table({name: rows[name].take(pa.array(chosen)) for name in wanted})
    frame = feature_frame(served.spec, table)[list(served.inputs.names)]
    values = np.abs(
        [
            shapley_values(served, row, served.reference, _CALLS).values
            for row in frame.itertuples(index=False, name=None)
        ]
    )
    total = values.sum(axis=1, keepdims=True)
    shares = np.divide(values, total, out=np.full_like(values, 1 / values.shape[1]), where=total > 0)
    if spec.cluster == BY_ROW:
        return shares, [np.arange(len(shares))]
    groups = [
        np.asarray(table[name].cast(pa.string()).to_numpy(zero_copy_only=False), dtype=str)
        for name in grouping
    ]
    return shares, [days_of(table[time]), *groups]


def _p_value(scores: Floats, before: list[NDArray[Any]], now: list[NDArray[Any]]) -> float | None:
    """Return the larger of the p-values by day and by cluster; None where a side knows too few of them."""
    by_row = len(before[0]) == len(np.unique(before[0]))
    tests = [by_cluster if by_row else by_day, *[by_cluster] * (len(before) - 1)]
    found = [test(scores, old, new) for test, old, new in zip(tests, before, now, strict=True)]
    known = [p for p in found if p is not None]
    return max(known) if len(known) == len(found) else None


def _drift(old: float, new: float, p_value: float, name: str, kind: ColumnKind, words: str) -> ColumnDrift:
    """Return the finding, with the interval that belongs to the p-value."""
    from scipy.stats import norm

    effect = abs(new - old)
    sure = float(norm.isf(max(p_value, 1e-300) / 2))
    half = 1.96 * effect / sure if sure > 0 else 1.0
    return ColumnDrift(
        column=name,
        kind=kind,
        what="attribution",
        measure="change of share",
        effect=effect,
        low=max(0.0, effect - half),
        high=min(1.0, effect + half),
        threshold=WARNING,
        p_value=p_value,
        reference=words,
        summary=f"share in the attributions {old:.0%} → {new:.0%}",
    )
