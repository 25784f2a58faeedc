"""A real registry with a model in it, for benchmarks of what serves it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from evermodel.cli.local_stack.ports import free_port
from evermodel.cli.local_stack.processes import Service, Supervisor
from evermodel.core.settings import Settings
from evermodel.data.dtypes import feature_frame
from evermodel.modeling import model_store
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.onnx.export_if_equal import keep_if_same
from evermodel.registry import tracking
from evermodel.registry.registry import ModelRegistry
from evermodel.spec import ModelSpec, load_spec

NUMERIC, CATEGORICAL = [f"n{i}" for i in range(12)], [f"c{i}" for i in range(8)]


@dataclass(frozen=True)
class Published:
    """A registry on loopback, and the model it holds.

    Parameters
    ----------
    supervisor
        Starts and ends the processes of the benchmark.
    environment
        What a serving process needs to find both.
    """

    supervisor: Supervisor
    settings: Settings
    spec: ModelSpec
    client: Any
    environment: dict[str, str]

    def publish(self, seed: int, *, promote: bool = True) -> str:
        """Train on data of this seed, register, and promote; return the version."""
        frame = feature_frame(self.spec, rows_of(3000, seed))
        signal = frame["n0"].fillna(0) + frame["n1"].fillna(0) * (1 + seed % 3) + frame["c0"].isin(["a", "b"])
        label = (signal + np.random.default_rng(seed).normal(size=len(frame)) > 0.5).astype(int)
        pipeline = build_pipeline(self.spec, self.spec.candidates[0]).fit(frame, label)
        run = self.client.create_run(tracking.experiment_id(self.client, self.spec.name))
        scores = pipeline.predict_proba(frame)[:, 1]
        uri = model_store.log_model(self.client, run.info.run_id, pipeline, frame, scores, ["scikit-learn"])
        keep_if_same(self.client, uri, pipeline, frame)
        version = ModelRegistry(self.client).register(
            self.spec.name, f"seed-{seed}", source=uri, run_id=run.info.run_id, tags={}
        )
        if promote:
            self.promote(str(version.version), f"promotion of seed {seed}")
        return str(version.version)

    def copied(self, version: str, model: str) -> str:
        """Register the files of a version as a version of another model; return its number."""
        found = self.client.get_model_version(self.spec.name, version)
        source, run_id = str(found.source), str(found.run_id)
        key = f"copy of {version}"
        copy = ModelRegistry(self.client).register(model, key, source=source, run_id=run_id, tags={})
        return str(copy.version)

    def promote(self, version: str, key: str, model: str = "bench") -> None:
        """Make a version the champion."""
        registry = ModelRegistry(self.client)
        with registry.holding(model) as held:
            champion = held.entry.champion
            registry.promote(
                held, version, expected=champion, by="benchmark", reason="benchmark", run_key=key
            )


def rows_of(count: int, seed: int) -> pd.DataFrame:
    """Make rows of 12 numbers and 8 categories (5 to 40 names), 3 % of them missing."""
    generator = np.random.default_rng(seed)
    numbers = {name: generator.normal(size=count) for name in NUMERIC}
    for values in numbers.values():
        values[generator.random(count) < 0.03] = np.nan
    names = [*"abcdefghijklmnopqrstuvwxyz", *(f"z{i}" for i in range(14))]
    chosen = {name: generator.integers(0, 5 * (i + 1), count) for i, name in enumerate(CATEGORICAL)}
    texts = {name: pd.Series([names[i] for i in found], dtype=object) for name, found in chosen.items()}
    for categories in texts.values():
        categories[generator.random(count) < 0.03] = None
    return pd.DataFrame({**numbers, **texts})


@contextmanager
def published(folder: Path, iterations: int = 100) -> Iterator[Published]:
    """Start a real MLflow server on loopback, and end it."""
    port = free_port()
    settings = Settings(
        home=folder / "home",
        lake=folder / "lake",
        models=folder / "models",
        tracking_uri=f"http://127.0.0.1:{port}",
        dvc_remote=str(folder / "dvc"),
        airflow_url="http://127.0.0.1:8080",
    )
    settings.models.mkdir(parents=True)
    (settings.models / "bench.yaml").write_text(yaml.safe_dump(_spec(iterations)))
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "EVERMODEL_HOME": str(settings.home),
        "EVERMODEL_LAKE": str(settings.lake),
        "EVERMODEL_MODELS": str(settings.models),
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
    }
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    store += ["--artifacts-destination", str(folder / "artifacts"), "--workers", "1"]
    server = (sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *store)
    with Supervisor(folder / "home") as supervisor:
        supervisor.start([Service("mlflow", server, environment, f"{settings.tracking_uri}/health")])
        client = tracking.connect(settings.tracking_uri)
        yield Published(supervisor, settings, load_spec("bench", settings), client, environment)


def _spec(iterations: int) -> dict[str, Any]:
    return {
        "name": "bench",
        "source": {"path": "/nowhere/data.parquet"},
        "time_column": "at",
        "id_column": "id",
        "label": {"column": "late"},
        "features": {"numeric": NUMERIC, "categorical": CATEGORICAL},
        "candidates": [
            {
                "name": "trees",
                "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
                "params": {"max_iter": iterations},
            }
        ],
    }
