"""The effect of a promotion: the replaced version scores the champion's rows offline, and both are compared by day."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from evermodel.core.atomic import replacing
from evermodel.core.formats import PARQUET_METADATA, require_known_parquet
from evermodel.core.paths import inside
from evermodel.core.storage import StoragePath, readable
from evermodel.data.prediction_log import read_log
from evermodel.monitoring.drift.verdict import PromotionEffect
from evermodel.monitoring.performance.answers import (
    enough,
    metric_to_watch,
    performance_metric,
    truth_and_scores,
)
from evermodel.monitoring.performance.label_join import deduplicated, spans_of
from evermodel.monitoring.performance.label_log import LabelLog
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window, whole_day
from evermodel.stats.sequential import daily_mean

if TYPE_CHECKING:
    import pyarrow as pa

    from evermodel.modeling.model_store import LoadedModel

_LOG = logging.getLogger(__name__)
LEVEL = 0.05  # chance that a promotion that lost at most the margin is ever said to have lost more
_MOST_ROWS = 20_000  # of a day: more narrow the interval of a mean of days by nothing that counts
_DAY = timedelta(days=1)
_SIDES = ("prediction_id", "event_time", "score", "predicted", "replaced_score", "replaced_predicted")


@dataclass(frozen=True)
class WatchedPromotion:
    """A promotion whose effect is watched.

    Parameters
    ----------
    replaced
        The version that a rollback would go to.
    """

    version: str
    replaced: str
    at: datetime


def promotion_effect(
    spec: ModelSpec,
    lake: StoragePath,
    as_of: datetime,
    watched: WatchedPromotion,
    margin: float,
    load: Callable[[], LoadedModel],
) -> PromotionEffect:
    """Compare the champion with the version that it replaced, on the rows since the promotion whose labels have matured.

    What moves both versions' metrics alike, such as a hard week, cancels out. The replaced version scores each day once;
    its answers are kept in the lake. Only labels that the evaluation of performance has read are used.

    Parameters
    ----------
    margin
        Loss that counts, in units of the metric.
    load
        Loads the replaced version; called only if a day is new.

    Returns
    -------
    The effect; without a value, and with a note, where it cannot be known. A version that cannot be loaded is no error.
    """
    unknown = PromotionEffect(
        version=watched.version,
        replaced=watched.replaced,
        metric=performance_metric(spec),
        since=watched.at.isoformat(),
        margin=margin,
        level=LEVEL,
    )
    if spec.task == "ranking":
        return replace(unknown, note="not measured for a ranking")
    window = Window(whole_day(watched.at) - _DAY, whole_day(as_of - spec.label.delay))
    if window.end <= window.start:
        return replace(unknown, note="no label has matured yet")
    try:
        rows = _answers(spec, lake, window, watched, load)
    except Exception as error:  # noqa: BLE001 - whatever an old model does, the verdict does not depend on it
        _LOG.warning("version %s of %s cannot be compared", watched.replaced, spec.name, exc_info=True)
        return replace(unknown, note=f"version {watched.replaced} cannot score these rows: {_first(error)}")
    return measured(spec, unknown, _labelled(spec, rows, LabelLog(spec, lake).kept_until(window, as_of)))


def measured(spec: ModelSpec, unknown: PromotionEffect, joined: pa.Table) -> PromotionEffect:
    """Return an effect that is measured on rows with their label and the answers of both versions."""
    gains, counted = _gains(spec, joined)
    if not gains:
        return replace(unknown, rows=joined.num_rows, note=f"{joined.num_rows} labels are too few")
    found = daily_mean(gains, LEVEL)
    known = bool(np.isfinite(found.low))
    return replace(
        unknown,
        days=found.days,
        rows=counted,
        gain=found.mean,
        low=found.low if known else None,
        high=found.high if known else None,
    )


def answers_file(spec: ModelSpec, lake: StoragePath, watched: WatchedPromotion, day: date) -> StoragePath:
    """Return the file that keeps both versions' answers to the rows of a day."""
    folder = inside(lake / "replaced" / spec.name, f"version={watched.version}-{watched.replaced}")
    return folder / f"date={day}.parquet"


def _answers(
    spec: ModelSpec,
    lake: StoragePath,
    window: Window,
    watched: WatchedPromotion,
    load: Callable[[], LoadedModel],
) -> pa.Table:
    """Return both versions' answers to the champion's rows of whole days; days that are new are scored."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    model: LoadedModel | None = None
    tables = []
    for number in range((window.end - window.start) // _DAY):
        start = window.start + number * _DAY
        file = answers_file(spec, lake, watched, start.date())
        if not file.exists():
            rows = _rows_of(spec, lake, Window(start, start + _DAY), watched.version)
            if rows.num_rows and model is None:
                model = load()
            with replacing(file) as temporary:
                table = _both(spec, rows, model)
                pq.write_table(table.replace_schema_metadata(PARQUET_METADATA), temporary)
        table = pq.read_table(readable(file), partitioning=None)
        require_known_parquet(table.schema.metadata, file)
        tables.append(table)
    return pa.concat_tables(tables)


def _rows_of(spec: ModelSpec, lake: StoragePath, day: Window, version: str) -> pa.Table:
    import pyarrow.compute as pc

    log = read_log(spec, lake, day)
    rows = deduplicated(log.filter(pc.equal(log["model_version"], version)))
    if rows.num_rows <= _MOST_ROWS:
        return rows
    chosen = np.random.default_rng(spec.seed).choice(rows.num_rows, _MOST_ROWS, replace=False)
    return rows.take(np.sort(chosen).tolist())


def _both(spec: ModelSpec, rows: pa.Table, model: LoadedModel | None) -> pa.Table:
    import pyarrow as pa

    from evermodel.data.dtypes import feature_frame
    from evermodel.modeling.tasks import scores_and_classes

    scores: list[float] = []
    predicted: list[str] | None = []
    if model is not None and rows.num_rows:
        frame = feature_frame(spec, rows)
        found, predicted = scores_and_classes(spec, model.pipeline, frame, model.threshold)
        scores = found.tolist()
    names = pa.nulls(len(scores), pa.string()) if predicted is None else pa.array(predicted, pa.string())
    columns = [rows[name].combine_chunks() for name in _SIDES[:4]]
    return pa.table(dict(zip(_SIDES, [*columns, pa.array(scores, pa.float64()), names], strict=True)))


def _labelled(spec: ModelSpec, rows: pa.Table, labels: pa.Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    places = pc.index_in(rows["prediction_id"], labels["prediction_id"].combine_chunks())
    label = pc.take(labels["label"], places)
    joined = rows.append_column("label", label.cast(pa.int8()) if spec.task == "binary" else label)
    usable = pc.and_(pc.is_finite(joined["score"]), pc.is_finite(joined["replaced_score"]))
    return joined.filter(pc.and_(pc.fill_null(usable, False), pc.is_valid(joined["label"])))


def _gains(spec: ModelSpec, joined: pa.Table) -> tuple[list[float], int]:
    """Return the gain of each day, and the rows of these days; a day with too few rows is joined to the next."""
    import pyarrow as pa

    gains: list[float] = []
    waiting, counted = joined.slice(0, 0), 0
    for _, rows in sorted(spans_of(joined).items()):
        waiting = pa.concat_tables([waiting, rows])
        gain = _gain(spec, waiting) if enough(spec, waiting) else float("nan")
        if np.isfinite(gain):
            gains.append(gain)
            counted += waiting.num_rows
            waiting = joined.slice(0, 0)
    return gains, counted


def _gain(spec: ModelSpec, rows: pa.Table) -> float:
    """Return by how much the champion's metric is better."""
    metric = metric_to_watch(spec)
    theirs = rows.select(["label", "replaced_score", "replaced_predicted"])
    sides = (
        rows.select(["label", "score", "predicted"]),
        theirs.rename_columns(["label", "score", "predicted"]),
    )
    values = [metric(*truth_and_scores(spec, side)) for side in sides]
    return float(metric.gain(*values))


def _first(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0][:200]
