"""The smoke test of a version: its stored example and rows that were asked before, answered beside the champion."""

from __future__ import annotations

import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import ModelFormatError
from evermodel.core.settings import Settings
from evermodel.data.prediction_log import files_of
from evermodel.deployment.rollout.evidence import Smoke
from evermodel.modeling import model_store, tasks
from evermodel.registry.tracking import check_health
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pandas as pd

    from evermodel.registry.client import MlflowClient

_MOST_ROWS = 200
_TIMED_ROWS = 25


def smoke_test(
    spec: ModelSpec, client: MlflowClient, settings: Settings, version: str, champion: str, now: datetime
) -> Smoke:
    """Load a version as serving does, ask it, and time it beside the champion.

    Parameters
    ----------
    now
        Rows of the two days before it are asked again.
    """
    from mlflow.exceptions import MlflowException

    try:
        with tempfile.TemporaryDirectory() as folder:
            model = model_store.load_model(client, f"models:/{spec.name}/{version}", Path(folder))
    except (ModelFormatError, MlflowException, OSError, ImportError) as error:
        check_health(settings.tracking_uri)  # a server that is away is no fault of the version
        return Smoke(0, f"version {version} cannot be loaded: {error}", 0.0, 0.0)
    rows = [model.example, *_asked(spec, settings.lake, now, list(model.example.columns))]
    count = sum(map(len, rows))
    try:
        for frame in rows:
            if not tasks.sound(spec, tasks.predict(spec, model.pipeline, frame)):
                return Smoke(count, f"version {version} gives answers that are none", 0.0, 0.0)
    except Exception as error:  # noqa: BLE001 - whatever it throws, it would throw at callers
        return Smoke(count, f"version {version} throws {type(error).__name__}: {error}", 0.0, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        old = model_store.load_model(client, f"models:/{spec.name}/{champion}", Path(folder))
    return Smoke(count, "", *_milliseconds(spec, model, old))


def _asked(spec: ModelSpec, lake: Path, now: datetime, columns: list[str]) -> list[pd.DataFrame]:
    """Return rows of the prediction log as a model sees them."""
    import pyarrow.parquet as pq

    if not set(columns) <= set(spec.features.names):
        return []
    for file in reversed(files_of(spec, lake, Window(now - timedelta(days=2), now))):
        stored = pq.ParquetFile(file)
        if set(columns) <= set(stored.schema_arrow.names) and stored.metadata.num_rows:
            batch = next(stored.iter_batches(_MOST_ROWS, columns=columns))
            return [batch.to_pandas()[columns]]
    return []


def _milliseconds(spec: ModelSpec, *models: Any) -> list[float]:
    """Return each model's median time of one row, in milliseconds.

    They are asked in turns: a host that is busy for a while slows all of them alike.
    """
    taken: list[list[float]] = [[] for _ in models]
    for number in range(_TIMED_ROWS + 1):
        for model, times in zip(models, taken, strict=True):
            row = model.example.iloc[[number % len(model.example)]]
            began = time.perf_counter()
            tasks.predict(spec, model.pipeline, row)
            times.append(time.perf_counter() - began)
    # The first call pays for everyone.
    return [1000 * sorted(times[1:])[_TIMED_ROWS // 2] for times in taken]
