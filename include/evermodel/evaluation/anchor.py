"""The gate against the anchor, the best version of twelve months: small losses must not add up.

A challenger that is a little worse may ship as *not worse*, and so may the next one, each against the one before. Compared
with the best version of a year as well, together they lose at most the year's budget, and what is needed to show it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from evermodel.core.errors import GateError
from evermodel.evaluation.comparison import gain_text, outcome
from evermodel.evaluation.decision import Gate
from evermodel.evaluation.evaluated_model import EvaluatedModel, score, threshold_of
from evermodel.evaluation.margin import in_units
from evermodel.modeling.tasks import primary
from evermodel.spec import ModelSpec
from evermodel.spec.parts import margin_text
from evermodel.stats.bootstrap import side_by_side
from evermodel.stats.clusters import Clusters
from evermodel.stats.metrics import Floats

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class AnchorResult:
    """What the comparison with the anchor says.

    Parameters
    ----------
    surpassed
        True if the challenger is better, or if the anchor can no longer be scored.
    """

    gate: Gate
    surpassed: bool


def against_anchor(
    spec: ModelSpec,
    anchor: EvaluatedModel,
    features: pd.DataFrame,
    labels: NDArray[Any],
    classes: tuple[str, ...],
    challenger: Floats,
    clusters: Clusters | None,
    threshold: float = 0.5,
) -> AnchorResult:
    """Compare a challenger with the anchor on the test window, by the primary metric.

    It fails if it is worse by more than `gate.year_budget`, and the interval of its gain lies below 0: a loss that has
    been shown. An anchor that cannot be scored, such as one with a feature that is gone, warns and is given up.
    """
    metric = primary(spec)
    title, wanted = f"{metric.name} against the best version of twelve months", "within the year's budget"
    try:
        theirs = score(spec, anchor, features, classes)
        thresholds = threshold, threshold_of(spec, anchor)
    except GateError as error:
        return AnchorResult(Gate(title, "warn", None, wanted, f"not compared: {error.problem}"), True)
    (measured,) = side_by_side(
        [metric], labels, challenger, theirs,
        confidence=spec.gate.confidence, resamples=spec.gate.resamples, seed=spec.seed, clusters=clusters,
        thresholds=thresholds,
    )  # fmt: skip
    gain = measured.gain
    assert gain is not None
    budget = in_units(spec.gate.year_budget, metric, labels, theirs, thresholds[1])
    verdict = outcome(measured, budget)
    lost = verdict == "worse" and gain.value < -budget
    detail = (
        f"{anchor.name}: {gain_text(gain, spec.gate.confidence)}, "
        f"budget {budget:.3g}{margin_text(spec.gate.year_budget)}"
    )
    value = gain.value if math.isfinite(gain.value) else None
    gate = Gate(title, "fail" if lost else "pass", value, wanted, detail)
    return AnchorResult(gate, verdict == "better")
