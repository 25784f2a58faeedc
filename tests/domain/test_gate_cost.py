from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evermodel.evaluation.evaluate import evaluate
from evermodel.evaluation.evaluated_model import EvaluatedModel
from evermodel.evaluation.latency_and_size import measure_speed
from evermodel.modeling.estimators import build_pipeline
from support.gate_models import Model, gate_of, judged, skilled, window
from support.small_spec import small_spec


class Slow(Model):
    """Every hundredth single row takes long; batches take a known time."""

    def __init__(self) -> None:
        super().__init__(skilled)
        self.calls: list[int] = []

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        self.calls.append(len(frame))
        if len(frame) == 1:
            time.sleep(0.03 if self.calls.count(1) % 40 == 0 else 0.0)
        if len(frame) == 200:
            time.sleep(0.1)
        return super().predict(frame)


def test_rare_slow_answers_show_in_the_p99_and_not_in_the_median() -> None:
    spec, model = small_spec(serving={"max_rows": 200}), Slow()

    speed = measure_speed(spec, model, window(60)[0])

    assert speed.p99_ms >= 30
    assert speed.p50_ms < 25
    assert speed.rows_per_second <= 200 / 0.1
    assert model.calls.count(200) >= 5


@pytest.mark.parametrize(
    ("limit", "name"),
    [
        ({"max_latency_ms": 1e-6}, "latency p50"),
        ({"max_latency_p99_ms": 1e-6}, "latency p99"),
        ({"min_rows_per_second": 1e12}, "throughput"),
        ({"max_size_mb": 0.99}, "size"),
    ],
)
def test_each_limit_stops_by_its_own_name(limit: dict[str, Any], name: str) -> None:
    assert judged(skilled, **limit).reason == f"failed: {name}"


def test_limits_that_are_kept_pass_with_their_values() -> None:
    decision = judged(
        skilled, max_latency_ms=1e4, max_latency_p99_ms=1e4, min_rows_per_second=1e-3, max_size_mb=1.0
    )  # fmt: skip

    assert decision.ship
    for name in ("latency p50", "latency p99", "throughput", "size"):
        assert (gate_of(decision, name).value or 0) > 0


def test_a_model_that_only_answers_whole_windows_cannot_be_served() -> None:
    def whole(frame: pd.DataFrame) -> Any:
        if len(frame) < 1200:
            raise ValueError("too few rows")
        return skilled(frame)

    gate = gate_of(judged(whole, max_latency_ms=1000), "serving path")

    assert (gate.verdict, gate.value) == ("fail", None)
    assert "too few rows" in gate.detail


@pytest.mark.slow
def test_every_gate_takes_a_fitted_model_of_many_classes() -> None:
    features, labels = window(600)
    names = np.where(labels == 1, "yes", np.where(features["age"] > 40, "no", "never"))
    spec = small_spec(
        task="multiclass",
        gate={
            "resamples": 200,
            "secondary": [{"metric": "accuracy"}, {"metric": "macro_f1", "floor": 0.2}],
            "slices": [{"column": "colour", "min_rows": 50}],
            "behaviour": {
                "missing": True,
                "unseen": True,
                "invariance": [{"column": "colour", "values": ["red"], "max_change": 1.0}],
            },
            "max_latency_ms": 1e4,
            "max_latency_p99_ms": 1e4,
            "min_rows_per_second": 1e-3,
        },
    )
    pipeline = build_pipeline(spec, spec.candidates[0]).fit(features, names)

    decision = evaluate(
        spec,
        "key",
        features,
        names,
        EvaluatedModel("linear", pipeline, "models:/m-1"),
        EvaluatedModel("3", pipeline, "models:/m/3"),
    )

    assert {gate.verdict for gate in decision.gates if gate.name != "slice colour = any other"} == {"pass"}
    assert len(decision.gates) == 16
