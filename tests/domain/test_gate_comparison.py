from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evermodel.core.errors import GateError
from support.gate_models import gate_of, judged, noisier, skilled, window


def _overconfident(frame: Any) -> Any:
    """Ranks rows as `skilled` does, but is far too sure of itself."""
    return np.round(skilled(frame), 9) ** 8


def test_a_secondary_metric_that_got_worse_stops_what_the_primary_one_would_ship() -> None:
    decision = judged(_overconfident, skilled, secondary=[{"metric": "brier", "margin": 0.01}])

    assert decision.verdict == "not_worse"
    assert decision.reason == "failed: brier against the champion"
    gate = gate_of(decision, "brier against the champion")
    assert gate.value is not None
    assert gate.value < -0.1
    assert gate.detail.startswith("worse: gain -")


def test_a_secondary_metric_may_be_worse_by_less_than_its_margin() -> None:
    lax = judged(_overconfident, skilled, secondary=[{"metric": "brier", "margin": 0.9}])

    assert gate_of(lax, "brier against the champion").verdict == "pass"


def test_a_secondary_metric_without_enough_evidence_stops() -> None:
    rows = window(60)
    decision = judged(
        lambda f: noisier(f, seed=1), lambda f: noisier(f, seed=2), rows, margin=0.9,
        secondary=[{"metric": "log_loss", "margin": 0.0}],
    )  # fmt: skip

    gate = gate_of(decision, "log_loss against the champion")
    assert (gate.verdict, decision.ship) == ("fail", False)
    assert gate.detail.startswith("not enough evidence")


def test_a_secondary_floor_decides_also_on_a_cold_start() -> None:
    secondary = [{"metric": "brier", "floor": 0.3}, {"metric": "log_loss", "floor": 0.01}]
    decision = judged(skilled, secondary=secondary)

    assert gate_of(decision, "brier floor").verdict == "pass"
    assert gate_of(decision, "log_loss floor").verdict == "fail"
    assert gate_of(decision, "brier against the champion").threshold == "no champion yet"


def test_a_class_that_vanishes_from_the_test_window_cannot_judge() -> None:
    features, labels = window()

    with pytest.raises(GateError, match="all of one class"):
        judged(skilled, noisier, (features, np.zeros_like(labels)))


def test_scores_that_are_not_numbers_are_refused_before_any_gate() -> None:
    with pytest.raises(GateError, match="not probabilities"):
        judged(lambda frame: skilled(frame).where(frame["colour"] != "white", np.nan), noisier)


def test_enormous_predictions_are_no_evidence_and_no_crash() -> None:
    features, labels = window()
    sections = {
        "task": "regression",
        "candidates": [{"name": "linear", "estimator": "sklearn.linear_model.Ridge"}],
    }
    decision = judged(
        lambda f: f["amount"] * 1e200, lambda f: f["amount"] * -1e200, (features, labels * 1.0), sections,
        metric="rmse", floor=1.0, slices=[{"column": "colour", "min_rows": 50}],
    )  # fmt: skip

    assert (decision.verdict, decision.ship) == ("not_enough_evidence", False)
    assert {gate.value for gate in decision.gates} == {None}
    assert gate_of(decision, "slice colour = red").verdict == "warn"
