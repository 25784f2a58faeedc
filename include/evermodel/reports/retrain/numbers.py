"""The key numbers of a comparison, under the same names for every retrain."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from evermodel.modeling import tasks
from evermodel.reports.retrain.importance import Importance
from evermodel.reports.retrain.scored_sample import ScoredModel, ScoredSample
from evermodel.stats.bootstrap import ConfidenceInterval, side_by_side
from evermodel.stats.metrics import METRICS_BY_TASK, calibration_error

# The gate has its own, larger number of resamples for the metric that decides.
_RESAMPLES = 400
EVIDENCE_FILE = "evidence.json"


@dataclass(frozen=True)
class DecisionFigures:
    """The page's numbers, as data.

    Parameters
    ----------
    metrics
        For each side and metric: value and bounds of its interval.
    calibration_error
        For each side; empty for regression.
    """

    metrics: dict[str, dict[str, tuple[float, float, float]]]
    calibration_error: dict[str, float]
    importance: Importance

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return asdict(self)

    def flat(self) -> dict[str, float]:
        """Return one number a name, for MLflow's compare view; missing numbers are omitted."""
        found: dict[str, float] = {}
        for key, metrics in self.metrics.items():
            end = "" if key == "challenger" else f"_{key}"
            for name, (value, low, high) in metrics.items():
                found[f"test_{name}{end}"] = value
                if key == "challenger":
                    found |= {f"test_{name}_low": low, f"test_{name}_high": high}
        for key, value in self.calibration_error.items():
            found[f"test_calibration_error{'' if key == 'challenger' else f'_{key}'}"] = value
        return {name: value for name, value in found.items() if np.isfinite(value)}


def numbers_of(trial: ScoredSample, importance: Importance) -> DecisionFigures:
    """Measure both sides with every metric of the task; the primary one keeps the decision's own interval."""
    decision, gate = trial.decision, trial.spec.gate
    measured = side_by_side(
        list(METRICS_BY_TASK[trial.spec.task].values()),
        trial.truth,
        trial.challenger.answers,
        None if trial.champion is None else trial.champion.answers,
        confidence=gate.confidence,
        resamples=_RESAMPLES,
        seed=trial.spec.seed,
    )
    metrics = {"challenger": {m.metric.name: _triple(m.own) for m in measured}}
    metrics["challenger"][decision.metric] = decision.challenger
    if decision.champion is not None:
        metrics["champion"] = {m.metric.name: _triple(m.theirs) for m in measured if m.theirs is not None}
        metrics["champion"][decision.metric] = decision.champion
    keyed = dict(zip(("challenger", "champion"), trial.sides, strict=False))
    errors = {} if trial.spec.task == "regression" else {k: _calibration(trial, s) for k, s in keyed.items()}
    return DecisionFigures(metrics, errors, importance)


def _triple(interval: ConfidenceInterval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


def _calibration(trial: ScoredSample, side: ScoredModel) -> float:
    return calibration_error(*tasks.confidence_of(trial.spec, trial.truth, side.answers))
