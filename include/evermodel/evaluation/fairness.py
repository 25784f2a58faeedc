"""Fairness: differences between groups, by fairlearn's metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from evermodel.evaluation.decision import Gate
from evermodel.spec import ModelSpec
from evermodel.spec.checks import FairnessCheck
from evermodel.stats.metrics import Floats

if TYPE_CHECKING:
    import pandas as pd

_MOST_NAMED = 8


def fairness_gates(
    spec: ModelSpec, features: pd.DataFrame, labels: NDArray[Any], scores: Floats
) -> Iterator[Gate]:
    """Compare the difference between groups with its limit, for each declared check.

    `demographic_parity_difference` is the largest minus the smallest share of yes among the groups;
    `equalized_odds_difference` is the larger one of these differences among the rows that truly are a yes, and among
    those that are not. Both are point values on the test window: small groups differ by chance, so groups below
    `min_rows` are left out and named. With fewer than two groups left the gate warns.
    """
    for check in spec.gate.fairness:
        yield _gate(check, features[check.column], np.asarray(labels).astype(int), scores)


def _gate(check: FairnessCheck, column: pd.Series[Any], labels: NDArray[Any], scores: Floats) -> Gate:
    from fairlearn import metrics

    name = f"fairness {check.column}, {check.measure.replace('_', ' ')}"
    threshold = f"≤ {check.max}"
    groups = np.asarray(column.map(str).where(column.notna(), "missing"), dtype=object)
    kept, left_out = _groups(check, groups, labels)
    note = f"; left out: {_few(left_out)}" if left_out else ""
    if len(kept) < 2:
        return Gate(
            name, "warn", None, threshold, f"not evaluated: fewer than two groups can be compared{note}"
        )
    rows = np.isin(groups, kept)
    yes = (scores >= check.threshold).astype(int)
    measure = getattr(metrics, check.measure)
    shares = {group: float(yes[groups == group].mean()) for group in kept}
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    told = _few([f"{group} {share:.3f}" for group, share in ordered])
    value = float(measure(labels[rows], yes[rows], sensitive_features=groups[rows]))
    verdict: Literal["pass", "fail"] = "pass" if value <= check.max else "fail"
    return Gate(name, verdict, value, threshold, f"share of positives: {told}{note}")


def _groups(check: FairnessCheck, groups: NDArray[Any], labels: NDArray[Any]) -> tuple[list[str], list[str]]:
    """Return the groups that can be compared, and why each of the others cannot."""
    kept, left_out = [], []
    for name in sorted(set(groups)):
        truth = labels[groups == name]
        if len(truth) < check.min_rows:
            left_out.append(f"{name} ({len(truth)} rows)")
        elif check.measure == "equalized_odds_difference" and len(np.unique(truth)) < 2:
            left_out.append(f"{name} (one class only)")
        else:
            kept.append(name)
    return kept, left_out


def _few(texts: list[str]) -> str:
    """List texts, the middle ones left out when there are many."""
    if len(texts) <= _MOST_NAMED:
        return ", ".join(texts)
    half = _MOST_NAMED // 2
    return ", ".join([*texts[:half], f"… {len(texts) - 2 * half} more …", *texts[-half:]])
