"""A small model and its rows, for tests of single parts of the domain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from evermodel.core.settings import Settings
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window

if TYPE_CHECKING:
    from mlflow import MlflowClient

START = datetime(2024, 1, 1, tzinfo=UTC)


def moment(days: float) -> datetime:
    """So many days after the first of January 2024."""
    return START + timedelta(days=days)


def between(start: float, end: float) -> Window:
    return Window(moment(start), moment(end))


def small_spec(path: Path | str, **sections: Any) -> ModelSpec:
    """A model with two numbers and a category, whose label is known a day later and whose snapshot covers six days."""
    data: dict[str, Any] = {
        "name": "small",
        "source": {"path": str(path)},
        "time_column": "at",
        "id_column": "id",
        "label": {"column": "late", "delay": "1d"},
        "features": {"numeric": ["temp", "wind"], "categorical": ["carrier"]},
        "split": {"train": "4d", "validation": "1d", "test": "1d"},
        "candidates": [{"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression"}],
        "validation": {"min_rows": 1},
    }
    return ModelSpec.model_validate(data | sections)


def small_rows(days: int = 10, per_day: int = 8, **columns: Any) -> pa.Table:
    """Evenly spread rows from the first of January 2024 on; columns given here replace the usual ones."""
    count = days * per_day
    table = {
        "id": [f"r{n:05d}" for n in range(count)],
        "at": pa.array([moment(n / per_day) for n in range(count)], pa.timestamp("us", tz="UTC")),
        "temp": [float(n % 7) for n in range(count)],
        "wind": [n % 5 for n in range(count)],
        "carrier": ["AA" if n % 3 else "BB" for n in range(count)],
        "late": [n % 2 for n in range(count)],
        "note": ["not a feature"] * count,
    }
    return pa.table({name: column for name, column in (table | columns).items() if column is not None})


def write_rows(file: Path, table: pa.Table | None = None) -> Path:
    pq.write_table(small_rows() if table is None else table, file)
    return file


def settings_in(folder: Path) -> Settings:
    environment = {"AIRFLOW_HOME": str(folder), "EVERMODEL_HOME": str(folder / "home")}
    return Settings.from_environment(environment)


def publish(spec: ModelSpec, client: MlflowClient, key: str = "first", temp_matters: bool = True) -> Any:
    """Fit the spec's candidate on small rows, make it the champion, and return the fitted pipeline."""
    from evermodel.data.dtypes import feature_frame
    from evermodel.modeling import model_store
    from evermodel.modeling.estimators import build_pipeline
    from evermodel.registry import tracking
    from evermodel.registry.registry import ModelRegistry

    rows = small_rows()
    frame = feature_frame(spec, rows)
    column = frame["temp" if temp_matters else "wind"]
    pipeline = build_pipeline(spec, spec.candidates[0]).fit(frame, (column > column.median()).astype(int))
    run = client.create_run(tracking.experiment_id(client, spec.name))
    scores = pipeline.predict_proba(frame)[:, 1]
    uri = model_store.log_model(client, run.info.run_id, pipeline, frame, scores, ["scikit-learn"])
    registry = ModelRegistry(client)
    made = registry.register(spec.name, key, source=uri, run_id=run.info.run_id, tags={})
    with registry.holding(spec.name) as held:
        champion = held.entry.champion
        registry.promote(held, str(made.version), expected=champion, by="test", reason="test", run_key=key)
    return pipeline
