from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import norm

from evermodel.evaluation.decision import Comparison, Decision, Gate, compare
from evermodel.stats.bootstrap import paired_gain
from evermodel.stats.metrics import METRICS

CONFIDENCE = 0.95
STATED = (1 - CONFIDENCE) / 2
MARGIN = 0.01


@pytest.mark.parametrize(
    ("low", "high", "margin", "verdict"),
    [
        (1e-9, 0.1, 0.01, "better"),
        (0.0, 0.1, 0.01, "not_worse"),
        (0.0, 0.0, 0.0, "not_enough_evidence"),
        (-0.0099, 0.1, 0.01, "not_worse"),
        (-0.01, 0.1, 0.01, "not_enough_evidence"),
        (-0.005, -0.001, 0.01, "not_worse"),
        (-0.05, 0.0, 0.01, "not_enough_evidence"),
        (-0.05, -1e-9, 0.01, "worse"),
        (math.nan, math.nan, 0.01, "not_enough_evidence"),
    ],
)
def test_an_interval_has_one_name(low: float, high: float, margin: float, verdict: str) -> None:
    assert compare(low, high, margin) == verdict


def _draw(
    generator: np.random.Generator, rows: int, ahead: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and two models whose errors are partly shared; ``ahead`` is how much more the first one knows."""
    labels = generator.random(rows) < 0.3
    shared = 0.6 * generator.normal(size=rows)
    logits = [know * labels + shared + 0.8 * generator.normal(size=rows) - 1 for know in (1 + ahead, 1.0)]
    challenger, champion = (1 / (1 + np.exp(-z)) for z in logits)
    return labels, challenger, champion


def _verdicts(metric: str, *, ahead: float, times: int, rows: int, seed: int) -> Counter[Comparison]:
    generator = np.random.default_rng(seed)
    found: Counter[Comparison] = Counter()
    for _ in range(times):
        labels, challenger, champion = _draw(generator, rows, ahead)
        gain = paired_gain(
            METRICS[metric], labels, challenger, champion, confidence=CONFIDENCE, resamples=200, seed=0
        )
        found[compare(gain.low, gain.high, MARGIN)] += 1
    return found


@pytest.mark.parametrize(("metric", "times"), [("brier", 1200), ("log_loss", 1200), ("roc_auc", 500)])
@pytest.mark.slow
def test_of_two_equal_models_one_is_called_better_no_more_often_than_stated(metric: str, times: int) -> None:
    found = _verdicts(metric, ahead=0, times=times, rows=250, seed=11)

    allowed = STATED + 3 * math.sqrt(STATED * (1 - STATED) / times)
    assert found["better"] / times <= allowed
    assert found["worse"] / times <= allowed


@pytest.mark.slow
def test_a_better_model_is_found_as_often_as_normal_theory_predicts() -> None:
    rows, ahead, times = 300, 0.6, 500
    labels, challenger, champion = _draw(np.random.default_rng(0), 400_000, ahead)
    difference = (champion - labels) ** 2 - (challenger - labels) ** 2
    power = norm.cdf(difference.mean() / difference.std() * math.sqrt(rows) - norm.ppf(1 - STATED))

    found = _verdicts("brier", ahead=ahead, times=times, rows=rows, seed=12)

    assert 0.3 < power < 0.95
    assert found["better"] / times == pytest.approx(
        power, abs=0.03 + 3 * math.sqrt(power * (1 - power) / times)
    )


def test_a_clearly_worse_model_never_ships() -> None:
    found = _verdicts("roc_auc", ahead=-0.9, times=150, rows=400, seed=13)

    assert found["better"] + found["not_worse"] == 0
    assert found["worse"] > 140


def test_a_decision_survives_json_and_its_digest_names_its_content() -> None:
    gate = Gate("roc_auc floor", "pass", 0.8, "≥ 0.6", "0.8")
    decision = Decision(
        "m", "key", "a", "models:/m-1", None, "roc_auc", "cold_start", True, False, "all gates passed", 10,
        (0.8, 0.7, 0.9), None, None, (gate,),
    )  # fmt: skip

    again = Decision.from_json(decision.to_json())

    assert again == decision
    assert again.digest == decision.digest
    assert Decision.from_json({**decision.to_json(), "ship": False}).digest != decision.digest
