"""The losses of each version by matured labels: compared within a day, by draws of whole subjects."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
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
from evermodel.stats.clusters import Clusters
from evermodel.stats.sequential import Moments

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("prediction_id", "event_time", "model_version", "score", "predicted", "source", "request_id")
_SUBJECT = "subject_hash"  # null where one version answered all requests, and in files of earlier releases
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

    A request counts once, with the mean of its rows, and the requests of a subject are drawn together, because they resemble
    each other: those of one value of the spec's `cluster` where that is a column, else of one subject of the split, else
    each request by itself. Days count alike for all versions, so that a share that changes in a season does not favour
    one. Errors of regressions are limited to the 99.5 % quantile over both versions, so that outliers do not dominate.

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
    return compared(_by_request(spec, joined))


@dataclass(frozen=True)
class RequestLosses:
    """The loss of each request, with its version, its day (by number) and the subject whose requests belong together."""

    losses: Floats
    versions: NDArray[Any]
    days: NDArray[np.intp]
    subjects: NDArray[Any]


def compared(requests: RequestLosses) -> dict[str, Moments]:
    """Return the moments by version, of the days on which all of them answered; a day has the same weight for all.

    The weight is the harmonic one of Cochran (1954), Some methods for strengthening the common χ² tests, Biometrics 10:
    a day tells as much of the difference as its smaller part has requests.
    """
    names = np.unique(requests.versions)
    days = int(requests.days.max(initial=0)) + 1
    counts = np.array(
        [np.bincount(requests.days[requests.versions == name], minlength=days) for name in names]
    )
    with np.errstate(divide="ignore"):
        weights = 1 / (1 / counts).sum(axis=0)
    found = {}
    for name, counted in zip(names, counts, strict=True):
        kept = (requests.versions == name) & (weights[requests.days] > 0)
        if kept.any():
            on = requests.days[kept]
            clusters = Clusters.of(requests.subjects[kept])
            found[str(name)] = Moments.of_clusters(
                requests.losses[kept], (weights / np.maximum(counted, 1))[on], on, clusters
            )
    return found


def _answers(spec: ModelSpec, lake: StoragePath, window: Window, versions: Collection[str]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = {*_COLUMNS, spec.cluster} if spec.cluster in spec.logged else {*_COLUMNS}
    schema = pa.schema([field for field in log_schema(spec) if field.name in columns])
    schema = schema.append(pa.field(_SUBJECT, pa.string()))
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


def _by_request(spec: ModelSpec, joined: pa.Table) -> RequestLosses:
    import pyarrow as pa
    import pyarrow.compute as pc

    units = [_SUBJECT, "request_id"]
    if spec.cluster in spec.logged:
        units.insert(0, spec.cluster)
    subjects = pc.coalesce(*(joined[unit].cast(pa.string()) for unit in units))
    version = _codes(joined["model_version"])
    _, first, places = np.unique(
        version * joined.num_rows + _codes(joined["request_id"]), return_index=True, return_inverse=True
    )
    means: Floats = np.bincount(places, weights=_losses(spec, joined)) / np.bincount(places)
    day = np.asarray(joined["event_time"]).astype("datetime64[D]")[first]
    days = np.unique(day, return_inverse=True)[1]
    versions = np.asarray(joined["model_version"])[first].astype(str)
    return RequestLosses(means, versions, days, _codes(subjects)[first])


def _codes(values: pa.ChunkedArray[Any]) -> NDArray[np.intp]:
    """Number the different texts of a column."""
    return np.asarray(values.combine_chunks().dictionary_encode().indices).astype(np.intp)
