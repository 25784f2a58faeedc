"""Rows in memory and a workbench on them, for tests of how a candidate is fitted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from evermodel.modeling.fitting import TrainingJob, TrainingRows
from evermodel.spec.window import training_window
from support.small_spec import small_spec

AS_OF = datetime(2026, 3, 9, tzinfo=UTC)
TREES = {
    "name": "trees",
    "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
    "params": {"max_iter": 10},
}
LINEAR = {"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}


def workbench(
    candidate: dict[str, Any], per_day: int = 60, noise: float = 1.0, **sections: Any
) -> TrainingJob:
    """Two weeks of train and three days of validation; ``late`` follows amount and colour."""
    split = {"train": "14d", "validation": "3d", "test": "4d"}
    spec = small_spec(**{"split": split, "candidates": [candidate], **sections})
    generator = np.random.default_rng(1)
    days = (spec.split.train + spec.split.validation) // timedelta(days=1)
    count = days * per_day
    amount, age = generator.normal(size=count), generator.normal(size=count)
    colour = generator.choice(["red", "green"], count)
    signal = amount + (colour == "red") + noise * generator.normal(size=count)
    labels = (signal > 0.5).astype(np.int8) if spec.task == "binary" else signal
    start = TrainingRows.boundary(training_window(spec, AS_OF).start)
    times = start + np.arange(count) * np.timedelta64(86_400_000_000 // per_day, "us")
    frame = pd.DataFrame({"amount": amount, "age": age, "colour": colour.astype(object)})
    return TrainingJob(spec, spec.candidates[0], TrainingRows(frame, labels, times), AS_OF)
