"""How good the predictions turned out to be, once their labels are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evermodel.gate.bootstrap import Interval, metric_interval
from evermodel.gate.metrics import METRICS
from evermodel.sources import read_labels
from evermodel.spec import ModelSpec
from evermodel.window import Window

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

_RESAMPLES = 500


def matured_performance(
    spec: ModelSpec, predictions: pa.Table, window: Window, as_of: datetime
) -> Interval | None:
    """Return the primary metric on the predictions whose labels had matured, with its interval.

    Parameters
    ----------
    predictions
        Rows of the prediction log.
    as_of
        Labels that became known later are not used.

    Returns
    -------
    None when no label has matured, or when all are of one class.
    """
    import pyarrow as pa

    matured = Window(window.start, min(window.end, as_of - spec.label.delay))
    if matured.end <= matured.start:
        return None
    labels = read_labels(spec, matured)
    key, label = labels[spec.id_column].cast(pa.string()), labels[spec.label.column].cast(pa.float64())
    known = pa.table({"prediction_id": key, "label": label})
    joined = predictions.select(["prediction_id", "score"]).join(known, "prediction_id", join_type="inner")
    joined = joined.filter(pa.compute.is_valid(joined["label"]))
    truth = joined["label"].to_numpy()
    if len(np.unique(truth)) < 2:
        return None
    return metric_interval(
        METRICS[spec.gate.metric],
        truth,
        joined["score"].to_numpy(),
        confidence=spec.gate.confidence,
        resamples=_RESAMPLES,
        seed=spec.seed,
    )
