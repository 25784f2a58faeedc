"""A small history with known truth, for backtests: the world may turn on one day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evermodel.pipelines.backtest.plan import Plan, make_plan
from evermodel.spec import ModelSpec

FIRST = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
START = datetime(2026, 2, 2, tzinfo=UTC)  # the first Monday with a whole training window
TURN = datetime(2026, 2, 16, tzinfo=UTC)
WEEKS = 10
ROWS_A_DAY = 60


def history(turn: datetime | None = TURN, weeks: int = WEEKS, seed: int = 0) -> pa.Table:
    """Return rows whose label follows ``x``; from the turn on ``x`` comes from elsewhere and means the opposite."""
    generator = np.random.default_rng(seed)
    count = weeks * 7 * ROWS_A_DAY
    times = [FIRST + timedelta(days=n // ROWS_A_DAY, minutes=20 * (n % ROWS_A_DAY)) for n in range(count)]
    turned = np.array([turn is not None and at >= turn for at in times])
    x, z = generator.normal(size=count), generator.normal(size=count)
    chance = 1 / (1 + np.exp(-2.5 * np.where(turned, -x, x)))
    label = (generator.random(count) < chance).astype(np.int64)
    return pa.table(
        {
            "id": [f"r{n:05d}" for n in range(count)],
            "at": pa.array(times, pa.timestamp("us", tz="UTC")),
            "x": np.where(turned, x + 4.0, x),
            "z": z,
            "hit": label,
        }
    )


def spec_of(file: Path, **sections: Any) -> ModelSpec:
    """Return a spec of a source file."""
    data: dict[str, Any] = {
        "name": "turning",
        "source": {"path": str(file)},
        "time_column": "at",
        "id_column": "id",
        "label": {"column": "hit", "delay": "1d"},
        "features": {"numeric": ["x", "z"]},
        "split": {"train": "16d", "validation": "5d", "test": "5d"},
        "candidates": [
            {
                "name": "tree",
                "estimator": "sklearn.tree.DecisionTreeClassifier",
                "params": {"max_depth": 4, "min_samples_leaf": 20},
            }
        ],
        "validation": {"min_rows": 100},
        "gate": {"margin": 0.02, "resamples": 200},
        "cluster": "row",
        "drift": {"min_rows": 50},
        "performance": {"min_rows": 50},
    }
    return ModelSpec.model_validate({**data, **sections})


def plan_of(folder: Path, rows: pa.Table, *policies: str, **options: Any) -> Plan:
    """Write rows as the source of a model and plan a backtest of it."""
    file = folder / "source.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, file)
    return make_plan(spec_of(file), folder / "work", policies=policies, **options)
