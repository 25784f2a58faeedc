"""The smoke test of a version: its stored example and logged rows, timed beside the champion."""

from __future__ import annotations

import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.core.errors import ModelFormatError
from evermodel.core.settings import Settings
from evermodel.core.storage import StoragePath, readable
from evermodel.data.prediction_log import files_of
from evermodel.deployment.rollout.evidence import Smoke
from evermodel.modeling import model_store, tasks
from evermodel.registry.tracking import check_health, may_pass
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
    """Load a version as serving does, predict, and time it beside the champion.

    Parameters
    ----------
    now
        Rows logged in the two days before are predicted again.
    """
    from mlflow.exceptions import MlflowException

    try:
        with tempfile.TemporaryDirectory() as folder:
            model = _load(spec, client, version, folder)
    except (ModelFormatError, MlflowException, OSError, ImportError) as error:
        check_health(settings.tracking_uri)  # an unavailable server is no error of the version
        if may_pass(error):
            raise
        return Smoke(0, f"version {version} cannot be loaded: {error}", 0.0, 0.0)
    rows = [model.example, *_logged_rows(spec, settings.lake, now, list(model.example.columns))]
    count = sum(map(len, rows))
    try:
        for frame in rows:
            if not tasks.sound(spec, tasks.predict(spec, model.pipeline, frame)):
                return Smoke(count, f"version {version} returns answers that are not valid", 0.0, 0.0)
    except Exception as error:  # noqa: BLE001 - callers would get any of its errors
        return Smoke(count, f"version {version} raises {type(error).__name__}: {error}", 0.0, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        old = _load(spec, client, champion, folder)
    return Smoke(count, "", *_milliseconds(spec, model, old))


def _load(spec: ModelSpec, client: MlflowClient, version: str, folder: str) -> model_store.LoadedModel:
    uri = f"models:/{spec.name}/{version}"
    return model_store.load_model(client, uri, Path(folder), spec.own_code)


def _logged_rows(spec: ModelSpec, lake: StoragePath, now: datetime, columns: list[str]) -> list[pd.DataFrame]:
    """Return rows of the prediction log with the features of a model."""
    import pyarrow.parquet as pq

    if not set(columns) <= set(spec.features.names):
        return []
    for file in reversed(files_of(spec, lake, Window(now - timedelta(days=2), now))):
        stored = pq.ParquetFile(readable(file))
        if set(columns) <= set(stored.schema_arrow.names) and stored.metadata.num_rows:
            batch = next(stored.iter_batches(_MOST_ROWS, columns=columns))
            return [batch.to_pandas()[columns]]
    return []


def _milliseconds(spec: ModelSpec, *models: model_store.LoadedModel) -> list[float]:
    """Return each model's median time of one row, in milliseconds.

    The models take turns, so that a busy host slows all of them alike.
    """
    taken: list[list[float]] = [[] for _ in models]
    for number in range(_TIMED_ROWS + 1):
        for model, times in zip(models, taken, strict=True):
            row = model.example.iloc[[number % len(model.example)]]
            began = time.perf_counter()
            tasks.predict(spec, model.pipeline, row)
            times.append(time.perf_counter() - began)
    # Without the first call, which is slower.
    return [1000 * sorted(times[1:])[_TIMED_ROWS // 2] for times in taken]
