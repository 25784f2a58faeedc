"""The joined log: every prediction with a due label, once, with the label if it has arrived."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evermodel.core.storage import StoragePath
from evermodel.data.local_engine import engine_of
from evermodel.data.prediction_log import read_log
from evermodel.monitoring.performance.label_log import SMALL_ROWS, LabelLog
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WINDOWS_BEFORE = 4  # before the evaluated one: for the timeline and the calibration of scores
ANSWERS = ("prediction_id", "event_time", "model_version", "score", "predicted", "source", "request_id")

_CALLER = "CASE WHEN contains(request_id, '/') THEN split_part(request_id, '/', 1) END"
_OWN_ROWS = f"""
    SELECT * FROM log QUALIFY {_CALLER} IS NULL OR {_CALLER} = first_value({_CALLER} IGNORE NULLS) OVER (
        PARTITION BY prediction_id ORDER BY event_time, request_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
"""


@dataclass(frozen=True)
class LabelState:
    """Completeness of a window's labels.

    Parameters
    ----------
    predictions
        Predictions whose labels are due.
    labelled
        Those with a label and a usable prediction.
    usual_share
        Share of labels that had arrived for earlier windows; None without any.
    unusable
        Predictions whose score is missing or not finite.
    logged_twice
        Rows of the log that repeat a prediction; the last one counts.
    twice, conflicting, changed, withdrawn
        As in `LabelCounts`, over the window and those before it.
    """

    predictions: int
    labelled: int
    usual_share: float | None
    unusable: int
    logged_twice: int
    twice: int
    conflicting: int
    changed: int
    withdrawn: int


@dataclass(frozen=True)
class LabelJoin:
    """Predictions with their labels.

    Parameters
    ----------
    window
        Interval of the evaluated predictions, whose labels are due.
    rows
        Rows with a label and a usable prediction: the columns of the prediction log, and ``label``.
    before
        The same of the windows before, without the features.
    """

    window: Window
    rows: pa.Table
    before: pa.Table
    state: LabelState

    @property
    def timeline(self) -> pa.Table:
        """All rows with a label, without the features, in the order of time."""
        import pyarrow as pa

        return pa.concat_tables([self.before, self.rows.select(self.before.column_names)])


def answer_columns(spec: ModelSpec) -> list[str]:
    """Return the columns of the log that an evaluation needs beside the features."""
    return [*ANSWERS, *([spec.group_column] if spec.group_column else [])]


def matured_window(spec: ModelSpec, as_of: datetime) -> Window:
    """Return the interval of the predictions whose labels are evaluated at a moment."""
    end = as_of - spec.label.delay
    return Window(end - spec.performance.window, end)


def read_label_join(spec: ModelSpec, lake: StoragePath, as_of: datetime) -> LabelJoin:
    """Join the prediction log with the labels that had matured by a moment.

    Raises
    ------
    SourceError
        The log or the source of the labels cannot be read.
    """
    window = matured_window(spec, as_of)
    first = Window(window.start - WINDOWS_BEFORE * spec.performance.window, window.start)
    return join(
        spec, lake, as_of, read_log(spec, lake, window), read_log(spec, lake, first, answer_columns(spec))
    )


def join(
    spec: ModelSpec, lake: StoragePath, as_of: datetime, predictions: pa.Table, before: pa.Table
) -> LabelJoin:
    """Join predictions of the matured window, and of those before it, with their labels; see `read_label_join`."""
    import pyarrow as pa

    window = matured_window(spec, as_of)
    now, old = deduplicated(predictions), deduplicated(before)
    ids = pa.chunked_array([*now["prediction_id"].chunks, *old["prediction_id"].chunks], pa.string())
    reach = Window(window.start - WINDOWS_BEFORE * spec.performance.window, window.end)
    labels, counts = LabelLog(spec, lake).known_at(reach, as_of, ids)
    rows, unusable = _with_labels(spec, now, labels)
    earlier, _ = _with_labels(spec, old, labels)
    usual = earlier.num_rows / old.num_rows if old.num_rows else None
    again = predictions.num_rows - now.num_rows
    state = LabelState(now.num_rows, rows.num_rows, usual, unusable, again, **asdict(counts))
    return LabelJoin(window, rows, earlier, state)


def with_known_labels(
    spec: ModelSpec, lake: StoragePath, log: pa.Table, window: Window, as_of: datetime
) -> pa.Table:
    """Return the rows with a usable prediction and a label that an evaluation until then has kept."""
    return _with_labels(spec, log, LabelLog(spec, lake).kept_until(window, as_of))[0]


def labelled_rows(spec: ModelSpec, lake: StoragePath, period: Window, as_of: datetime) -> pa.Table:
    """Return the predictions of a period with the labels that were known at a moment: the baseline of a watched model.

    The reading of the labels is kept apart from those of evaluations, which are of other predictions.
    """
    predictions = deduplicated(read_log(spec, lake, period))
    readings = LabelLog(spec, lake / "promises")
    labels, _ = readings.known_at(period, as_of, predictions["prediction_id"])
    return _with_labels(spec, predictions, labels)[0]


def deduplicated(predictions: pa.Table) -> pa.Table:
    """Keep the last row of each prediction: by time, then by version.

    A prediction that is logged again, because its day was scored again or a request was retried, counts once. Of several
    callers of the serving app (the part of ``request_id`` before ``/``), the first one that used an id keeps it.
    """
    import pyarrow.compute as pc

    # Most windows are small and have each prediction once.
    if predictions.num_rows <= SMALL_ROWS:
        ids = predictions["prediction_id"]
        if ids.null_count == 0 and pc.count_distinct(ids).as_py() == len(ids):
            return predictions.sort_by([("event_time", "ascending"), ("prediction_id", "ascending")])
    with engine_of(log=predictions) as database:
        shared = pc.any(pc.match_substring(predictions["request_id"], "/")).as_py()
        source = f"({_OWN_ROWS})" if shared else "log"
        table: pa.Table = database.sql(f"""
            SELECT * FROM {source}
            QUALIFY row_number() OVER (PARTITION BY prediction_id ORDER BY event_time DESC,
                try_cast(model_version AS BIGINT) DESC NULLS LAST, model_version DESC, score DESC) = 1
            ORDER BY event_time, prediction_id
        """).to_arrow_table()
    return table.cast(predictions.schema)


def _with_labels(spec: ModelSpec, log: pa.Table, labels: pa.Table) -> tuple[pa.Table, int]:
    """Return the rows with a label and a usable prediction, and the number of unusable predictions."""
    import pyarrow as pa
    import pyarrow.compute as pc

    answer = log["predicted" if spec.task == "multiclass" else "score"]
    usable = pc.is_valid(answer) if spec.task == "multiclass" else pc.fill_null(pc.is_finite(answer), False)
    label = _labels_of(log, labels)
    if spec.task == "binary":
        label = label.cast(pa.int8())
    rows = log.append_column("label", label).filter(pc.and_(usable, pc.is_valid(label)))
    return rows, int(log.num_rows - (pc.sum(usable).as_py() or 0))


def _labels_of(log: pa.Table, labels: pa.Table) -> pa.ChunkedArray[Any]:
    """Return the label of each row; null without one."""
    if max(log.num_rows, labels.num_rows) <= SMALL_ROWS:
        import pyarrow.compute as pc

        places = pc.index_in(log["prediction_id"], labels["prediction_id"].combine_chunks())
        of_rows: pa.ChunkedArray[Any] = pc.take(labels["label"], places)
        return of_rows
    with engine_of(
        ids=log.select(["prediction_id"]), labels=labels.select(["prediction_id", "label"])
    ) as database:
        found: pa.Table = database.sql("""
            SELECT label FROM (SELECT prediction_id, row_number() OVER () AS place FROM ids)
            LEFT JOIN labels USING (prediction_id) ORDER BY place
        """).to_arrow_table()
    return found["label"].cast(labels.schema.field("label").type)


def label_quality(spec: ModelSpec, state: LabelState) -> tuple[str, ...]:
    """Return the problems of the labels themselves; without new labels a model is not monitored."""
    if state.predictions < spec.performance.min_rows or not spec.labelled:
        return ()
    lines = []
    share = state.labelled / state.predictions
    if state.labelled == 0 or (state.usual_share is not None and share < state.usual_share / 2):
        usual = "" if state.usual_share is None else f" (of the windows before, {state.usual_share:.0%})"
        lines.append(f"labels: {share:.0%} of {state.predictions:,} due labels have arrived{usual}")
    if state.conflicting > 0.01 * max(state.labelled, 1):
        lines.append(f"labels: {state.conflicting:,} predictions have contradictory labels")
    if state.unusable:
        lines.append(f"{state.unusable:,} predictions have no usable score")
    return tuple(lines)


def versions_of(rows: pa.Table) -> tuple[tuple[str, float], ...]:
    """Return the share of each model version, the largest first."""
    names = np.asarray(rows["model_version"]).astype(str)
    found, counts = np.unique(names, return_counts=True)
    pairs = sorted(zip(found.tolist(), counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    return tuple((name, count / len(names)) for name, count in pairs)


def spans_of(
    rows: pa.Table, length: timedelta = timedelta(days=1), end: datetime = _EPOCH
) -> dict[datetime, pa.Table]:
    """Return the rows of each stretch of a length, counted back from an end: of each day (UTC) if none is given."""
    import pyarrow as pa

    micro = timedelta(microseconds=1)
    times = np.asarray(rows["event_time"].cast(pa.int64()))
    numbers = (times - (end - _EPOCH) // micro) // (length // micro)
    return {end + int(n) * length: rows.filter(_mask(numbers == n)) for n in np.unique(numbers)}


def _mask(values: NDArray[np.bool_]) -> pa.Array[Any]:
    import pyarrow as pa

    # From its buffer, because making it from a numpy array imports pandas.
    bits = pa.py_buffer(np.packbits(values, bitorder="little").tobytes())
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, bits])
