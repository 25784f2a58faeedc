from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from evermodel.evaluation.slices import slice_gates
from support.gate_models import gate_of, judged, noisier, skilled, window
from support.small_spec import small_spec

COLOUR: dict[str, Any] = {"column": "colour", "min_rows": 50}


def _broken_for_blue(frame: pd.DataFrame) -> Any:
    """Better than `noisier` everywhere but for blue rows, where it guesses."""
    return skilled(frame).where(frame["colour"] != "blue", 0.4)


def test_a_challenger_better_on_average_but_broken_on_a_slice_is_stopped() -> None:
    decision = judged(_broken_for_blue, noisier, slices=[COLOUR])

    assert decision.verdict == "better"
    assert (decision.ship, decision.reason) == (False, "failed: slice colour = blue")
    blue = gate_of(decision, "slice colour = blue")
    assert blue.value is not None
    assert blue.value < -0.1
    assert "worse than the champion" in blue.detail
    assert gate_of(decision, "slice colour = red").verdict == "pass"
    assert judged(_broken_for_blue, noisier).ship


def test_rows_beyond_the_large_values_are_judged_together_or_told() -> None:
    told = gate_of(judged(skilled, noisier, slices=[COLOUR]), "slice colour = any other")
    assert (told.verdict, told.value, told.detail) == (
        "warn",
        None,
        "not evaluated: 10 rows, at least 50 needed",
    )

    together = gate_of(
        judged(skilled, noisier, slices=[{**COLOUR, "min_rows": 250}]), "slice colour = any other"
    )
    assert together.verdict == "warn"
    rows = window()[0]["colour"].isin(["blue", "white"]).sum()
    assert together.detail == f"not evaluated: {rows} rows, at least 250 needed"


@pytest.mark.parametrize(("value", "detail"), [("white", "10 rows"), ("purple", "0 rows")])
def test_a_declared_value_with_too_few_rows_is_a_warning_never_a_pass(value: str, detail: str) -> None:
    decision = judged(skilled, noisier, slices=[{**COLOUR, "values": [value, "red"]}])

    gate = gate_of(decision, f"slice colour = {value}")
    assert (gate.verdict, decision.ship) == ("warn", True)
    assert detail in gate.detail


def test_a_class_that_vanishes_from_a_slice_is_a_warning() -> None:
    features, labels = window()
    labels = np.where(features["colour"] == "blue", 0, labels)

    gate = gate_of(judged(skilled, noisier, (features, labels), slices=[COLOUR]), "slice colour = blue")

    assert gate.verdict == "warn"
    assert "have one label value" in gate.detail


def test_a_large_loss_that_may_be_chance_is_a_warning() -> None:
    features, labels = window(240)
    rows = features["colour"] == "blue"

    def unlucky(frame: pd.DataFrame) -> Any:
        return skilled(frame) * np.where(frame.index == frame.index[rows & (labels == 1)][0], 0.01, 1)

    check = {**COLOUR, "min_rows": 20, "margin": 0.02}
    decision = judged(unlucky, skilled, (features, labels), slices=[check], margin=0.3)

    gate = gate_of(decision, "slice colour = blue")
    assert gate.value is not None
    assert gate.value < -0.02
    assert (gate.verdict, decision.ship) == ("warn", True)


def test_the_margin_of_a_slice_may_be_wider_than_that_of_the_whole() -> None:
    decision = judged(_broken_for_blue, noisier, slices=[{**COLOUR, "margin": 0.9}])

    assert gate_of(decision, "slice colour = blue").verdict == "pass"


def test_without_a_champion_the_floor_decides_or_the_value_is_told() -> None:
    floor = judged(_broken_for_blue, slices=[{**COLOUR, "floor": 0.6}])
    plain = judged(_broken_for_blue, slices=[COLOUR])

    assert floor.reason == "failed: slice colour = blue"
    assert gate_of(floor, "slice colour = blue").threshold == "roc_auc ≥ 0.6"
    told = gate_of(plain, "slice colour = blue")
    assert (told.verdict, told.value, told.threshold) == ("pass", 0.5, "none without a champion")


def test_numbers_and_missing_values_make_slices_too() -> None:
    features, labels = window()
    features["age"] = np.where(features["age"] < 40, 1.0, np.nan)

    decision = judged(skilled, noisier, (features, labels), slices=[{"column": "age"}])
    named = judged(skilled, noisier, (features, labels), slices=[{"column": "age", "values": [1]}])

    names = [gate.name for gate in decision.gates if gate.name.startswith("slice")]
    assert names == ["slice age = 1", "slice age = missing"]
    assert f"{int((features['age'] == 1).sum())} rows" in gate_of(named, "slice age = 1").detail


@pytest.mark.slow
def test_of_two_equal_models_slices_stop_no_more_often_than_stated() -> None:
    spec = small_spec(gate={"resamples": 200, "margin": 0.0, "metric": "brier", "slices": [COLOUR]})
    generator = np.random.default_rng(5)
    times, stopped = 150, 0
    for _ in range(times):
        colours = generator.choice(["red", "green", "blue", "white"], size=400).astype(object)
        features = pd.DataFrame({"amount": 0.0, "age": 0.0, "colour": colours})
        labels = generator.integers(0, 2, 400)
        one, other = (
            np.clip(0.5 + 0.2 * (labels - 0.5) + 0.2 * generator.normal(size=400), 0, 1) for _ in range(2)
        )
        stopped += any(
            gate.verdict == "fail" for gate in slice_gates(spec, features, labels, one, other, 0.01)
        )

    assert stopped / times <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / times)


def test_a_regression_has_slices() -> None:
    features, labels = window()
    sections = {
        "task": "regression",
        "candidates": [{"name": "linear", "estimator": "sklearn.linear_model.Ridge"}],
    }
    broken = judged(
        lambda frame: frame["amount"].where(frame["colour"] != "blue", 9.0),
        lambda frame: frame["amount"] + 0.5 * np.sign(frame["age"] - 40),
        (features, labels + features["amount"].to_numpy()),
        sections,
        metric="rmse",
        slices=[COLOUR],
    )

    assert gate_of(broken, "slice colour = blue").verdict == "fail"
    assert gate_of(broken, "slice colour = red").verdict == "pass"
