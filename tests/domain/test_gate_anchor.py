"""Many small losses, each of them not worse than the one before, add up to no more than a year's budget."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evermodel.evaluation.evaluate import evaluate
from evermodel.evaluation.evaluated_model import EvaluatedModel
from support.gate_models import Model, gate_of, judged, noisier, skilled, window
from support.small_spec import small_spec

AGAINST = "roc_auc against the best version of twelve months"


APART, BEST, WORSE = 0.9, 0.737, 0.004


def _knowing(auc: float, version: str) -> EvaluatedModel:
    """A model of a known AUC: it sees the signal, of two normal distributions, through noise of its own."""
    normal = NormalDist()
    blur = math.sqrt(max((APART / math.sqrt(2) / normal.inv_cdf(auc)) ** 2 - 1, 0.0))

    def answer(frame: pd.DataFrame) -> Any:
        noise = np.random.default_rng((int(version), len(frame))).normal(size=len(frame))
        return 1 / (1 + np.exp(-(frame["amount"] + blur * noise)))

    return EvaluatedModel(f"version {version}", Model(answer), f"models:/m/{version}", version=version)


def _week(number: int, rows: int = 8000) -> tuple[pd.DataFrame, np.ndarray]:
    draw = np.random.default_rng((7, number))
    labels = (draw.random(rows) < 0.4).astype(np.int8)
    frame = pd.DataFrame({"amount": APART * labels + draw.normal(size=rows), "age": 30.0, "colour": "red"})
    return frame, labels


@pytest.mark.slow
def test_creep_ends_at_the_years_budget() -> None:
    """Challengers come that are truly .004 AUC worse each week; without the anchor 13 of 52 ship, and .052 are lost."""
    spec = small_spec(gate={"resamples": 200})
    champion, shipped = _knowing(BEST, "1"), 0
    models, aucs, anchors = {"1": champion}, {"1": BEST}, {"1": ""}
    for week in range(2, 54):
        auc = aucs[champion.version] - WORSE
        challenger, named = _knowing(auc, str(week)), anchors[champion.version]
        decision = evaluate(
            spec, "run", *_week(week), replace(challenger, version=""), champion,
            anchor=models[named] if named else None,
        )  # fmt: skip
        if decision.ship:
            shipped, champion = shipped + 1, challenger
            models[challenger.version], aucs[challenger.version] = challenger, auc
            anchors[challenger.version] = decision.anchor
    assert shipped >= 4
    budget = 0.1 * (BEST - 0.5)
    assert BEST - aucs[champion.version] <= budget + 2 * WORSE


def test_an_anchor_that_is_clearly_better_stops_what_the_champion_would_let_pass() -> None:
    rows = window()
    anchor = EvaluatedModel("version 3", Model(skilled), "models:/m/3", version="3")
    spec = small_spec(gate={"resamples": 400})
    poor = EvaluatedModel("new", Model(lambda f: noisier(f, 3.0)), "models:/m-9")
    same = EvaluatedModel("version 7", Model(lambda f: noisier(f, 3.0)), "models:/m/7", version="7")

    decision = evaluate(spec, "run", *rows, poor, same, anchor=anchor)

    assert (decision.verdict, decision.ship, decision.anchor) == ("not_worse", False, "3")
    assert gate_of(decision, AGAINST).verdict == "fail"
    assert gate_of(decision, AGAINST).detail.startswith("version 3: gain -")
    forced = evaluate(
        spec, "run", *rows, poor, same, anchor=anchor, force_reason="the feature may not be used"
    )
    assert (forced.ship, forced.anchor) == (True, "")  # a person has accepted the loss


def test_the_anchor_is_the_champion_until_a_version_is_better() -> None:
    assert judged(skilled, skilled, margin="5%").anchor == "3"
    assert judged(skilled, noisier).anchor == ""
    assert judged(skilled).anchor == ""


def test_an_anchor_that_cannot_be_scored_is_given_up() -> None:
    def gone(frame: pd.DataFrame) -> Any:
        raise KeyError("a feature that is gone")

    anchor = EvaluatedModel("version 3", Model(gone), "models:/m/3", version="3")
    one = EvaluatedModel("new", Model(skilled), "models:/m-9")
    two = EvaluatedModel("version 7", Model(skilled), "models:/m/7", version="7")
    decision = evaluate(small_spec(gate={"resamples": 400}), "run", *window(), one, two, anchor=anchor)
    assert (gate_of(decision, AGAINST).verdict, decision.ship, decision.anchor) == ("warn", True, "")
    assert "cannot score the test window" in gate_of(decision, AGAINST).detail
