"""A model without a registry: tables stand for training rows and for the prediction log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evermodel.data.prediction_log import log_schema, write_plain_day
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.drift.profiles import Profiles
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window
from support.small_spec import small_spec

START = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday
DAY = timedelta(days=1)
RATE = 0.05


def drift_spec(numeric: list[str], categorical: list[str] | None = None, **drift: Any) -> ModelSpec:
    """Return a spec whose rows are the draws, as they are drawn; ``sections`` may say otherwise."""
    sections = {"cluster": "row", **drift.pop("sections", {})}
    return small_spec(
        features={"numeric": numeric, "categorical": categorical or []},
        drift={"false_alarm_rate": RATE, "min_rows": 1, **drift},
        **sections,
    )


def table(columns: dict[str, Any], days: Any = 0) -> pa.Table:
    """Rows of some columns that happened on some days after the start."""
    rows = len(next(iter(columns.values())))
    offsets = np.broadcast_to(np.asarray(days), (rows,)).astype(np.int64) * 86_400_000_000
    moments = offsets + int(START.timestamp() * 1e6)
    return pa.table({**columns, "at": pa.array(moments).cast(pa.timestamp("us", tz="UTC"))})


def references(
    spec: ModelSpec, training: pa.Table, window: Window | None = None, lake: Path = Path("/nowhere")
) -> References:
    """Training rows of 60 days from the start, and the window right after them."""
    end = START + 60 * DAY
    return References(
        spec,
        window or Window(end, end + spec.drift.window),
        "1",
        training,
        Window(START, end),
        Profiles(spec, lake),
    )


def judge(spec: ModelSpec, training: pa.Table, window: pa.Table) -> tuple[ColumnDrift, ...]:
    return judge_window(spec, references(spec, training), window)


def log_day(
    spec: ModelSpec, lake: Path, day: datetime, columns: dict[str, Any], version: str = "1", score: Any = None
) -> None:
    """Write the predictions of one day."""
    rows = len(next(iter(columns.values())))
    schema = log_schema(spec)
    data: dict[str, Any] = {
        "prediction_id": [f"{day:%Y%m%d}-{row}" for row in range(rows)],
        "event_time": [day] * rows,
        "model_version": [version] * rows,
        "score": np.full(rows, 0.5) if score is None else score,
        "predicted": [None] * rows,
        "source": ["batch"] * rows,
        "request_id": [None] * rows,
        **columns,
    }
    arrays = [
        pa.array(data[name], field.type, from_pandas=True)
        for name, field in zip(schema.names, schema, strict=True)
    ]
    write_plain_day(spec, lake, f"{day:%Y-%m-%d}", pa.Table.from_arrays(arrays, schema=schema))
