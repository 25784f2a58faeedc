"""The gain that the next window will show: promised with an interval, and kept on the version."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evermodel.core.errors import NewerFormatError
from evermodel.evaluation.decision import Decision
from evermodel.evaluation.evaluate import evaluate
from evermodel.evaluation.evaluated_model import EvaluatedModel
from evermodel.evaluation.next_window import GainPrediction, next_gain, optimism_of, window_factor
from evermodel.monitoring.performance.answers import Level
from evermodel.monitoring.performance.baseline import without_optimism
from evermodel.stats.bootstrap import ConfidenceInterval, MeasuredMetric
from evermodel.stats.clusters import Clusters
from evermodel.stats.metrics import METRICS
from support.gate_models import Model, gate_of, judged, noisier, skilled, window
from support.small_spec import small_spec

PROMISED = GainPrediction("roc_auc", 0.01, -0.02, 0.04, 0.95, ("2026-01-01", "2026-01-08"), "3")


def test_the_interval_holds_the_mean_of_the_next_week() -> None:
    """Gains of days are independent here: seven of them promise what the next seven show in 95 % of weeks."""
    gains = np.random.default_rng(5).normal(0.01, 0.03, size=(4000, 2, 7))
    now, following = gains.mean(axis=2).T
    root = np.sqrt(6 / 7 / 7)  # a bootstrap's variance of a mean of seven
    width = Clusters.of(np.arange(7)).widening(0.95) * 1.96 * root * gains[:, 0].std(axis=1, ddof=1)
    width *= np.sqrt(7 / 6)

    found = [next_gain(ConfidenceInterval(g, g - w, g + w)) for g, w in zip(now, width, strict=True)]

    held = np.mean([one.low <= g <= one.high for one, g in zip(found, following, strict=True) if one])
    assert 0.94 <= held <= 0.98


def test_a_decision_promises_the_next_window_and_keeps_it() -> None:
    decision = judged(lambda f: skilled(f), lambda f: noisier(f, 1.0))

    assert decision.gain is not None
    assert decision.next_gain is not None
    (_, low, high), (lower, upper) = decision.gain, decision.next_gain
    assert lower < low < high < upper
    told = f"the next window will show {lower:+.4f} to {upper:+.4f}"
    assert told in gate_of(decision, "roc_auc against the champion").detail
    assert Decision.from_json(decision.to_json()) == decision
    assert judged(skilled).next_gain is None  # no champion: no gain


def test_the_tag_is_read_back_and_a_newer_format_is_refused() -> None:
    text = PROMISED.to_text()

    assert GainPrediction.from_text(text) == PROMISED
    assert '"format": 1' in text
    with pytest.raises(NewerFormatError, match="gate_prediction"):
        GainPrediction.from_text(text.replace('"format": 1', '"format": 99'))
    assert next_gain(ConfidenceInterval(0.1, float("nan"), float("nan"))) is None


def test_what_winners_look_better_by_is_taken_off() -> None:
    """Of challengers that are as good as the champion, the 2.5 % that win look better by .025; then by .007 at most."""
    draw, error, shipped = np.random.default_rng(4), 0.015, []
    own, theirs = error * draw.normal(size=(2, 4000))
    reach = 1.96 * error
    for mine, other in zip(own, theirs, strict=True):
        gain, root = mine - other, np.sqrt(2)
        if gain <= root * reach:
            continue
        sides = [ConfidenceInterval(v, v - reach, v + reach) for v in (mine, other)]
        whole = ConfidenceInterval(gain, gain - root * reach, gain + root * reach)
        found = MeasuredMetric(METRICS["roc_auc"], *sides, whole)
        shipped.append((mine, mine - optimism_of(found, 0.0, ("better",), 0.95)))

    naive, corrected = np.mean(shipped, axis=0)

    assert naive > 0.02
    assert -0.005 < corrected < 0.01
    assert optimism_of(found, 0.0, ("better", "not_enough_evidence"), 0.95) == 0  # nothing was chosen


def test_a_baseline_is_corrected_in_the_metric_s_direction() -> None:
    for metric, moved in (("roc_auc", 0.78), ("brier", 0.82)):
        spec = small_spec(gate={"metric": metric})
        text = replace(PROMISED, metric=metric, optimism=0.02).to_text()

        found, note = without_optimism(spec, Level(100, 0.8, 0.79, 0.81), text)

        assert found is not None
        assert (found.value, found.high - found.low) == (pytest.approx(moved), pytest.approx(0.02))
        assert "because it was chosen on them" in note
    assert without_optimism(small_spec(), Level(100, 0.8, 0.79, 0.81), "") == (
        Level(100, 0.8, 0.79, 0.81),
        "",
    )


@pytest.mark.parametrize("between", [0.0, 0.03])
def test_past_misses_widen_the_next_intervals_until_they_hold(between: float) -> None:
    """Windows differ by .03 beyond their own error of .01: of the last twenty of forty predictions 92 % or more hold."""
    draw, held, late = np.random.default_rng(9), [], []
    for _ in range(60):
        past: list[tuple[GainPrediction, float]] = []
        for number in range(40):
            now, came = 0.01 * draw.normal(size=2) + between * draw.normal(size=2)
            found = next_gain(ConfidenceInterval(now, now - 0.0196, now + 0.0196), window_factor(past))
            assert found is not None
            (late if number >= 20 else held).append(found.low <= came <= found.high)
            past.append((replace(PROMISED, gain=now, lower=now - 0.0277, upper=now + 0.0277), came))
    assert np.mean(late) >= 0.92
    assert np.mean(held) >= (0.94 if between == 0 else 0.75)  # 0.84; without a past 0.4


def test_a_past_that_missed_makes_a_decision_less_sure() -> None:
    sides = (lambda f: skilled(f)), (lambda f: noisier(f, 1.0))
    calm = judged(*sides)
    assert calm.gain is not None
    rows = window()
    models = [
        EvaluatedModel(name, Model(formula), f"models:/{name}")
        for name, formula in zip("ab", sides, strict=True)
    ]
    spec = small_spec(gate={"resamples": 400, "margin": 0.02})

    unsure = evaluate(spec, "key", *rows, *models, past_gains=[(PROMISED, 0.5)] * 8)

    assert calm.verdict == "better"
    assert unsure.verdict == "not_enough_evidence"
    assert unsure.gain is not None
    assert unsure.gain[0] == calm.gain[0]
    assert unsure.gain[1] < calm.gain[1] < calm.gain[2] < unsure.gain[2]
