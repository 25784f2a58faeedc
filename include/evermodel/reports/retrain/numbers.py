"""The key numbers of a comparison, under the same names for every retrain, and the permutation importance of the features."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from evermodel.modeling import tasks
from evermodel.reports.retrain.scored_sample import ScoredModel, ScoredSample
from evermodel.stats.bootstrap import ConfidenceInterval, side_by_side
from evermodel.stats.calibration import calibration_error

MOST_ROWS = 2000
MOST_REPEATS = 3


@dataclass(frozen=True)
class Importance:
    """The mean loss of the primary metric for each feature, positive where the feature helps.

    Parameters
    ----------
    repeats
        Complete rounds of shuffling; 0 if the time limit was too short for one.
    losses
        For ``challenger`` and, if there is one, ``champion``: feature and mean loss.
    """

    rows: int
    repeats: int
    losses: dict[str, dict[str, float]]


def permutation_importance(trial: ScoredSample, seconds: float = 10.0) -> Importance:
    """Shuffle one feature at a time on a seeded sample of the test rows, the same way for both models.

    The value of a round depends on the seed alone; a slow model only gets fewer rounds (Breiman: Random Forests,
    Machine Learning 45, 2001; here on rows that no model was fitted on).

    Parameters
    ----------
    seconds
        No round starts after this time, and an unfinished one does not count.
    """
    sample = np.random.default_rng(trial.spec.seed).permutation(len(trial.truth))[:MOST_ROWS]
    deadline = time.monotonic() + seconds
    sides = dict(zip(("challenger", "champion"), trial.sides, strict=False))
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(MOST_REPEATS):
        done = {}
        for key, side in sides.items():
            losses = _round(trial, side, sample, number, deadline)
            if losses is None:
                break
            done[key] = losses
        if len(done) < len(sides):
            break
        rounds.append(done)
    means = {
        key: {name: float(np.mean([r[key][name] for r in rounds])) for name in trial.spec.features.names}
        for key in sides
        if rounds
    }
    return Importance(len(sample), len(rounds), means)


def _round(
    trial: ScoredSample, side: ScoredModel, sample: np.ndarray, number: int, deadline: float
) -> dict[str, float] | None:
    metric = tasks.primary(trial.spec)
    truth = trial.truth[sample]
    frame = trial.features.iloc[sample].reset_index(drop=True)
    whole = metric(truth, metric.answers(side.answers[sample], side.threshold))
    losses = {}
    for position, name in enumerate(trial.spec.features.names):
        if time.monotonic() > deadline:
            return None
        order = np.random.default_rng((trial.spec.seed, number, position)).permutation(len(sample))
        shuffled = frame.assign(**{name: frame[name].to_numpy()[order]})
        answers = tasks.predict(trial.spec, side.pipeline, shuffled, trial.classes)
        losses[name] = float(metric.gain(whole, metric(truth, metric.answers(answers, side.threshold))))
    return losses


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
        tasks.metrics_of(trial.spec),
        trial.truth,
        trial.challenger.answers,
        None if trial.champion is None else trial.champion.answers,
        confidence=gate.confidence,
        resamples=_RESAMPLES,
        seed=trial.spec.seed,
        clusters=trial.clusters,
        thresholds=(trial.challenger.threshold, trial.sides[-1].threshold),
    )
    metrics = {"challenger": {m.metric.name: _triple(m.own) for m in measured}}
    metrics["challenger"][decision.metric] = decision.challenger
    if decision.champion is not None:
        metrics["champion"] = {m.metric.name: _triple(m.theirs) for m in measured if m.theirs is not None}
        metrics["champion"][decision.metric] = decision.champion
    keyed = dict(zip(("challenger", "champion"), trial.sides, strict=False))
    errors = {} if trial.spec.numeric_answers else {k: _calibration(trial, s) for k, s in keyed.items()}
    return DecisionFigures(metrics, errors, importance)


def _triple(interval: ConfidenceInterval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


def _calibration(trial: ScoredSample, side: ScoredModel) -> float:
    return calibration_error(*tasks.confidence_of(trial.spec, trial.truth, side.answers))
