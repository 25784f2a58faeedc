"""Predictions and labels in the metrics' form, and the precision of a metric on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evermodel.data.dtypes import with_label
from evermodel.data.sources import read_labels
from evermodel.modeling import tasks
from evermodel.modeling.tasks import encode, metric_of
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window
from evermodel.stats.bootstrap import ConfidenceInterval, metric_interval
from evermodel.stats.metrics import Floats, Metric

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

CONFIDENCE = 0.95
_RESAMPLES = 500
WIDTH = 2 * NormalDist().inv_cdf((1 + CONFIDENCE) / 2)  # of the interval, in standard errors
_MOST_ROWS = 20_000  # resampled rows; with more rows the interval is scaled down accordingly
_LEAST_OF_A_CLASS = 10


def performance_metric(spec: ModelSpec) -> str:
    """Return the name of the metric that the prediction log allows: for multiclass the log has only the predicted class."""
    return "accuracy" if spec.task == "multiclass" else spec.gate.metric


def metric_to_watch(spec: ModelSpec) -> Metric:
    """Return the monitored metric."""
    return metric_of(spec, performance_metric(spec))


@dataclass(frozen=True)
class Level:
    """A metric on some rows, with its 95 % interval and standard error."""

    rows: int
    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Standard error, derived from the interval."""
        return (self.high - self.low) / WIDTH


def truth_and_scores(spec: ModelSpec, joined: pa.Table) -> tuple[NDArray[Any], Floats]:
    """Return labels and predictions in the form of the task's metrics.

    Parameters
    ----------
    joined
        Rows with the columns ``label``, and ``score`` or (multiclass) ``predicted``. A metric of decisions takes those in
        ``predicted``, where there are any.
    """
    labels = np.asarray(joined["label"])
    if spec.task == "binary" and metric_to_watch(spec).decides:
        return labels, decisions(spec, joined)
    if spec.task != "multiclass":
        return labels, np.asarray(joined["score"], dtype=np.float64)
    if joined.num_rows == 0:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 1))
    predicted = np.asarray(joined["predicted"]).astype(str)
    classes = tuple(sorted({*labels.astype(str), *predicted}))
    return encode(labels, classes), np.eye(len(classes))[encode(predicted, classes)]


def decisions(spec: ModelSpec, rows: pa.Table) -> Floats:
    """Return the decisions of a binary model: as they were logged, or at `performance.threshold` where none was."""
    import pyarrow.compute as pc

    at_threshold = pc.greater_equal(rows["score"], spec.performance.threshold)
    if "predicted" in rows.column_names:
        at_threshold = pc.coalesce(pc.equal(rows["predicted"], tasks.POSITIVE), at_threshold)
    return np.asarray(pc.fill_null(at_threshold, False), dtype=np.float64)


def level(spec: ModelSpec, joined: pa.Table, *, resamples: int = 500) -> Level | None:
    """Measure the monitored metric on joined rows, with its bootstrap interval.

    Returns
    -------
    None with fewer than two rows or a single label value (then rank and variance metrics do not exist).
    """
    truth, scores = truth_and_scores(spec, joined)
    if len(truth) < 2 or (spec.task != "multiclass" and len(np.unique(truth)) < 2):
        return None
    metric, rows = metric_to_watch(spec), len(truth)
    if rows <= _MOST_ROWS:
        found = _interval(metric, truth, scores, resamples, spec.seed)
        value = found.value
    else:
        value = metric(truth, scores)
        chosen = np.random.default_rng(spec.seed).choice(rows, _MOST_ROWS, replace=False)
        found = _interval(metric, truth[chosen], scores[chosen], resamples, spec.seed)
    narrower = math.sqrt(min(1.0, _MOST_ROWS / rows))
    bounds = [value + narrower * (bound - found.value) for bound in (found.low, found.high)]
    return Level(rows, value, *bounds) if np.isfinite([value, *bounds]).all() else None


def enough(spec: ModelSpec, joined: pa.Table) -> bool:
    """Return whether the rows suffice for a verdict: `performance.min_rows`, and of a binary task some of each class."""
    if joined.num_rows < spec.performance.min_rows:
        return False
    if spec.task != "binary":
        return True
    positive = int(np.asarray(joined["label"]).sum())
    smaller: int = min(positive, joined.num_rows - positive)
    return smaller >= _LEAST_OF_A_CLASS


def _interval(
    metric: Metric, truth: NDArray[Any], scores: Floats, resamples: int, seed: int
) -> ConfidenceInterval:
    return metric_interval(metric, truth, scores, confidence=CONFIDENCE, resamples=resamples, seed=seed)


def matured_performance(
    spec: ModelSpec, predictions: pa.Table, window: Window, as_of: datetime
) -> ConfidenceInterval | None:
    """Return the primary metric on the predictions whose labels had matured, with its interval; None without any, or of one class.

    Parameters
    ----------
    as_of
        Labels that became known later are not used.
    """
    import pyarrow as pa

    matured = Window(window.start, min(window.end, as_of - spec.label.delay))
    if matured.end <= matured.start:
        return None
    labels = read_labels(spec, matured)
    known = pa.table(
        {"prediction_id": labels[spec.id_column].cast(pa.string()), "label": labels[spec.label.column]}
    )
    wanted = ("predicted",) if spec.task == "multiclass" else ("score", "predicted")
    columns = [name for name in wanted if name in predictions.column_names]
    answers = predictions.select(["prediction_id", *columns])
    # A join has no defined order, and the seeded interval depends on it.
    joined = answers.join(known, "prediction_id", join_type="inner").sort_by("prediction_id")
    named = joined.rename_columns(["prediction_id", *columns, spec.label.column])
    truth, scores = truth_and_scores(
        spec, with_label(spec, named).rename_columns(["prediction_id", *columns, "label"])
    )
    if len(truth) == 0 or (spec.task != "multiclass" and len(np.unique(truth)) < 2):
        return None
    return metric_interval(
        metric_of(spec, performance_metric(spec)),
        truth,
        scores,
        confidence=spec.gate.confidence,
        resamples=_RESAMPLES,
        seed=spec.seed,
    )
