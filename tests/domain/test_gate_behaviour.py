from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.gate_models import gate_of, judged, skilled, squashed, window


def _behaved(formula: Any, **checks: Any) -> Any:
    return judged(formula, behaviour=checks)


def _needs_amount(frame: pd.DataFrame) -> Any:
    return squashed(frame["amount"])


def _knows_colours(frame: pd.DataFrame) -> Any:
    return frame["colour"].map({"red": 0.2, "green": 0.4, "blue": 0.6, "white": 0.5, None: 0.5})


def test_a_feature_that_the_model_cannot_miss_is_named() -> None:
    broken = gate_of(_behaved(_needs_amount, missing=True), "missing values")

    assert (broken.verdict, broken.value) == ("fail", 1.0)
    assert broken.detail.startswith("invalid answer for amount (")
    assert gate_of(_behaved(skilled, missing=True), "missing values").verdict == "pass"


def test_a_model_that_throws_on_a_missing_category_fails_and_does_not_crash() -> None:
    def throws(frame: pd.DataFrame) -> Any:
        frame["colour"].map(len)
        return skilled(frame)

    gate = gate_of(_behaved(throws, missing=True), "missing values")

    assert gate.verdict == "fail"
    assert "colour" in gate.detail


def test_a_category_never_seen_must_have_an_answer() -> None:
    broken = gate_of(_behaved(_knows_colours, unseen=True), "unseen categories")

    assert (broken.verdict, broken.value) == ("fail", 1.0)
    assert gate_of(_behaved(skilled, unseen=True), "unseen categories").verdict == "pass"


@pytest.mark.parametrize(("most", "verdict"), [(0.39, "fail"), (0.41, "pass")])
def test_an_invariant_column_moves_answers_no_further_than_allowed(most: float, verdict: str) -> None:
    check = {"column": "colour", "values": ["red", "blue"], "max_change": most}
    gate = gate_of(_behaved(_knows_colours, invariance=[check]), "invariance of colour")

    assert (gate.verdict, gate.value) == (verdict, pytest.approx(0.4))


def test_an_invariant_number_that_the_model_ignores_passes() -> None:
    check = {"column": "age", "values": [20, 90.5]}

    assert gate_of(_behaved(skilled, invariance=[check]), "invariance of age").value == 0


def test_raising_a_number_moves_answers_one_way() -> None:
    def bent(frame: pd.DataFrame) -> Any:
        return squashed(-np.abs(frame["amount"].fillna(0) - 0.4))

    up = [{"column": "amount"}]
    down = [{"column": "amount", "direction": "decreasing"}]

    assert gate_of(_behaved(skilled, monotonic=up), "amount increasing").verdict == "pass"
    assert gate_of(_behaved(skilled, monotonic=down), "amount decreasing").value == 0
    share = gate_of(_behaved(bent, monotonic=[{**up[0], "step": 0.01}]), "amount increasing")
    assert share.verdict == "fail"
    expected = (window()[0]["amount"] < 0.395).mean()
    assert share.value == pytest.approx(expected, abs=0.06)
    assert (
        gate_of(
            _behaved(bent, monotonic=[{**up[0], "step": 0.01, "share": 0.3}]), "amount increasing"
        ).verdict
        == "pass"
    )


def test_a_direction_that_cannot_be_seen_is_a_warning() -> None:
    ignored = gate_of(_behaved(skilled, monotonic=[{"column": "age"}]), "age increasing")
    features, labels = window()
    features["age"] = np.nan
    empty = judged(skilled, rows=(features, labels), behaviour={"monotonic": [{"column": "age"}]})

    assert (ignored.verdict, gate_of(empty, "age increasing").verdict) == ("warn", "warn")
    assert "no answer depends on it" in ignored.detail


def test_an_answer_must_not_depend_on_the_rows_beside_it() -> None:
    def ranks(frame: pd.DataFrame) -> Any:
        return frame["amount"].rank(pct=True)

    assert gate_of(_behaved(ranks), "output").verdict == "fail"
    assert gate_of(_behaved(skilled), "output").verdict == "pass"


@pytest.mark.parametrize(
    ("bounds", "verdict"), [([0.3, None], "fail"), ([None, 0.7], "fail"), ([0, 1], "pass")]
)
def test_answers_stay_within_the_declared_range(bounds: list[float | None], verdict: str) -> None:
    assert gate_of(_behaved(skilled, output=bounds), "output").verdict == verdict


def test_a_wrong_number_of_answers_fails() -> None:
    def forgets(frame: pd.DataFrame) -> Any:
        return skilled(frame) if len(frame) == 1200 else skilled(frame)[: len(frame) // 2]

    gate = gate_of(_behaved(forgets, missing=True), "output")

    assert (gate.verdict, gate.detail) == ("fail", "250 answers for 500 rows")
