"""Which metrics a spec may name for which task; the first one is the default."""

from __future__ import annotations

from typing import Literal

Task = Literal["binary", "multiclass", "regression"]
MetricName = Literal[
    "roc_auc", "average_precision", "log_loss", "brier", "accuracy", "macro_f1", "rmse", "mae", "r2"
]
METRIC_NAMES: dict[Task, tuple[MetricName, ...]] = {
    "binary": ("roc_auc", "average_precision", "log_loss", "brier"),
    "multiclass": ("log_loss", "accuracy", "macro_f1"),
    "regression": ("rmse", "mae", "r2"),
}
