"""The margin of a comparison in units of its metric: the largest loss that counts as not worse.

A loss of 0.01 is little of an accuracy and everything of the Brier score of rare events. Without a number of its own, a
margin is therefore a share of what the champion gains over the best constant prediction on the same rows, a skill score
(Murphy 1988, Monthly Weather Review 116: 2417-2424).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from evermodel.evaluation.no_skill import best_constant
from evermodel.spec import ModelSpec
from evermodel.spec.parts import Margin, margin_share
from evermodel.stats.bootstrap import MeasuredMetric
from evermodel.stats.metrics import Floats, Metric


def margins_of(
    spec: ModelSpec,
    measured: Sequence[MeasuredMetric],
    labels: NDArray[Any],
    champion: Floats | None,
    threshold: float = 0.5,
) -> list[float]:
    """Return the margin of the primary metric, then those of the secondary ones; zeros without a champion.

    Parameters
    ----------
    measured
        The same metrics on the test window.
    threshold
        From which on the champion's answers are decided positive.
    """
    declared = [spec.gate.margin, *(check.margin for check in spec.gate.secondary)]
    if champion is None:
        return [0.0 for _ in declared]
    return [
        in_units(margin, found.metric, labels, champion, threshold)
        for margin, found in zip(declared, measured, strict=True)
    ]


def in_units(
    margin: Margin, metric: Metric, labels: NDArray[Any], scores: Floats, threshold: float = 0.5
) -> float:
    """Return a margin in units of a metric.

    Parameters
    ----------
    scores, threshold
        Predictions of the model whose gain over the best constant a share refers to. One without a gain leaves no
        margin.
    """
    share = margin_share(margin)
    if share is None:
        return float(margin)
    answers = metric.answers(scores, threshold)
    gain = float(metric.gain(metric(labels, answers), metric(labels, best_constant(metric, labels, answers))))
    return share * gain if math.isfinite(gain) and gain > 0 else 0.0
