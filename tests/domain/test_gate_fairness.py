from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.gate_models import gate_of, judged, skilled, window

PARITY: dict[str, Any] = {"column": "colour", "measure": "demographic_parity_difference", "max": 0.2}
ODDS: dict[str, Any] = {**PARITY, "measure": "equalized_odds_difference"}


def _favours_red(frame: pd.DataFrame) -> Any:
    return np.clip(skilled(frame) + 0.4 * (frame["colour"] == "red"), 0, 1)


@pytest.mark.parametrize("check", [PARITY, ODDS], ids=["parity", "odds"])
def test_a_model_that_favours_a_group_is_stopped_and_an_even_one_is_not(check: dict[str, Any]) -> None:
    unfair, even = judged(_favours_red, fairness=[check]), judged(skilled, fairness=[check])

    name = f"fairness colour, {check['measure'].replace('_', ' ')}"
    assert unfair.reason == f"failed: {name}"
    assert gate_of(unfair, name).detail.startswith("share of positives: red ")
    assert gate_of(even, name).verdict == "pass"


def test_the_differences_are_those_counted_by_hand() -> None:
    features, labels = window()
    yes = _favours_red(features) >= 0.7
    colours = ["red", "green", "blue"]

    def spread(rows: Any) -> float:
        shares = [yes[rows & (features["colour"] == colour)].mean() for colour in colours]
        return float(max(shares) - min(shares))

    checks = [{**PARITY, "threshold": 0.7}, {**ODDS, "threshold": 0.7}]
    decision = judged(_favours_red, fairness=checks)

    parity, odds = (gate for gate in decision.gates if gate.name.startswith("fairness"))
    assert parity.value == pytest.approx(spread(np.ones(len(labels), dtype=bool)))
    assert odds.value == pytest.approx(max(spread(labels == 1), spread(labels == 0)))


def test_small_groups_are_left_out_and_named() -> None:
    gate = gate_of(judged(skilled, fairness=[PARITY]), "fairness colour, demographic parity difference")

    assert gate.detail.endswith("left out: white (10 rows)")


def test_groups_of_one_class_cannot_be_compared_by_odds() -> None:
    features, labels = window()
    labels = np.where(features["colour"] == "red", 1, labels)

    gate = gate_of(
        judged(skilled, rows=(features, labels), fairness=[ODDS]),
        "fairness colour, equalized odds difference",
    )

    assert "red (one class only)" in gate.detail


def test_a_single_group_is_a_warning() -> None:
    features, labels = window()
    features["colour"] = None

    gate = gate_of(
        judged(skilled, rows=(features, labels), fairness=[PARITY]),
        "fairness colour, demographic parity difference",
    )

    assert (gate.verdict, gate.value) == ("warn", None)
