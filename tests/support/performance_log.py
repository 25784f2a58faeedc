"""A small model's prediction log and labels in a folder, for tests of its performance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evermodel.data.prediction_log import log_schema, write_plain_day
from evermodel.monitoring.performance.answers import level
from evermodel.monitoring.performance.baseline import Baseline
from evermodel.spec import ModelSpec

START = datetime(2026, 1, 5, tzinfo=UTC)


def logistic(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


def drawn(rows: int, seed: int, *, concept: float = 0.0, shift: float = 0.0) -> dict[str, Any]:
    """Draw rows whose scores are true probabilities; ``concept`` changes what the labels follow from."""
    generator = np.random.default_rng(seed)
    amount, age = generator.normal(shift, 1, rows), generator.normal(0, 1, rows)
    colour = generator.choice(["red", "blue"], rows)
    score = logistic(1.2 * amount - 0.6 * age)
    truth = logistic(1.2 * amount * (1 - concept) - 0.6 * age * (1 - concept))
    label = (generator.random(rows) < truth).astype(np.int8)
    return {"amount": amount, "age": age, "colour": colour, "score": score, "label": label}


@dataclass
class PerformanceWorld:
    """One model in a folder."""

    folder: Path
    spec: ModelSpec

    @property
    def lake(self) -> Path:
        return self.folder / "lake"

    def predict(self, days: range, per_day: int = 100, *, version: str = "1", **drawing: Any) -> pa.Table:
        """Log the predictions of some days and return them with their labels."""
        tables = []
        for day in days:
            data = drawn(per_day, seed=1000 + day, **drawing)
            moment = START + timedelta(days=day)
            ids = [f"{day}-{i}" for i in range(per_day)]
            times = pa.array(
                [moment + timedelta(seconds=86_000 * i / per_day) for i in range(per_day)],
                pa.timestamp("us", tz="UTC"),
            )
            label = pa.array(data.pop("label"))
            columns = {
                "prediction_id": ids,
                "event_time": times,
                "model_version": [version] * per_day,
                **data,
            }
            log = pa.table(
                {name: columns.get(name, pa.nulls(per_day)) for name in log_schema(self.spec).names}
            )
            log = log.cast(log_schema(self.spec))
            write_plain_day(self.spec, self.lake, f"{moment:%Y-%m-%d}", log)
            tables.append(log.append_column("label", label))
        return pa.concat_tables(tables)

    def label(self, rows: pa.Table, labels: Any = None) -> None:
        """Write the source that holds the labels."""
        table = pa.table(
            {
                "id": rows["prediction_id"],
                "at": rows["event_time"],
                "late": rows["label"] if labels is None else labels,
                **{name: rows[name] for name in self.spec.features.names},
            }
        )
        pq.write_table(table, self.folder / "small.parquet")

    def promise(self, rows: int = 2000, version: str = "1", seed: int = 99) -> Baseline:
        data = drawn(rows, seed)
        table = pa.table({**data, "predicted": pa.nulls(rows, pa.string())})
        return Baseline(version, level(self.spec, table), table)


PerformanceWorlds = Callable[..., PerformanceWorld]
