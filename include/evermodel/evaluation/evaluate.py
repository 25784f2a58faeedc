"""Evaluate a challenger on the test window against the champion on the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evermodel.core.errors import GateError
from evermodel.evaluation.anchor import against_anchor
from evermodel.evaluation.behavioral_tests import behavioral_gates
from evermodel.evaluation.comparison import calibration_gate, comparison_gates, measure_window, outcome
from evermodel.evaluation.decision import Comparison, Decision, Gate
from evermodel.evaluation.evaluated_model import EvaluatedModel, score, threshold_of
from evermodel.evaluation.fairness import fairness_gates
from evermodel.evaluation.latency_and_size import cost_gates
from evermodel.evaluation.margin import margins_of
from evermodel.evaluation.next_window import (
    GainPrediction,
    next_gain,
    optimism_of,
    over_windows,
    window_factor,
)
from evermodel.evaluation.no_skill import skill_gate
from evermodel.evaluation.slices import slice_gates
from evermodel.modeling.tasks import classes_of, distinct_labels, encode
from evermodel.spec import ModelSpec
from evermodel.spec.parts import BY_DAY, BY_ROW
from evermodel.stats.clusters import Clusters
from evermodel.stats.metrics import Floats

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EvaluatedModel", "evaluate", "score", "threshold_of"]


def evaluate(
    spec: ModelSpec,
    run_key: str,
    features: pd.DataFrame,
    labels: np.ndarray[Any, Any],
    challenger: EvaluatedModel,
    champion: EvaluatedModel | None,
    *,
    times: np.ndarray[Any, Any] | None = None,
    champion_saw: float = 0.0,
    unusable: str | None = None,
    force_reason: str | None = None,
    approval: str = "",
    vetoes: Sequence[Gate] = (),
    anchor: EvaluatedModel | None = None,
    past_gains: Sequence[tuple[GainPrediction, float]] = (),
    described: pd.DataFrame | None = None,
) -> Decision:
    """Apply every gate of the spec to a challenger.

    Parameters
    ----------
    features, labels
        The test window, later than anything the challenger was fitted on.
    champion
        The version that serves; None for a cold start, where the absolute gates decide.
    times
        Moment of each row; needed where the rows of a day belong together (`cluster: day`), otherwise they are taken for
        independent.
    champion_saw
        Share of the test rows that the champion was fitted on; reported as a warning.
    unusable
        Why the champion that serves cannot be scored; without a comparison only a person may ship.
    force_reason
        Reason to ship it regardless of the gates; None if not forced.
    approval
        ``auto`` or ``manual``; that of the spec if not given.
    vetoes
        Gates that were decided elsewhere, such as an open incident.
    anchor
        The best version of twelve months, if that is not the champion.
    past_gains
        Earlier predictions of gains by the primary metric, with what came: the comparison is as much less sure as they missed.
    described
        The test rows with the columns of the spec's `context` beside the features; needed where clusters, slices or
        groups are of these.

    Raises
    ------
    GateError
        The test window has one class only, or the challenger answers with something that is no probability.
    """
    _require_both_classes(spec, labels)
    classes = classes_of(spec, labels, *(c.pipeline for c in (challenger, champion, anchor) if c))
    labels = encode(labels, classes)
    scores = score(spec, challenger, features, classes)
    theirs, unusable = _champion_scores(spec, champion, features, classes, unusable)
    described = features if described is None else described
    clusters = clusters_of(spec, described, times)
    own_threshold = threshold_of(spec, challenger)
    thresholds = own_threshold, own_threshold if champion is None else threshold_of(spec, champion)
    measured = measure_window(spec, labels, scores, theirs, clusters, thresholds)
    margins = margins_of(spec, measured, labels, theirs, thresholds[1])
    held = (
        None
        if anchor is None
        else against_anchor(spec, anchor, features, labels, classes, scores, clusters, own_threshold)
    )
    first, factor = measured[0], window_factor(past_gains)
    following = None if first.gain is None else next_gain(first.gain, factor)
    measured[0] = first = over_windows(first, factor)
    gates = [
        *comparison_gates(spec, measured, margins, unusable, following),
        *(() if held is None else (held.gate,)),
        skill_gate(spec, labels, scores, clusters, own_threshold),
        *calibration_gate(spec, labels, scores, clusters),
        *slice_gates(spec, described, labels, scores, theirs, margins[0], clusters, thresholds),
        *fairness_gates(spec, described, labels, scores, clusters),
        *behavioral_gates(spec, features, scores, lambda frame: score(spec, challenger, frame, classes)),
        *cost_gates(spec, challenger, features),
        *_fresh_gate(champion_saw),
        *vetoes,
    ]
    failed = ", ".join(gate.name for gate in gates if gate.verdict == "fail")
    forced = bool(failed) and force_reason is not None
    reason = f"forced: {force_reason}" if forced else f"failed: {failed}" if failed else "all gates passed"
    verdict: Comparison = "not_enough_evidence" if unusable else outcome(first, margins[0])
    surpassed = verdict == "better" if held is None else held.surpassed
    best = anchor or champion
    return Decision(
        model=spec.name,
        run_key=run_key,
        candidate=challenger.name,
        model_uri=challenger.uri,
        parent=None if champion is None else champion.name,
        metric=first.metric.name,
        verdict=verdict,
        ship=forced or not failed,
        forced=forced,
        reason=reason,
        rows=len(labels),
        challenger=(first.own.value, first.own.low, first.own.high),
        champion=None if first.theirs is None else (first.theirs.value, first.theirs.low, first.theirs.high),
        gain=None if first.gain is None else (first.gain.value, first.gain.low, first.gain.high),
        gates=tuple(gates),
        files=dict(challenger.files),
        approval=approval or spec.approval,
        margin=None if first.gain is None else margins[0],
        anchor="" if forced or surpassed or best is None else best.version,
        threshold=challenger.threshold,
        next_gain=None if following is None else (following.low, following.high),
        optimism=None
        if forced or following is None
        else optimism_of(first, margins[0], spec.gate.ship_on, spec.gate.confidence),
    )


def clusters_of(
    spec: ModelSpec, described: pd.DataFrame, times: np.ndarray[Any, Any] | None
) -> Clusters | None:
    """Return which test rows belong together, as the spec says; None if each counts alone."""
    if spec.cluster == BY_ROW or (spec.cluster == BY_DAY and times is None):
        return None
    if spec.cluster == BY_DAY:
        return Clusters.of(np.asarray(times).astype("datetime64[D]"), "days")
    return Clusters.of(described[spec.cluster].astype(str).to_numpy(), f"values of {spec.cluster}")


def _champion_scores(
    spec: ModelSpec,
    champion: EvaluatedModel | None,
    features: pd.DataFrame,
    classes: tuple[str, ...],
    unusable: str | None,
) -> tuple[Floats | None, str | None]:
    """Score the champion, or return the reason why it cannot be scored; the decision is written either way."""
    if champion is None:
        return None, unusable
    try:
        return score(spec, champion, features, classes), None
    except GateError as error:
        return None, error.problem


def _require_both_classes(spec: ModelSpec, labels: np.ndarray[Any, Any]) -> None:
    if len(labels) == 0:
        raise GateError(
            f"model {spec.name}: the test window has no rows",
            "wait until labels have matured, or widen `split.test`",
        )
    if distinct_labels(labels) < 2:
        same = "have one label value" if spec.numeric_answers else "are all of one class"
        raise GateError(
            f"model {spec.name}: the {len(labels)} rows of the test window {same}, "
            "so a challenger cannot be evaluated",
            "widen `split.test`, or check how the label is computed; no version was registered",
        )


def _fresh_gate(champion_saw: float) -> Iterator[Gate]:
    if champion_saw > 0:
        detail = f"the champion was fitted on {champion_saw:.0%} of the test rows, which favors it"
        yield Gate("fresh test rows", "warn", champion_saw, "0", detail)
