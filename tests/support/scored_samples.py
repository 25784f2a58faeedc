"""A judged challenger without a registry, for tests of what is drawn about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evermodel.evaluation.decision import Decision, Gate
from evermodel.evaluation.evaluated_model import EvaluatedModel
from evermodel.modeling.fitting import TrainingRows
from evermodel.reports.retrain.scored_sample import ScoredSample, score_sample
from support.small_spec import small_spec

ROWS = 300
GATES = (
    Gate("brier floor", "pass", 0.1, "≤ 0.2", "0.1000 on 300 rows"),
    Gate("latency", "fail", 12.5, "≤ 10 ms", "one row: 12.50 ms"),
    Gate("fresh test rows", "warn", 0.25, "0", "the champion was fitted on 25% of the test rows"),
)
_METRIC = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "mae"}


class Answers:
    """A model whose answer depends on ``amount`` alone, by a slope."""

    def __init__(self, task: str, slope: float) -> None:
        self.task, self.slope = task, slope
        self.classes_ = np.array(["blue", "green", "red"])

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        up = 1 / (1 + np.exp(-self.slope * frame["amount"].to_numpy()))
        if self.task == "binary":
            return np.column_stack([1 - up, up])
        return np.column_stack([(1 - up) * 0.7, (1 - up) * 0.3, up])

    def predict(self, frame: pd.DataFrame) -> Any:
        return self.slope * frame["amount"].to_numpy()


def trial(task: str = "binary", *, champion: bool = True, mute: bool = False, **changes: Any) -> ScoredSample:
    """Return a trial of 300 rows, with a champion that cannot answer if it is ``mute``.

    ``changes`` replace fields of the decision.
    """
    draws = np.random.default_rng(3)
    amount = draws.normal(size=ROWS)
    features = pd.DataFrame({"amount": amount, "age": draws.normal(size=ROWS), "colour": ["red", None] * 150})
    noisy = amount + draws.normal(size=ROWS)
    labels: Any = {
        "binary": (noisy > 0).astype(np.int8),
        "multiclass": np.where(noisy > 0, "red", np.where(noisy > -1, "green", "blue")),
        "regression": noisy,
    }[task]
    spec = small_spec(task=task, gate={"metric": _METRIC[task], "margin": 0.02})
    fields: dict[str, Any] = {
        "model": "small",
        "run_key": "retrain/small/1",
        "candidate": "linear",
        "model_uri": "models:/m-1",
        "parent": "4" if champion else None,
        "metric": _METRIC[task],
        "verdict": "not_worse" if champion else "cold_start",
        "ship": False,
        "forced": False,
        "reason": "failed: latency",
        "rows": ROWS,
        "challenger": (0.8123, 0.77, 0.85),
        "champion": (0.8111, 0.76, 0.84) if champion and not mute else None,
        "gain": (0.0012, -0.008, 0.009) if champion and not mute else None,
        "gates": GATES,
    }
    return score_sample(
        spec,
        Decision(**{**fields, **changes}),
        TrainingRows(features, labels, np.arange(len(labels)).astype("datetime64[h]")),
        EvaluatedModel("linear", Answers(task, 2.0), "models:/m-1"),
        EvaluatedModel("version 4", None if mute else Answers(task, 0.5), "models:/small/4")
        if champion
        else None,
    )
