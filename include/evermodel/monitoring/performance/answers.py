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
from evermodel.modeling.tasks import distinct_labels, encode, labels_in, metric_of
from evermodel.monitoring.drift.columns import days_of
from evermodel.spec import ModelSpec
from evermodel.spec.parts import BY_DAY, BY_ROW
from evermodel.spec.window import Window
from evermodel.stats.bootstrap import ConfidenceInterval, metric_interval
from evermodel.stats.clusters import Clusters
from evermodel.stats.metrics import Floats, Metric
from evermodel.stats.ranked_lists import whole_groups

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

CONFIDENCE = 0.95
_RESAMPLES = 500
_NORMAL = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
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
    """A metric on some rows, with its 95 % interval and standard error.

    Parameters
    ----------
    freedom
        Degrees of freedom of the interval: one less than the clusters it was drawn from; infinite for single rows.
    clusters
        What was drawn, such as "7 days"; empty for single rows.
    too_few
        Whether the clusters are too few for an interval, which is then that of single rows.
    """

    rows: int
    value: float
    low: float
    high: float
    freedom: float = math.inf
    clusters: str = ""
    too_few: bool = False

    @property
    def error(self) -> float:
        """Standard error, derived from the interval."""
        from scipy.special import stdtrit

        quantile = _NORMAL if math.isinf(self.freedom) else stdtrit(self.freedom, (1 + CONFIDENCE) / 2)
        return float((self.high - self.low) / (2 * quantile))


def truth_and_scores(spec: ModelSpec, joined: pa.Table) -> tuple[NDArray[Any], Floats]:
    """Return labels and predictions in the form of the task's metrics.

    Parameters
    ----------
    joined
        Rows with the columns ``label``, and ``score`` or (multiclass) ``predicted``. A metric of decisions takes those in
        ``predicted``, where there are any.
    """
    labels = labels_in(spec, joined, "label")
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


def level(
    spec: ModelSpec, joined: pa.Table, *, resamples: int = 500, clusters: Clusters | None = None
) -> Level | None:
    """Measure the monitored metric on joined rows, with its bootstrap interval.

    Parameters
    ----------
    clusters
        Rows that belong together (`clusters_in`); without, each row is taken for independent of the others.

    Returns
    -------
    None with fewer than two rows or a single label value (then rank and variance metrics do not exist).
    """
    truth, scores = truth_and_scores(spec, joined)
    if len(truth) < 2 or (spec.task != "multiclass" and distinct_labels(truth) < 2):
        return None
    metric, rows = metric_to_watch(spec), len(truth)
    value, chosen = metric(truth, scores), np.arange(rows)
    if rows > _MOST_ROWS:
        chosen = _sampled(truth, spec.seed)
    truth, scores = truth[chosen], scores[chosen]
    some = None if clusters is None else clusters.of_rows(chosen)
    narrower = math.sqrt(min(1.0, _MOST_ROWS / rows))
    if some is None or some.too_few:
        low, high = (narrower * b for b in _bounds(metric, truth, scores, resamples, spec.seed, None))
    else:
        low, high = _bounds(metric, truth, scores, resamples, spec.seed, some)
        if rows > _MOST_ROWS:  # what lies between clusters does not shrink with their rows
            alone = _bounds(metric, truth, scores, resamples, spec.seed, None)
            low, high = (_wider(t, a, narrower) for t, a in zip((low, high), alone, strict=True))
    if not np.isfinite([value, low, high]).all():
        return None
    if some is None or some.too_few:
        return Level(
            rows, value, value + low, value + high, clusters=str(some or ""), too_few=some is not None
        )
    return Level(rows, value, value + low, value + high, some.effective - 1, str(some))


def _sampled(truth: NDArray[Any], seed: int) -> NDArray[np.intp]:
    """Return `_MOST_ROWS` of the rows in their order; of a ranking, about so many in whole groups."""
    if truth.ndim == 2:
        return whole_groups(truth, _MOST_ROWS, seed)
    return np.sort(np.random.default_rng(seed).choice(len(truth), _MOST_ROWS, replace=False))


def _wider(together: float, alone: float, narrower: float) -> float:
    """Return a bound of clusters with more rows: the part between them stays, the part within them is as of more rows."""
    between = max(together**2 - alone**2, 0.0)
    return math.copysign(math.sqrt(between + (narrower * alone) ** 2), together)


def clusters_in(spec: ModelSpec, rows: pa.Table) -> Clusters | None:
    """Return which joined rows, or test rows, belong together, as the spec says; None if each counts alone.

    A table without times, or without the feature, counts row by row.
    """
    if spec.cluster == BY_DAY:
        for name in ("event_time", spec.time_column):
            if name in rows.column_names:
                return Clusters.of(days_of(rows[name]), "days")
    if spec.cluster in (BY_ROW, BY_DAY) or spec.cluster not in rows.column_names:
        return None
    return Clusters.of(np.asarray(rows[spec.cluster]).astype(str), f"values of {spec.cluster}")


def enough(spec: ModelSpec, joined: pa.Table) -> bool:
    """Return whether the rows suffice for a verdict: `performance.min_rows`, and of a binary task some of each class."""
    if joined.num_rows < spec.performance.min_rows:
        return False
    if spec.task != "binary":
        return True
    positive = int(np.asarray(joined["label"]).sum())
    smaller: int = min(positive, joined.num_rows - positive)
    return smaller >= _LEAST_OF_A_CLASS


def _bounds(
    metric: Metric,
    truth: NDArray[Any],
    scores: Floats,
    resamples: int,
    seed: int,
    clusters: Clusters | None,
) -> tuple[float, float]:
    """Return both bounds of the interval as distances from its value."""
    found = metric_interval(
        metric, truth, scores, confidence=CONFIDENCE, resamples=resamples, seed=seed, clusters=clusters
    )
    return found.low - found.value, found.high - found.value


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
    wanted = ["predicted"] if spec.task == "multiclass" else ["score", "predicted"]
    wanted += [spec.group_column] if spec.group_column else []
    columns = [name for name in wanted if name in predictions.column_names]
    answers = predictions.select(["prediction_id", *columns])
    # A join has no defined order, and the seeded interval depends on it.
    joined = answers.join(known, "prediction_id", join_type="inner").sort_by("prediction_id")
    named = joined.rename_columns(["prediction_id", *columns, spec.label.column])
    truth, scores = truth_and_scores(
        spec, with_label(spec, named).rename_columns(["prediction_id", *columns, "label"])
    )
    if len(truth) == 0 or (spec.task != "multiclass" and distinct_labels(truth) < 2):
        return None
    return metric_interval(
        metric_of(spec, performance_metric(spec)),
        truth,
        scores,
        confidence=spec.gate.confidence,
        resamples=_RESAMPLES,
        seed=spec.seed,
    )
