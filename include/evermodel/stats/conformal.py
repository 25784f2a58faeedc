"""Split conformal prediction: what a model missed on rows that it never saw says how far to trust its answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def nonconformity(labels: NDArray[Any], scores: Floats) -> Floats:
    """Return how far off each answer was: 1 minus the true class's probability, or the absolute error of a value.

    Parameters
    ----------
    labels
        Values; with probabilities of classes (rows x classes) the column of the true class.

    References
    ----------
    Sadinle, Lei, Wasserman: Least ambiguous set-valued classifiers with bounded error levels, JASA 114, 2019.

    >>> nonconformity(np.array([0, 1]), np.array([[0.75, 0.25], [0.5, 0.5]])).tolist()
    [0.25, 0.5]
    """
    if scores.ndim == 2:
        return np.asarray(1 - scores[np.arange(len(labels)), labels.astype(int)], dtype=np.float64)
    return np.abs(scores - labels.astype(np.float64))


def conformal_quantile(misses: Floats, coverage: float) -> float:
    """Return what a new answer's miss stays below with at least a probability; infinite with too few rows.

    Rows must be exchangeable (Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World, 2005; Lei et al.:
    Distribution-free predictive inference for regression, JASA 113, 2018).

    >>> conformal_quantile(np.arange(1.0, 20.0), 0.9), conformal_quantile(np.arange(5.0), 0.9)
    (18.0, inf)
    """
    place = math.ceil(round((len(misses) + 1) * coverage, 9))
    return float(np.sort(misses)[place - 1]) if place <= len(misses) else math.inf


def prediction_sets(probabilities: Floats, quantile: float) -> NDArray[np.bool_]:
    """Return the classes of each row's set: those likely enough, and always the likeliest (Sadinle, Lei, Wasserman, 2019).

    >>> prediction_sets(np.array([[0.75, 0.25], [0.5, 0.5]]), quantile=0.5).tolist()
    [[True, False], [True, True]]
    """
    likeliest = probabilities.argmax(axis=1)[:, None] == np.arange(probabilities.shape[1])
    return np.asarray(likeliest | (1 - probabilities <= quantile))
