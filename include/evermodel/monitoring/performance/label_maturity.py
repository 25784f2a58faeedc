"""The primary metric on predictions with matured labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evermodel.data.labels import with_label
from evermodel.data.sources import read_labels
from evermodel.modeling.tasks import metric_of
from evermodel.monitoring.performance.answers import performance_metric, truth_and_scores
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window
from evermodel.stats.bootstrap import ConfidenceInterval, metric_interval

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

_RESAMPLES = 500


def matured_performance(
    spec: ModelSpec, predictions: pa.Table, window: Window, as_of: datetime
) -> ConfidenceInterval | None:
    """Return the primary metric on the predictions whose labels had matured, with its interval.

    Parameters
    ----------
    predictions
        Rows of the prediction log.
    as_of
        Labels that became known later are not used.

    Returns
    -------
    None without matured labels, or with one class only.
    """
    import pyarrow as pa

    matured = Window(window.start, min(window.end, as_of - spec.label.delay))
    if matured.end <= matured.start:
        return None
    labels = read_labels(spec, matured)
    known = pa.table(
        {"prediction_id": labels[spec.id_column].cast(pa.string()), "label": labels[spec.label.column]}
    )
    answer = "predicted" if spec.task == "multiclass" else "score"
    answers = predictions.select(["prediction_id", answer])
    # A join has no defined order, and the seeded interval depends on it.
    joined = answers.join(known, "prediction_id", join_type="inner").sort_by("prediction_id")
    named = joined.rename_columns(["prediction_id", answer, spec.label.column])
    truth, scores = truth_and_scores(
        spec, with_label(spec, named).rename_columns(["prediction_id", answer, "label"])
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
