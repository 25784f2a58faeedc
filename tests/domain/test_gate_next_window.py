"""The gain that the next window will show: promised with an interval, and kept on the version."""

from __future__ import annotations

import numpy as np
import pytest

from evermodel.core.errors import NewerFormatError
from evermodel.evaluation.decision import Decision
from evermodel.evaluation.next_window import GainPrediction, next_gain
from evermodel.stats.bootstrap import ConfidenceInterval
from evermodel.stats.clusters import Clusters
from support.gate_models import gate_of, judged, noisier, skilled

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
