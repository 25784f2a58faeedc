"""What counts as not worse has the scale of the metric on these rows, not a number that fits accuracies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from evermodel.monitoring.performance.baseline import Baseline
from evermodel.monitoring.performance.decay import margins
from evermodel.spec.parts import margin_share
from support.gate_models import gate_of, judged, noisier, skilled, window
from support.small_spec import small_spec

REGRESSION: dict[str, Any] = {
    "task": "regression",
    "candidates": [{"name": "linear", "estimator": "sklearn.linear_model.Ridge"}],
}


def _returns(rows: int = 2000, scale: float = 1.0) -> tuple[pd.DataFrame, np.ndarray]:
    """A target of the size of daily returns, a tenth of whose variance is known."""
    generator = np.random.default_rng(5)
    signal = generator.normal(size=rows)
    labels = 0.01 * (0.3 * signal + generator.normal(size=rows)) * scale
    return pd.DataFrame({"amount": signal, "age": 30.0, "colour": "red"}), labels


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_three_times_the_error_does_not_ship_whatever_the_unit(scale: float) -> None:
    def champion(frame: pd.DataFrame) -> np.ndarray:
        return np.asarray(0.003 * frame["amount"] * scale)

    def worse(frame: pd.DataFrame) -> np.ndarray:
        return np.asarray(champion(frame) + 0.028 * scale * np.random.default_rng(1).normal(size=len(frame)))

    decision = judged(worse, champion, _returns(scale=scale), REGRESSION, metric="rmse", margin="5%")
    assert (decision.verdict, decision.ship) == ("worse", False)
    same = judged(champion, champion, _returns(scale=scale), REGRESSION, metric="rmse", margin="5%")
    assert (same.verdict, same.margin) == ("not_worse", pytest.approx(scale * 2.2e-5, rel=0.2))


def test_a_share_is_of_the_champions_gain_over_the_best_constant_and_is_told() -> None:
    decision = judged(noisier, skilled, margin="5%")

    assert decision.champion is not None
    assert decision.margin == pytest.approx(0.05 * (decision.champion[0] - 0.5))
    detail = gate_of(decision, "roc_auc against the champion").detail
    assert f"margin {decision.margin:.3g} (5% of the champion's gain over no skill)" in detail


def test_a_number_is_in_units_of_the_metric() -> None:
    assert judged(noisier, skilled, margin=0.02).margin == 0.02
    assert judged(skilled, None).margin is None


def test_a_champion_without_skill_leaves_no_margin() -> None:
    features, _ = window()
    labels = np.random.default_rng(3).integers(0, 2, len(features))
    decision = judged(skilled, lambda frame: np.full(len(frame), 0.5), (features, labels), margin="5%")
    assert decision.margin == 0.0


def test_decisions_of_earlier_releases_keep_their_digest() -> None:
    from evermodel.evaluation.decision import Decision

    data = judged(noisier, skilled).to_json()
    del data["margin"]
    assert Decision.from_json(data).to_json() == data


@pytest.mark.parametrize("margin", ["5", "five %", "-1%", "100%", -0.1])
def test_what_is_no_margin_is_refused(margin: Any) -> None:
    with pytest.raises(ValueError, match="margin"):
        small_spec(gate={"margin": margin})


def test_the_watch_takes_the_same_share_of_the_baseline() -> None:
    import pyarrow as pa

    labels = np.arange(400) % 2
    scores = 0.4 * labels + np.random.default_rng(0).random(400)
    rows = pa.table({"label": labels, "score": scores})
    spec = small_spec(gate={"metric": "roc_auc"})
    margin, critical = margins(spec, Baseline("1", None, rows))
    assert 0.01 < margin < 0.025
    assert critical == pytest.approx(3 * margin)
    assert margins(spec, Baseline("1", None)) == (0.01, 0.03)  # its rows are gone
    assert margin_share(spec.gate.margin) == 0.05
