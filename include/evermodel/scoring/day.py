"""Batch scoring: the champion answers for every row of a day."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel import registry
from evermodel.errors import EmptyWindowError
from evermodel.frames import feature_frame
from evermodel.model_store import load_model
from evermodel.prediction_log import log_schema, write_batch
from evermodel.settings import Settings
from evermodel.sources import read_window
from evermodel.spec import ModelSpec
from evermodel.tasks import points
from evermodel.window import last_day, whole_day

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from mlflow import MlflowClient

    from evermodel.gate.metrics import Floats


@dataclass(frozen=True)
class ScoredDay:
    """What scoring one day left behind."""

    model: str
    day: str
    version: str
    rows: int
    mean_score: float
    path: str

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for XCom."""
        return asdict(self)


def score_day(spec: ModelSpec, as_of: datetime, client: MlflowClient, settings: Settings) -> ScoredDay:
    """Score the whole day before a moment with the champion and write it to the prediction log.

    Raises
    ------
    NoChampionError
        Nothing serves yet.
    EmptyWindowError
        The day has no row.
    """
    window = last_day(whole_day(as_of))
    day = f"{window.start:%Y-%m-%d}"
    version = registry.champion(client, spec.name)
    rows = read_window(spec, window, with_label=False)
    if rows.num_rows == 0:
        raise EmptyWindowError(
            f"model {spec.name}: there is no row to score on {day}",
            "check that the data of that day has arrived, then clear this task",
        )
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(client, f"models:/{spec.name}/{version.version}", Path(folder))
    frame = feature_frame(spec, rows)
    scores, predicted = points(spec, model.pipeline, frame)
    table = _log_table(spec, rows, frame, scores, predicted, str(version.version))
    path = write_batch(spec, settings.lake, day, table)
    return ScoredDay(
        spec.name,
        day,
        str(version.version),
        rows.num_rows,
        float(scores.mean()),
        str(path.relative_to(settings.lake)),
    )


def _log_table(
    spec: ModelSpec,
    rows: pa.Table,
    frame: pd.DataFrame,
    scores: Floats,
    predicted: list[str] | None,
    version: str,
) -> pa.Table:
    import pyarrow as pa

    schema = log_schema(spec)
    count = rows.num_rows
    columns: dict[str, Any] = {
        "prediction_id": rows[spec.id_column].cast(pa.string()),
        "event_time": rows[spec.time_column],
        "model_version": pa.array([version] * count, pa.string()),
        "score": pa.array(scores),
        "predicted": pa.nulls(count, pa.string()) if predicted is None else pa.array(predicted, pa.string()),
        "source": pa.array(["batch"] * count, pa.string()),
        "request_id": pa.nulls(count, pa.string()),
    }
    for name in spec.features.names:
        columns[name] = pa.array(frame[name], schema.field(name).type, from_pandas=True)
    return pa.table(columns, schema=schema)
