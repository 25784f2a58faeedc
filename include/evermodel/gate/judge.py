"""Judge a challenger on the test window, beside the champion on the same rows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evermodel.errors import GateError
from evermodel.gate.bootstrap import Interval, metric_interval, paired_gain
from evermodel.gate.decision import COLD_START, Comparison, Decision, Gate, compare
from evermodel.gate.metrics import METRICS, Floats, calibration_error
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Contender:
    """A model on trial.

    Parameters
    ----------
    name
        Candidate's name for the challenger, version for the champion.
    pipeline
        Fitted pipeline.
    uri
        Where it is logged.
    size_bytes
        Size of the stored model.
    """

    name: str
    pipeline: Any
    uri: str
    size_bytes: int = 0


def judge(
    spec: ModelSpec,
    run_key: str,
    features: pd.DataFrame,
    labels: np.ndarray[Any, Any],
    challenger: Contender,
    champion: Contender | None,
    *,
    champion_saw: float = 0.0,
    force_reason: str | None = None,
) -> Decision:
    """Apply every gate of the spec to a challenger.

    Parameters
    ----------
    features, labels
        The test window, later than anything the challenger was fitted on.
    champion
        The version that serves; None for a cold start, where the absolute gates decide.
    champion_saw
        Share of the test rows that the champion was fitted on; it is told as a warning.
    force_reason
        Why a person wants it shipped whatever the gates say; None if nobody does.

    Raises
    ------
    GateError
        The test window has one class only, or a model answers with something that is no probability.
    """
    _require_both_classes(spec, labels)
    metric = METRICS[spec.gate.metric]
    draws = {"confidence": spec.gate.confidence, "resamples": spec.gate.resamples, "seed": spec.seed}
    scores = score(challenger, features)
    own = metric_interval(metric, labels, scores, **draws)  # type: ignore[arg-type]
    theirs: Interval | None = None
    gain: Interval | None = None
    verdict: Comparison = COLD_START
    if champion is not None:
        theirs_scores = score(champion, features)
        theirs = metric_interval(metric, labels, theirs_scores, **draws)  # type: ignore[arg-type]
        gain = paired_gain(metric, labels, scores, theirs_scores, **draws)  # type: ignore[arg-type]
        verdict = compare(gain.low, gain.high, spec.gate.margin)
    gates = [
        _comparison_gate(spec, verdict, gain),
        *_absolute_gates(spec, own, labels, scores),
        *_cost_gates(spec, challenger, features),
    ]
    if champion_saw > 0:
        detail = f"the champion was fitted on {champion_saw:.0%} of the test rows, which flatters it"
        gates.append(Gate("fresh test rows", "warn", champion_saw, "0", detail))
    passed = all(gate.verdict != "fail" for gate in gates)
    failed = ", ".join(gate.name for gate in gates if gate.verdict == "fail")
    forced = not passed and force_reason is not None
    return Decision(
        model=spec.name,
        run_key=run_key,
        candidate=challenger.name,
        model_uri=challenger.uri,
        parent=None if champion is None else champion.name,
        metric=metric.name,
        verdict=verdict,
        ship=passed or forced,
        forced=forced,
        reason=f"forced: {force_reason}"
        if forced
        else (f"failed: {failed}" if failed else "all gates passed"),
        rows=len(labels),
        challenger=(own.value, own.low, own.high),
        champion=None if theirs is None else (theirs.value, theirs.low, theirs.high),
        gain=None if gain is None else (gain.value, gain.low, gain.high),
        gates=tuple(gates),
    )


def score(contender: Contender, features: pd.DataFrame) -> Floats:
    """Return a model's probability of the positive class for each row.

    Raises
    ------
    GateError
        The model throws, or answers with something that is no probability.
    """
    try:
        values = np.asarray(contender.pipeline.predict_proba(features)[:, 1], dtype=np.float64)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise GateError(
            f"{contender.name} cannot score the test window: {error}",
            "compare the features of the spec with what the model was trained on; retrain if they changed",
        ) from error
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise GateError(
            f"{contender.name} answers with values that are no probabilities", "train another candidate"
        )
    return values


def _require_both_classes(spec: ModelSpec, labels: np.ndarray[Any, Any]) -> None:
    if len(labels) == 0:
        raise GateError(
            f"model {spec.name}: the test window holds no row",
            "wait until labels have matured, or widen `split.test`",
        )
    positives = int(np.sum(labels))
    if positives in (0, len(labels)):
        raise GateError(
            f"model {spec.name}: the {len(labels)} rows of the test window are all of one class, "
            "so a challenger cannot be judged",
            "widen `split.test`, or check how the label is made; nothing was registered",
        )


def _comparison_gate(spec: ModelSpec, verdict: Comparison, gain: Interval | None) -> Gate:
    name = f"{spec.gate.metric} against the champion"
    if gain is None:
        return Gate(name, "pass", None, "no champion yet", "cold start: the absolute gates decide")
    detail = (
        f"{verdict.replace('_', ' ')}: gain {gain.value:+.4f}, {spec.gate.confidence:.0%} interval "
        f"{gain.low:+.4f} to {gain.high:+.4f}, margin {spec.gate.margin}"
    )
    allowed = " or ".join(spec.gate.ship_on).replace("_", " ")
    return Gate(name, "pass" if verdict in spec.gate.ship_on else "fail", gain.value, allowed, detail)


def _absolute_gates(spec: ModelSpec, own: Interval, labels: Any, scores: Floats) -> Iterator[Gate]:
    higher = METRICS[spec.gate.metric].higher_is_better
    if spec.gate.floor is not None:
        fine = own.value >= spec.gate.floor if higher else own.value <= spec.gate.floor
        sign = "≥" if higher else "≤"
        yield Gate(
            f"{spec.gate.metric} floor",
            "pass" if fine else "fail",
            own.value,
            f"{sign} {spec.gate.floor}",
            f"{own.value:.4f} ({own.low:.4f} to {own.high:.4f}) on {len(labels)} rows",
        )
    error = calibration_error(labels, scores)
    limit = spec.gate.max_calibration_error
    if limit is not None:
        verdict: Any = "pass" if error <= limit else "fail"
        yield Gate("calibration", verdict, error, f"≤ {limit}", f"expected calibration error {error:.4f}")


def _cost_gates(spec: ModelSpec, challenger: Contender, features: pd.DataFrame) -> Iterator[Gate]:
    limit = spec.gate.max_latency_ms
    if limit is not None:
        spent = _median_latency_ms(challenger, features)
        yield Gate(
            "latency",
            "pass" if spent <= limit else "fail",
            spent,
            f"≤ {limit} ms",
            f"one row: {spent:.2f} ms",
        )
    most = spec.gate.max_size_mb
    if most is not None:
        size = challenger.size_bytes / 1e6
        fine = math.isfinite(size) and size <= most
        yield Gate("size", "pass" if fine else "fail", size, f"≤ {most} MB", f"{size:.2f} MB stored")


def _median_latency_ms(contender: Contender, features: pd.DataFrame, calls: int = 30) -> float:
    row = features.head(1)
    contender.pipeline.predict_proba(row)
    spent = []
    for _ in range(calls):
        start = time.perf_counter()
        contender.pipeline.predict_proba(row)
        spent.append(time.perf_counter() - start)
    return float(np.median(spent) * 1000)
