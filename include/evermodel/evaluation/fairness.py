"""Fairness: differences between groups, by fairlearn's metrics, with intervals by cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evermodel.evaluation.decision import Gate, against_limit
from evermodel.spec import ModelSpec
from evermodel.spec.checks import FairnessCheck
from evermodel.stats.clusters import Clusters
from evermodel.stats.metrics import Floats

if TYPE_CHECKING:
    import pandas as pd

_MOST_NAMED = 8


def fairness_gates(
    spec: ModelSpec,
    features: pd.DataFrame,
    labels: NDArray[Any],
    scores: Floats,
    clusters: Clusters | None = None,
) -> Iterator[Gate]:
    """Compare the difference between groups with its limit, for each declared check.

    `demographic_parity_difference` is the largest minus the smallest share of yes among the groups;
    `equalized_odds_difference` is the larger one of these differences among the rows that truly are a yes, and among
    those that are not. Small groups differ by chance, so the interval of the difference decides: the gate fails if all of
    it is above the limit, and warns if the limit lies within. Groups below `min_rows` are left out and named, as are those of
    too few clusters. With fewer than two groups left the gate warns.

    Parameters
    ----------
    clusters
        Rows that belong together; without, each row is taken for independent of the others.
    """
    together = Clusters(np.arange(len(labels)), "rows") if clusters is None else clusters
    for check in spec.gate.fairness:
        truth = np.asarray(labels).astype(int)
        yield _gate(check, features[check.column], truth, scores, together, spec.gate.confidence)


def _gate(
    check: FairnessCheck,
    column: pd.Series[Any],
    labels: NDArray[Any],
    scores: Floats,
    clusters: Clusters,
    confidence: float,
) -> Gate:
    from fairlearn import metrics

    name = f"fairness {check.column}, {check.measure.replace('_', ' ')}"
    threshold = f"≤ {check.max}"
    groups = np.asarray(column.map(str).where(column.notna(), "missing"), dtype=object)
    kept, left_out = _groups(check, groups, labels, clusters)
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
    parts = [rows & part for part in _strata(check, labels)]
    low, high = largest_difference(
        [(yes[part], groups[part], clusters.of_rows(part)) for part in parts], confidence
    )
    detail = (
        f"share of positives: {told}; {confidence:.0%} interval of the difference {low:.3f} to {high:.3f}, "
        f"{clusters}{note}"
    )
    return Gate(name, against_limit(low, high, check.max), value, threshold, detail)


def _strata(check: FairnessCheck, labels: NDArray[Any]) -> list[NDArray[np.bool_]]:
    """Return the rows within which groups are compared."""
    if check.measure == "demographic_parity_difference":
        return [np.ones(len(labels), dtype=bool)]
    return [labels == 1, labels == 0]


def largest_difference(
    strata: Sequence[tuple[NDArray[Any], NDArray[Any], Clusters]], confidence: float
) -> tuple[float, float]:
    """Return an interval of the largest difference of two groups' shares, over all strata.

    Every pair has an interval with a variance by cluster (Liang, Zeger: Longitudinal data analysis using generalized linear
    models, Biometrika 73, 1986) and Student's t of the fewer clusters, simultaneously for all pairs (Bonferroni). The largest
    difference is at least the largest lower bound, and at most the largest upper one.

    Parameters
    ----------
    strata
        Of each, its rows: the decision (0 or 1), the group and the cluster.
    confidence
        Of the two-sided interval, e.g. 0.95.

    Examples
    --------
    >>> yes, group = np.array([1, 1, 0, 1] * 50 + [0, 0, 1, 0] * 50), np.repeat(["a", "b"], 200)
    >>> low, high = largest_difference([(yes, group, Clusters.of(np.arange(400)))], 0.95)
    >>> round(low, 2), round(high, 2)
    (0.41, 0.59)
    """
    from scipy.special import stdtrit

    pairs: list[tuple[float, float, float]] = []
    for yes, groups, clusters in strata:
        shares, parts, freedom = [], [], []
        for name in np.unique(groups):
            rows = groups == name
            own = clusters.of_rows(rows)
            share = float(yes[rows].mean())
            sums = np.bincount(clusters.codes[rows], weights=yes[rows] - share, minlength=clusters.count)
            shares.append(share)
            parts.append(sums / rows.sum() * np.sqrt(own.count / max(own.count - 1, 1)))
            freedom.append(max(own.effective - 1, 1.0))
        for one, other in combinations(range(len(shares)), 2):
            error = float(np.linalg.norm(parts[one] - parts[other]))
            pairs.append((abs(shares[one] - shares[other]), error, min(freedom[one], freedom[other])))
    tail = (1 - confidence) / 2 / len(pairs)
    bounds = [(apart, float(stdtrit(freedom, 1 - tail)) * error) for apart, error, freedom in pairs]
    low = max(max(0.0, apart - half) for apart, half in bounds)
    return low, min(1.0, max(apart + half for apart, half in bounds))


def _groups(
    check: FairnessCheck, groups: NDArray[Any], labels: NDArray[Any], clusters: Clusters
) -> tuple[list[str], list[str]]:
    """Return the groups that can be compared, and why each of the others cannot."""
    kept, left_out = [], []
    for name in sorted(set(groups)):
        truth = labels[groups == name]
        if len(truth) < check.min_rows:
            left_out.append(f"{name} ({len(truth)} rows)")
        elif check.measure == "equalized_odds_difference" and len(np.unique(truth)) < 2:
            left_out.append(f"{name} (one class only)")
        elif (own := clusters.of_rows(groups == name)).too_few:
            left_out.append(f"{name} ({len(truth)} rows of {own})")
        else:
            kept.append(name)
    return kept, left_out


def _few(texts: list[str]) -> str:
    """List texts, the middle ones left out when there are many."""
    if len(texts) <= _MOST_NAMED:
        return ", ".join(texts)
    half = _MOST_NAMED // 2
    return ", ".join([*texts[:half], f"… {len(texts) - 2 * half} more …", *texts[-half:]])
