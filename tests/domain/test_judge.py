from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evermodel.core.errors import GateError
from evermodel.evaluation.decision import Decision
from evermodel.evaluation.evaluate import evaluate
from evermodel.evaluation.evaluated_model import EvaluatedModel
from support.small_spec import small_spec

ROWS = 300


class Says:
    """A model whose answers are known; it blurs the truth by a given amount."""

    def __init__(self, scores: Any, slow: float = 0) -> None:
        self.scores, self.slow = np.asarray(scores, dtype=float), slow

    def predict_proba(self, features: pd.DataFrame) -> np.ndarray:
        time.sleep(self.slow if len(features) == 1 else 0)
        scores = np.resize(self.scores, len(features))
        return np.stack([1 - scores, scores], axis=1)

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        return self.predict_proba(features)[:, 1] > 0.5


class Throws:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def predict_proba(self, features: pd.DataFrame) -> np.ndarray:
        raise self.error


LABELS = np.tile(np.array([0, 0, 1], dtype=np.int8), ROWS // 3)
FEATURES = pd.DataFrame({"amount": np.zeros(ROWS), "age": np.zeros(ROWS), "colour": ["red"] * ROWS})
NOISE = np.random.default_rng(0).random((2, ROWS))
GOOD, POOR = (0.5 * LABELS + 0.5 * NOISE[0]), (0.05 * LABELS + 0.95 * NOISE[1])


def _judge(
    challenger: Any, champion: Any = None, gate: dict[str, Any] | None = None, **more: Any
) -> Decision:
    spec = small_spec(gate={"resamples": 200, **(gate or {})})
    size = more.pop("size_bytes", 1_000_000)
    rows = more.pop("rows", ROWS)
    labels = more.pop("labels", LABELS)[:rows]
    return evaluate(
        spec,
        "key",
        FEATURES.head(rows),
        labels,
        EvaluatedModel("linear", challenger, "models:/m-1", size),
        None if champion is None else EvaluatedModel("version 3", champion, "models:/m/3"),
        **more,
    )


def _verdicts(decision: Decision) -> dict[str, str]:
    return {gate.name: gate.verdict for gate in decision.gates}


@pytest.mark.parametrize("labels", [np.zeros(ROWS, np.int8), np.ones(ROWS, np.int8)])
def test_a_test_window_of_one_class_cannot_judge(labels: np.ndarray) -> None:
    with pytest.raises(GateError, match=r"300 rows .* all of one class"):
        _judge(Says(GOOD), labels=labels)


def test_an_empty_test_window_cannot_judge() -> None:
    with pytest.raises(GateError, match=r"has no rows[\s\S]*widen `split.test`"):
        _judge(Says(GOOD), rows=0)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("amount"),
        TypeError("x"),
        IndexError("x"),
        AttributeError("x"),
        RuntimeError("x"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_model_that_throws_is_named(error: Exception) -> None:
    with pytest.raises(GateError, match="linear cannot score the test window"):
        _judge(Throws(error))
    decision = _judge(Says(GOOD), Throws(error))
    assert not decision.ship
    assert any("version 3 cannot score the test window" in gate.detail for gate in decision.gates)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01])
def test_a_model_that_answers_no_probability_is_refused(value: float) -> None:
    with pytest.raises(GateError, match="linear returns values that are not probabilities"):
        _judge(Says([value, *GOOD[1:]]))


def test_a_better_challenger_ships_and_a_worse_one_does_not() -> None:
    better, worse = _judge(Says(GOOD), Says(POOR)), _judge(Says(POOR), Says(GOOD))

    assert (better.verdict, better.ship, better.parent, better.reason) == (
        "better", True, "version 3", "all gates passed",
    )  # fmt: skip
    assert better.gain is not None
    assert better.champion is not None
    assert better.gain[0] == pytest.approx(better.challenger[0] - better.champion[0])
    assert (worse.verdict, worse.ship, worse.forced) == ("worse", False, False)
    assert worse.reason == "failed: roc_auc against the champion"


def test_a_loss_metric_is_compared_in_its_own_direction() -> None:
    decision = _judge(Says(GOOD), Says(POOR), {"metric": "brier"})

    assert decision.verdict == "better"
    assert decision.gain is not None
    assert decision.gain[0] > 0


def test_an_equal_challenger_ships_only_where_not_worse_may() -> None:
    assert _judge(Says(GOOD), Says(GOOD)).ship
    strict = _judge(Says(GOOD), Says(GOOD), {"ship_on": ["better"]})
    assert (strict.verdict, strict.ship) == ("not_worse", False)


def test_a_cold_start_is_decided_by_the_absolute_gates() -> None:
    fine, poor = _judge(Says(GOOD), gate={"floor": 0.7}), _judge(Says(POOR), gate={"floor": 0.7})

    assert (fine.verdict, fine.ship, fine.parent, fine.champion, fine.gain) == (
        "cold_start",
        True,
        None,
        None,
        None,
    )
    assert (poor.verdict, poor.ship, poor.reason) == (
        "cold_start",
        False,
        "failed: roc_auc floor",
    )


def test_the_floor_of_a_loss_is_a_ceiling() -> None:
    assert _judge(Says(GOOD), gate={"metric": "brier", "floor": 0.2}).ship
    assert not _judge(Says(GOOD), gate={"metric": "brier", "floor": 0.001}).ship


def test_calibration_size_and_latency_fail_by_name() -> None:
    lax = {"max_calibration_error": 0.5, "max_size_mb": 1.0, "max_latency_ms": 1000}
    strict = {"max_calibration_error": 0.01, "max_size_mb": 0.9, "max_latency_ms": 1}

    assert set(_verdicts(_judge(Says(GOOD), gate=lax)).values()) == {"pass"}
    failed = _judge(Says(GOOD, slow=0.003), gate=strict)
    assert {name for name, verdict in _verdicts(failed).items() if verdict == "fail"} == {
        "calibration", "size", "latency p50",
    }  # fmt: skip
    assert failed.reason == "failed: calibration, latency p50, size"


def test_a_forced_challenger_ships_and_the_decision_says_so() -> None:
    decision = _judge(Says(POOR), Says(GOOD), force_reason="new tariff on Monday")

    assert (decision.ship, decision.forced, decision.verdict) == (True, True, "worse")
    assert decision.reason == "forced: new tariff on Monday"
    assert "fail" in _verdicts(decision).values()


def test_force_is_not_recorded_when_it_made_no_difference() -> None:
    decision = _judge(Says(GOOD), Says(POOR), force_reason="just in case")

    assert (decision.ship, decision.forced, decision.reason) == (True, False, "all gates passed")


def test_a_champion_that_saw_test_rows_is_told_as_a_warning_that_does_not_block() -> None:
    decision = _judge(Says(GOOD), Says(POOR), champion_saw=0.43)

    gate = next(gate for gate in decision.gates if gate.name == "fresh test rows")
    assert (gate.verdict, gate.value, decision.ship) == ("warn", 0.43, True)
    assert "43%" in gate.detail
    assert "fresh test rows" not in _verdicts(_judge(Says(GOOD), Says(POOR)))


def test_a_champion_that_cannot_be_scored_is_no_cold_start_but_a_no_that_a_person_may_overrule() -> None:
    from sklearn.dummy import DummyClassifier

    spec, features, labels = small_spec(gate={"floor": None}), *_rows_for_unusable()
    challenger = EvaluatedModel("new", DummyClassifier(strategy="prior").fit(features, labels), "models:/new")
    broken = EvaluatedModel("version 3", object(), "models:/old")

    decision = evaluate(spec, "key", features, labels, challenger, broken)
    assert (decision.ship, decision.verdict, decision.parent) == (False, "not_enough_evidence", "version 3")
    gate, no_skill = [gate for gate in decision.gates if gate.verdict == "fail"]
    assert no_skill.name == "roc_auc against no skill"
    assert "version 3 cannot score" in gate.detail
    assert "`force`" in gate.detail

    lost = evaluate(spec, "key", features, labels, challenger, None, unusable="its files are gone")
    assert (lost.ship, lost.verdict) == (False, "not_enough_evidence")

    forced = evaluate(spec, "key", features, labels, challenger, broken, force_reason="features changed")
    assert forced.ship
    assert forced.forced


def _rows_for_unusable() -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=200) for name in small_spec().features.names}
    return pd.DataFrame(columns), rng.integers(0, 2, 200)
