"""Ranking metrics of a binary classifier, for many weightings of the same rows without sorting again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Weighted = Callable[[NDArray[Any]], Floats]


def roc_auc(labels: NDArray[Any], scores: Floats) -> Weighted:
    """Prepare the area under the ROC curve as the Mann-Whitney statistic, ties counted half.

    Rows are sorted once. For each positive row the number of negative rows below it is a place in the running total
    of the negatives' weights (its placement: Hanley, Hajian-Tilaki, Academic Radiology 4, 1997), so that a
    weighting costs one running total and one look-up, and is exact for whole weights.

    Returns
    -------
    A function of weights, resamples x rows, that returns one area for each resample; not a number where a resample
    has rows of one class only.
    """
    truth = np.asarray(labels, dtype=bool)
    positive, negative = _in_order(scores, truth), _in_order(scores, ~truth)
    below = np.searchsorted(scores[negative], scores[positive], side="left")
    upto = np.searchsorted(scores[negative], scores[positive], side="right")
    tied = bool((below != upto).any())

    def value(weights: NDArray[Any]) -> Floats:
        running = _running_total(weights, negative)
        beaten = _columns(running, below)
        if tied:
            beaten = beaten + _columns(running, upto)
        up = _columns(weights, positive)
        wins = np.einsum("ij,ij->i", up, beaten, dtype=np.float64) / (2 if tied else 1)
        return _ratio(wins, up.sum(axis=1, dtype=np.float64) * running[:, -1])

    return value


def average_precision(labels: NDArray[Any], scores: Floats) -> Weighted:
    """Prepare average precision without interpolation, as scikit-learn defines it; see `roc_auc` for what is returned."""
    truth = np.asarray(labels, dtype=bool)
    falling = -np.asarray(scores, dtype=np.float64)
    positive, everyone = _in_order(falling, truth), _in_order(falling, np.ones_like(truth))
    found_upto = np.searchsorted(falling[positive], falling[positive], side="right")
    rows_upto = np.searchsorted(falling[everyone], falling[positive], side="right")

    def value(weights: NDArray[Any]) -> Floats:
        found, rows = _running_total(weights, positive), _running_total(weights, everyone)
        whole = _columns(rows, rows_upto).astype(np.float64)
        precision = np.divide(_columns(found, found_upto), whole, out=np.zeros_like(whole), where=whole > 0)
        hits = np.einsum("ij,ij->i", _columns(weights, positive), precision, dtype=np.float64)
        return _ratio(hits, found[:, -1])

    return value


def _in_order(scores: Floats, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the positions of the chosen rows by rising score."""
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(scores[rows], kind="stable")]


def _running_total(weights: NDArray[Any], order: NDArray[np.intp]) -> NDArray[Any]:
    """Return the weights before each row of an order, and after the last one."""
    total = np.zeros((len(weights), len(order) + 1), dtype=weights.dtype)
    np.cumsum(_columns(weights, order), axis=1, dtype=weights.dtype, out=total[:, 1:])
    return total


def _columns(weights: NDArray[Any], order: NDArray[np.intp]) -> NDArray[Any]:
    # "clip" spares a check of every place; none is outside.
    return np.take(weights, order, axis=1, mode="clip")


def _ratio(part: Floats, whole: NDArray[Any]) -> Floats:
    """Divide; a division by zero gives NaN."""
    ratio: Floats = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return ratio
