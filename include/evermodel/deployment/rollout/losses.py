"""The losses of each version by matured labels: the moments of one loss for each request."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evermodel.core.storage import StoragePath
from evermodel.data.dtypes import with_label
from evermodel.data.prediction_log import files_of, log_schema, read_file
from evermodel.data.sources import read_labels
from evermodel.monitoring.performance.label_join import deduplicated
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window
from evermodel.stats.sequential import Moments

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("prediction_id", "event_time", "model_version", "score", "predicted", "source", "request_id")
_EARLIER = timedelta(days=1)  # the source's time of a row may be before that of its prediction
_LEAST = 1e-3  # smallest distance of a probability from 0 and 1, so that one row does not dominate
_TAIL = 0.995  # of a regression's errors; larger ones count as this quantile of all versions' errors
Floats = NDArray[np.float64]


def loss_name(spec: ModelSpec) -> str:
    """Return the name of the loss."""
    if spec.task == "binary":
        return "log loss" if spec.gate.metric == "log_loss" else "Brier score"
    if spec.task == "multiclass":
        return "share of wrong classes"
    return "absolute error" if spec.gate.metric == "mae" else "squared error"


def losses_by_version(
    spec: ModelSpec, lake: StoragePath, since: datetime, now: datetime, versions: Collection[str]
) -> dict[str, Moments]:
    """Return the moments of the losses by version, of answers that were returned to callers.

    A request counts once, with the mean of its rows, because the rows of one request resemble each other. Errors of
    regressions are limited to the 99.5 % quantile over both versions, so that outliers do not dominate.

    Parameters
    ----------
    since
        Earlier answers do not count.
    now
        Labels that have not matured by now are not read.

    Raises
    ------
    SourceError
        The labels cannot be read.
    """
    window = Window(since, now - spec.label.delay)
    if window.end <= window.start:
        return {}
    answers = _answers(spec, lake, window, versions)
    if answers.num_rows == 0:
        return {}
    joined = _labelled(spec, answers, Window(window.start - _EARLIER, window.end))
    losses = _losses(spec, joined)
    names, requests = np.asarray(joined["model_version"]), np.asarray(joined["request_id"])
    return {
        version: Moments.of(_by_request(losses[names == version], requests[names == version]))
        for version in versions
        if (names == version).any()
    }


def _answers(spec: ModelSpec, lake: StoragePath, window: Window, versions: Collection[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = pa.schema([field for field in log_schema(spec) if field.name in _COLUMNS])
    filters = window.filter("event_time") & (pc.field("source") == "online")
    filters &= pc.field("model_version").isin(list(versions))
    tables = [read_file(file, schema, filters) for file in files_of(spec, lake, window)]
    return deduplicated(pa.concat_tables([schema.empty_table(), *tables]))


def _labelled(spec: ModelSpec, answers: pa.Table, window: Window) -> pa.Table:
    """Return the usable answers that have a label, with the label."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = with_label(spec, read_labels(spec, window))
    # `index_in` finds the first row of an id: its latest label, as in the label log.
    rows = rows.sort_by([(spec.time_column, "descending"), (spec.label.column, "descending")])
    ids = rows[spec.id_column].cast(pa.string()).combine_chunks()
    label = pc.take(rows[spec.label.column], pc.index_in(answers["prediction_id"], ids))
    usable = pc.is_valid(label)
    if spec.task == "multiclass":
        usable = pc.and_(usable, pc.is_valid(answers["predicted"]))
    else:
        usable = pc.and_(usable, pc.fill_null(pc.is_finite(answers["score"]), False))
    return answers.append_column("label", label).filter(usable)


def _losses(spec: ModelSpec, joined: pa.Table) -> Floats:
    if spec.task == "multiclass":
        wrong: Any = np.asarray(joined["label"]).astype(str) != np.asarray(joined["predicted"]).astype(str)
        return np.asarray(wrong, dtype=np.float64)
    truth = np.asarray(joined["label"], dtype=np.float64)
    score = np.asarray(joined["score"], dtype=np.float64)
    if spec.task == "binary":
        if spec.gate.metric != "log_loss":
            return np.asarray((score - truth) ** 2)
        clipped = np.clip(score, _LEAST, 1 - _LEAST)
        return np.asarray(-(truth * np.log(clipped) + (1 - truth) * np.log1p(-clipped)))
    errors = np.abs(score - truth)
    errors = np.minimum(errors, np.quantile(errors, _TAIL)) if len(errors) else errors
    return errors if spec.gate.metric == "mae" else errors**2


def _by_request(losses: Floats, requests: NDArray[Any]) -> Floats:
    _, places = np.unique(requests.astype(str), return_inverse=True)
    means: Floats = np.bincount(places, weights=losses) / np.bincount(places)
    return means
