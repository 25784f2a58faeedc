"""A model that somebody else trained and serves: its log of predictions, and the spec that watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from evermodel.core.settings import Settings
from evermodel.pipelines.watch import WatchRun
from evermodel.spec import ModelSpec, load_spec
from support.performance_log import drawn

START = datetime(2026, 1, 5, tzinfo=UTC)


def day(number: float) -> datetime:
    """Return a moment, counted from the log's first midnight."""
    return START + timedelta(days=number)


def foreign_rows(days: range, per_day: int = 40, *, version: str | None = "7", **drawing: Any) -> pa.Table:
    """Return some days of a log that names its columns otherwise than ours."""
    tables = []
    for number in days:
        data = drawn(per_day, seed=1000 + number, **drawing)
        times = [day(number) + timedelta(seconds=86_000 * place / per_day) for place in range(per_day)]
        tables.append(
            pa.table(
                {
                    "request": [f"{number}-{place}" for place in range(per_day)],
                    "asked_at": pa.array(times, pa.timestamp("us", tz="UTC")),
                    "probability": data["score"],
                    "release": pa.array([version] * per_day, pa.string()),
                    **{name: data[name] for name in ("amount", "age", "colour")},
                    "came_true": data["label"],
                }
            )
        )
    return pa.concat_tables(tables)


@dataclass
class ForeignModel:
    """The log in a file, the spec, and an installation without MLflow."""

    folder: Path
    database: str
    spec_data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "models").mkdir(parents=True, exist_ok=True)
        self.spec_data = {
            "name": "churn",
            "source": {"path": str(self.log)},
            "time_column": "asked_at",
            "id_column": "request",
            "features": {"numeric": ["amount", "age"], "categorical": ["colour"]},
            "label": {"column": "came_true", "delay": "1d"},
            "watch": {
                "prediction": "probability",
                "version": "release",
                "reference": {"start": f"{day(0):%Y-%m-%d}", "end": f"{day(28):%Y-%m-%d}"},
            },
            "cluster": "row",
            "drift": {"min_rows": 50},
            "performance": {"min_rows": 50},
            **self.spec_data,
        }

    @property
    def log(self) -> Path:
        return self.folder / "log.parquet"

    @property
    def settings(self) -> Settings:
        return Settings(
            home=self.folder / "home",
            lake=self.folder / "lake",
            models=self.folder / "models",
            tracking_uri="http://127.0.0.1:9",  # nobody answers there
            dvc_remote=str(self.folder / "dvc"),
            airflow_url="http://127.0.0.1:8080",
            database=self.database,
        )

    @property
    def spec(self) -> ModelSpec:
        file = self.folder / "models" / f"{self.spec_data['name']}.yaml"
        file.write_text(yaml.safe_dump(self.spec_data, sort_keys=False))
        return load_spec(file, self.settings)

    def write(self, rows: pa.Table) -> None:
        # In no order, as tables of other people are.
        mixed = np.random.default_rng(5).permutation(rows.num_rows)
        pq.write_table(rows.take(pa.array(mixed)), self.log)

    def run(self, number: float) -> WatchRun:
        return WatchRun(self.spec, day(number), self.settings)


ForeignModels = Callable[..., ForeignModel]
