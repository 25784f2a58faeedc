"""Decisions of a binary classifier: metrics of yes and no, and the threshold that makes them of probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Weighted = Callable[[NDArray[Any]], Floats]
Rule = Literal["cost", "f_beta", "precision", "alert_rate", "value"]
# Cost of one row, by label and decision.
COST_CELLS = ("true_negative", "false_positive", "false_negative", "true_positive")


def accuracy(labels: NDArray[Any], decisions: Floats) -> Weighted:
    """Prepare the share of right decisions.

    Here and below a decision is 0 or 1, or a share in between: of rows that are decided at random.
    """
    truth = np.asarray(labels, dtype=np.float64)
    return mean(truth * decisions + (1 - truth) * (1 - decisions))


def balanced_accuracy(labels: NDArray[Any], decisions: Floats) -> Weighted:
    """Prepare the mean of the recall of both classes; not a number where a resample has one class only."""
    truth = np.asarray(labels, dtype=np.float64)
    parts = np.column_stack([truth, truth * decisions, 1 - truth, (1 - truth) * (1 - decisions)])

    def value(weights: NDArray[Any]) -> Floats:
        positive, found, negative, spared = (weights @ parts).T
        return (_ratio(found, positive) + _ratio(spared, negative)) / 2

    return value


def precision(labels: NDArray[Any], decisions: Floats) -> Weighted:
    """Prepare the share of positive rows among those decided positive; 0 where there is none."""
    truth = np.asarray(labels, dtype=np.float64)
    return _quotient(truth * decisions, decisions, otherwise=0.0)


def recall(labels: NDArray[Any], decisions: Floats) -> Weighted:
    """Prepare the share of the positive rows that are decided positive; not a number where there is none."""
    truth = np.asarray(labels, dtype=np.float64)
    return _quotient(truth * decisions, truth)


def f_beta(labels: NDArray[Any], decisions: Floats, beta: float = 1.0) -> Weighted:
    """Prepare the harmonic mean of precision and recall, recall counting ``beta`` times as much."""
    truth, square = np.asarray(labels, dtype=np.float64), beta**2
    return _quotient((1 + square) * truth * decisions, square * truth + decisions, otherwise=0.0)


def mean_cost(labels: NDArray[Any], decisions: Floats, cost: Mapping[str, float]) -> Weighted:
    """Prepare the mean cost of a row.

    Parameters
    ----------
    cost
        Of one row, by the names in `COST_CELLS`.
    """
    truth = np.asarray(labels, dtype=np.float64)
    kept, wrong, missed, found = (float(cost[cell]) for cell in COST_CELLS)
    positive = decisions * found + (1 - decisions) * missed
    return mean(truth * positive + (1 - truth) * (decisions * wrong + (1 - decisions) * kept))


def recall_at_precision(labels: NDArray[Any], scores: Floats, least: float) -> Weighted:
    """Prepare the largest recall of all thresholds whose precision is at least ``least``; 0 where none has it."""
    truth, falling = np.asarray(labels, dtype=bool), -np.asarray(scores, dtype=np.float64)
    order = np.argsort(falling, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(falling[order])), len(order) - 1)  # of ties, the last row
    positive = truth[order].astype(np.float64)

    def value(weights: NDArray[Any]) -> Floats:
        ordered = np.take(weights, order, axis=1).astype(np.float64)
        found = np.cumsum(ordered * positive, axis=1)
        rows = np.cumsum(ordered, axis=1)[:, ends]
        kept = np.where(found[:, ends] >= least * rows, found[:, ends], 0.0)
        return _ratio(kept.max(axis=1), found[:, -1])

    return value


@dataclass(frozen=True)
class ThresholdRule:
    """How a threshold is chosen.

    Parameters
    ----------
    kind
        ``cost``: the smallest mean cost; ``f_beta``: the largest F-beta; ``precision``: the largest recall with at least
        this precision; ``alert_rate``: as many positive decisions as possible, and at most this share; ``value``: itself.
    value
        The beta, precision, share or threshold.
    cost
        For ``cost``; see `mean_cost`.
    """

    kind: Rule
    value: float = math.nan
    cost: Mapping[str, float] | None = None

    def choose(self, labels: NDArray[Any], scores: Floats) -> float:
        """Return the threshold from which on a score is decided positive; the higher one of equals.

        It lies halfway between the last score that is decided positive and the next one below.

        >>> labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.3, 0.2, 0.6])
        >>> ThresholdRule("f_beta", 1.0).choose(labels, scores)
        0.15
        >>> ThresholdRule("alert_rate", 0.25).choose(labels, scores)
        0.45
        """
        if self.kind == "value":
            return self.value
        order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
        ordered, truth = scores[order], np.asarray(labels, dtype=np.float64)[order]
        ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
        # The first entry decides no row positive.
        found = np.append(0.0, np.cumsum(truth)[ends])
        rows = np.append(0.0, ends + 1.0)
        best = int(self._worth(found, rows, float(truth.sum()), len(truth)).argmax())
        if best == 0:
            return float(np.nextafter(ordered[0], math.inf))
        last = ordered[ends[best - 1]]
        below = ordered[ends[best - 1] + 1] if best < len(ends) else last
        middle = float(round((last + below) / 2, 12))
        return middle if below < middle < last else float(last)

    def _worth(self, found: Floats, rows: Floats, positive: float, total: int) -> Floats:
        """Return how good each number of positive decisions is, of which ``found`` are right."""
        if self.kind == "cost":
            assert self.cost is not None
            kept, wrong, missed, right = (float(self.cost[cell]) for cell in COST_CELLS)
            spared = total - positive - (rows - found)
            return -(right * found + missed * (positive - found) + wrong * (rows - found) + kept * spared)
        if self.kind == "f_beta":
            square = self.value**2
            return (1 + square) * found / (square * positive + rows)
        if self.kind == "alert_rate":
            return np.where(rows <= self.value * total, rows, -1.0)
        precise = np.divide(found, rows, out=np.zeros_like(found), where=rows > 0)
        fine = precise >= self.value
        # Where no threshold is precise enough, the most precise one is the nearest to it.
        return np.where(fine, 1 + found, 0.0) if fine[1:].any() else precise


def mean(values: Floats) -> Weighted:
    """Prepare the mean of a value of each row."""
    return lambda weights: (weights @ values) / weights.sum(axis=1)


def _quotient(part: Floats, whole: Floats, otherwise: float = math.nan) -> Weighted:
    """Prepare the sum of one value of each row as a share of the sum of another."""
    parts = np.column_stack([part, whole])

    def value(weights: NDArray[Any]) -> Floats:
        found, all_of_it = (weights @ parts).T
        return _ratio(found, all_of_it, otherwise)

    return value


def _ratio(part: Floats, whole: Floats, otherwise: float = math.nan) -> Floats:
    ratio: Floats = np.divide(part, whole, out=np.full(len(whole), otherwise), where=whole > 0)
    return ratio
