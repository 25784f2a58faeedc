"""The gates of whole-window metrics: against the champion, against absolute floors, and calibration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evermodel.evaluation.decision import COLD_START, Comparison, Gate, against_limit, compare
from evermodel.modeling.tasks import confidence_of, metric_of
from evermodel.spec import ModelSpec
from evermodel.spec.parts import margin_text
from evermodel.stats.bootstrap import ConfidenceInterval, MeasuredMetric, side_by_side
from evermodel.stats.calibration import calibration_interval
from evermodel.stats.clusters import FEWEST, Clusters
from evermodel.stats.metrics import Floats, Metric


def measure_window(
    spec: ModelSpec,
    labels: NDArray[Any],
    challenger: Floats,
    champion: Floats | None,
    clusters: Clusters | None = None,
    thresholds: tuple[float, float] = (0.5, 0.5),
) -> list[MeasuredMetric]:
    """Measure the primary metric, then the secondary ones, on the same resamples of the test window."""
    metrics = [metric_of(spec, name) for name in spec.gate.metrics]
    return side_by_side(
        metrics,
        labels,
        challenger,
        champion,
        confidence=spec.gate.confidence,
        resamples=spec.gate.resamples,
        seed=spec.seed,
        clusters=clusters,
        thresholds=thresholds,
    )


def outcome(measured: MeasuredMetric, margin: float) -> Comparison:
    """Name the outcome of a comparison; too few clusters are not enough evidence."""
    if measured.gain is None:
        return COLD_START
    if measured.clusters is not None and measured.clusters.too_few:
        return "not_enough_evidence"
    return compare(measured.gain.low, measured.gain.high, margin)


def gain_text(gain: ConfidenceInterval, confidence: float) -> str:
    """Return a gain with its interval.

    >>> gain_text(ConfidenceInterval(0.01, -0.02, 0.04), 0.95)
    'gain +0.0100, 95% interval -0.0200 to +0.0400'
    """
    return f"gain {gain.value:+.4f}, {confidence:.0%} interval {gain.low:+.4f} to {gain.high:+.4f}"


def evidence_text(clusters: Clusters | None) -> str:
    """Return what the evidence consists of, as the end of a sentence; empty if the rows count one by one."""
    if clusters is None:
        return ""
    needed = f", at least {FEWEST} of about equal size are needed" if clusters.too_few else ""
    return f", {clusters}{needed}"


def comparison_gates(
    spec: ModelSpec,
    measured: list[MeasuredMetric],
    margins: Sequence[float],
    unusable: str | None = None,
    following: ConfidenceInterval | None = None,
) -> Iterator[Gate]:
    """Compare the challenger with the champion, and each metric with its floor.

    Of the primary metric the spec says which outcomes may ship; a secondary one must be better or not worse. A champion
    that cannot be scored (``unusable`` says why) fails the comparison.

    Parameters
    ----------
    margins
        In units of each metric.
    following
        The primary metric's gain that the next window will show.
    """
    gate = spec.gate
    wanted = [(gate.margin, gate.floor, gate.ship_on)]
    wanted += [(check.margin, check.floor, ("better", "not_worse")) for check in gate.secondary]
    for found, margin, (declared, floor, allowed) in zip(measured, margins, wanted, strict=True):
        if unusable:
            yield _no_comparison(found, unusable)
        else:
            told = margin_text(declared) + evidence_text(found.clusters)
            if following is not None and found is measured[0]:
                told += f"; the next window will show {following.low:+.4f} to {following.high:+.4f}"
            yield _against_champion(found, margin, told, allowed, gate.confidence)
        if floor is not None:
            yield _floor_gate(found, floor)


def calibration_gate(
    spec: ModelSpec, labels: NDArray[Any], scores: Floats, clusters: Clusters | None = None
) -> Iterator[Gate]:
    """Compare the interval of the calibration error with its limit, if the spec sets one."""
    limit = spec.gate.max_calibration_error
    if limit is not None:
        together = Clusters(np.arange(len(labels)), "rows") if clusters is None else clusters
        answers = confidence_of(spec, labels, scores)
        error = calibration_interval(*answers, together, spec.gate.confidence)
        detail = (
            f"expected calibration error {error.value:.4f}, {spec.gate.confidence:.0%} interval "
            f"{error.low:.4f} to {error.high:.4f}, {together}"
        )
        yield Gate(
            "calibration", against_limit(error.low, error.high, limit), error.value, f"≤ {limit}", detail
        )


def reaches(metric: Metric, value: float, floor: float) -> bool:
    """Tell whether a value is as good as a floor, which is a ceiling for a loss; not a number is not."""
    return value >= floor if metric.higher_is_better else value <= floor


def floor_text(metric: Metric, floor: float) -> str:
    """Return a floor as text.

    >>> from evermodel.stats.metrics import METRICS
    >>> floor_text(METRICS["brier"], 0.2)
    '≤ 0.2'
    """
    return f"{'≥' if metric.higher_is_better else '≤'} {floor}"


def _against_champion(
    measured: MeasuredMetric, margin: float, told: str, allowed: tuple[Comparison, ...], confidence: float
) -> Gate:
    name, gain = f"{measured.metric.name} against the champion", measured.gain
    if gain is None:
        return Gate(name, "pass", None, "no champion yet", "cold start: the absolute gates decide")
    verdict = outcome(measured, margin)
    detail = f"{verdict.replace('_', ' ')}: {gain_text(gain, confidence)}, margin {margin:.3g}{told}"
    value = gain.value if math.isfinite(gain.value) else None
    threshold = " or ".join(allowed).replace("_", " ")
    return Gate(name, "pass" if verdict in allowed else "fail", value, threshold, detail)


def _no_comparison(measured: MeasuredMetric, unusable: str) -> Gate:
    detail = f"{unusable}; to ship without a comparison, start a retrain with `force` and a reason"
    return Gate(
        f"{measured.metric.name} against the champion", "fail", None, "a champion that can be scored", detail
    )


def _floor_gate(measured: MeasuredMetric, floor: float) -> Gate:
    own = measured.own
    return Gate(
        f"{measured.metric.name} floor",
        "pass" if reaches(measured.metric, own.value, floor) else "fail",
        own.value if math.isfinite(own.value) else None,
        floor_text(measured.metric, floor),
        f"{own.value:.4f} ({own.low:.4f} to {own.high:.4f})",
    )
