"""The gate that every challenger has to pass: it predicts better than a constant."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evermodel.evaluation.comparison import evidence_text, gain_text
from evermodel.evaluation.decision import Gate
from evermodel.modeling.tasks import primary
from evermodel.spec import ModelSpec
from evermodel.stats.bootstrap import side_by_side
from evermodel.stats.clusters import Clusters
from evermodel.stats.metrics import Floats, Metric

_RESAMPLES = 500  # a yes or no needs fewer than an interval that people read


def skill_gate(
    spec: ModelSpec, labels: NDArray[Any], scores: Floats, clusters: Clusters | None, threshold: float = 0.5
) -> Gate:
    """Compare the challenger with the best constant prediction in hindsight, by the primary metric.

    Without a gain it fails; it warns if the interval of the gain reaches 0, so that chance may explain it. Without a
    champion nothing else might ask: a floor is an absolute value, and of rare events a constant has an excellent Brier
    score.
    """
    metric = primary(spec)
    answers = metric.answers(scores, threshold)
    (measured,) = side_by_side(
        [replace(metric, decides=False)], labels, answers, best_constant(metric, labels, answers),
        confidence=spec.gate.confidence, resamples=_RESAMPLES, seed=spec.seed, clusters=clusters,
    )  # fmt: skip
    own, theirs, gain = measured.own, measured.theirs, measured.gain
    assert theirs is not None
    assert gain is not None
    proven = gain.low > 0 and not (clusters is not None and clusters.too_few)
    verdict: Literal["pass", "fail", "warn"] = "pass" if proven else "warn" if gain.value > 0 else "fail"
    detail = (
        f"{own.value:.4f}, the best constant {theirs.value:.4f}: "
        f"{gain_text(gain, spec.gate.confidence)}{evidence_text(clusters)}"
    )
    value = gain.value if math.isfinite(gain.value) else None
    return Gate(f"{metric.name} against no skill", verdict, value, "gain > 0", detail)


def best_constant(metric: Metric, labels: NDArray[Any], answers: Floats) -> Floats:
    """Return the one answer, repeated for every row, that is best on these labels by a metric; see `Metric.constant`."""
    constant = np.asarray(metric.constant(labels, answers), dtype=np.float64)
    return np.broadcast_to(constant, answers.shape).copy()
