"""Slices: gates on parts of the test window."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evermodel.evaluation.comparison import floor_text, reaches
from evermodel.evaluation.decision import Gate
from evermodel.modeling.tasks import distinct_labels, primary
from evermodel.spec import ModelSpec
from evermodel.spec.checks import SliceCheck
from evermodel.stats.bootstrap import MeasuredMetric, side_by_side
from evermodel.stats.clusters import FEWEST, Clusters
from evermodel.stats.metrics import Floats

if TYPE_CHECKING:
    import pandas as pd

MISSING = "missing"
# So many resamples at least lie beyond each end of an interval.
_BEYOND = 5


@dataclass(frozen=True, eq=False)
class _Slice:
    """One slice: its name, its rows, its check, the margin in units of the metric, and which rows belong together."""

    name: str
    rows: NDArray[np.bool_]
    check: SliceCheck
    margin: float = 0.0
    clusters: Clusters | None = None

    @property
    def size(self) -> int:
        return int(self.rows.sum())


def slice_gates(
    spec: ModelSpec,
    features: pd.DataFrame,
    labels: NDArray[Any],
    challenger: Floats,
    champion: Floats | None,
    margin: float,
    clusters: Clusters | None = None,
    thresholds: tuple[float, float] = (0.5, 0.5),
) -> Iterator[Gate]:
    """Evaluate every declared slice by the paired gain on its rows.

    A slice fails when its loss is both *significant*, the interval of its gain lying below 0, and *large*, the gain
    itself being below minus the margin. The confidence of the intervals is raised with the number of slices
    (Bonferroni), so that two equally good models are stopped by any slice in at most half of 1 - `gate.confidence` of
    runs. A loss that is large but not significant is a warning. So is a slice that cannot be evaluated: too few rows or
    clusters, or one label value only. Without a champion the slice's own value is compared with `floor`, if there is one.

    Parameters
    ----------
    challenger, champion
        Answers of the two models for its rows; None without a champion.
    margin
        Of checks that name none, in units of the metric.
    thresholds
        From which on the answers of the two are decided positive.
    """
    slices = [
        replace(part, margin=margin if check.margin is None else check.margin)
        for check in spec.gate.slices
        for part in _slices(spec, check, features)
    ]
    if clusters is not None:
        slices = [replace(part, clusters=clusters.of_rows(part.rows)) for part in slices]
    reasons = [_unjudged(part, labels) for part in slices]
    judged = reasons.count(None)
    for part, reason in zip(slices, reasons, strict=True):
        if reason is not None:
            yield Gate(part.name, "warn", None, _threshold(spec, part, champion), f"not evaluated: {reason}")
            continue
        theirs = None if champion is None else champion[part.rows]
        measured = _measure(spec, part, labels[part.rows], challenger[part.rows], theirs, judged, thresholds)
        yield _gate(spec, part, measured, champion)


def _slices(spec: ModelSpec, check: SliceCheck, features: pd.DataFrame) -> Iterator[_Slice]:
    column = features[check.column]
    numeric = check.column in spec.features.numeric
    for value in check.values or ():
        rows = np.asarray(column == (float(value) if numeric else str(value)), dtype=bool)
        yield _Slice(f"slice {check.column} = {value}", rows, check)
    if check.values is not None:
        return
    named = column.map(lambda value: f"{value:g}") if numeric else column
    named = named.where(column.notna(), MISSING)
    counts = named.value_counts()
    large = sorted(counts[counts >= check.min_rows].index)
    for value in large:
        yield _Slice(f"slice {check.column} = {value}", np.asarray(named == value, dtype=bool), check)
    rest = np.asarray(~named.isin(large), dtype=bool)
    if rest.any():
        # Together they may have enough rows; in any case they are not passed over in silence.
        yield _Slice(f"slice {check.column} = any other", rest, check)


def _unjudged(part: _Slice, labels: NDArray[Any]) -> str | None:
    if part.size < part.check.min_rows:
        return f"{part.size} rows, at least {part.check.min_rows} needed"
    if distinct_labels(labels[part.rows]) < 2:
        return f"all {part.size} rows have one label value"
    if part.clusters is not None and part.clusters.too_few:
        return f"{part.size} rows of {part.clusters}, at least {FEWEST} of about equal size needed"
    return None


def _measure(
    spec: ModelSpec,
    part: _Slice,
    labels: NDArray[Any],
    challenger: Floats,
    champion: Floats | None,
    slices: int,
    thresholds: tuple[float, float],
) -> MeasuredMetric:
    outside = (1 - spec.gate.confidence) / slices
    return side_by_side(
        [primary(spec)],
        labels,
        challenger,
        champion,
        confidence=1 - outside,
        resamples=max(spec.gate.resamples, math.ceil(2 * _BEYOND / outside)),
        seed=spec.seed,
        clusters=part.clusters,
        thresholds=thresholds,
    )[0]


def _gate(spec: ModelSpec, part: _Slice, measured: MeasuredMetric, champion: Floats | None) -> Gate:
    own, gain, floor = measured.own, measured.gain, part.check.floor
    threshold = _threshold(spec, part, champion)
    detail = f"{part.size} rows: {spec.gate.metric} {own.value:.4f} ({own.low:.4f} to {own.high:.4f})"
    if gain is not None and measured.theirs is not None:
        detail += (
            f", the champion's {measured.theirs.value:.4f}, "
            f"gain {gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
        )
    value = own.value if gain is None else gain.value
    if not math.isfinite(value):
        return Gate(part.name, "warn", None, threshold, f"not evaluated: no finite value; {detail}")
    if floor is not None and not reaches(measured.metric, own.value, floor):
        return Gate(part.name, "fail", value, threshold, f"misses its floor {floor}; {detail}")
    if gain is None or gain.value >= -part.margin:
        return Gate(part.name, "pass", value, threshold, detail)
    if gain.high < 0:  # significant
        return Gate(part.name, "fail", value, threshold, f"worse than the champion; {detail}")
    return Gate(part.name, "warn", value, threshold, f"worse, but not significantly; {detail}")


def _threshold(spec: ModelSpec, part: _Slice, champion: Floats | None) -> str:
    check = part.check
    parts = [] if champion is None else [f"gain ≥ -{part.margin:.3g}, or not significant"]
    if check.floor is not None:
        parts.append(f"{spec.gate.metric} {floor_text(primary(spec), check.floor)}")
    return " and ".join(parts) or "none without a champion"
