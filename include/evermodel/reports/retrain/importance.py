"""Permutation importance: how much worse a model gets when one feature is shuffled."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from evermodel.modeling import tasks
from evermodel.reports.retrain.scored_sample import ScoredModel, ScoredSample

MOST_ROWS = 2000
MOST_REPEATS = 3


@dataclass(frozen=True)
class Importance:
    """The mean loss of the primary metric for each feature, positive where the feature helps.

    Parameters
    ----------
    rows
        Test rows in the sample.
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
    whole = metric(truth, side.answers[sample])
    losses = {}
    for position, name in enumerate(trial.spec.features.names):
        if time.monotonic() > deadline:
            return None
        order = np.random.default_rng((trial.spec.seed, number, position)).permutation(len(sample))
        shuffled = frame.assign(**{name: frame[name].to_numpy()[order]})
        answers = tasks.predict(trial.spec, side.pipeline, shuffled, trial.classes)
        losses[name] = float(metric.gain(whole, metric(truth, answers)))
    return losses
