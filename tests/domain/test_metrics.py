from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from evermodel.stats.metrics import METRICS, calibration_error

PEERS = {
    "roc_auc": sk.roc_auc_score,
    "average_precision": sk.average_precision_score,
    "log_loss": lambda y, p, sample_weight=None: sk.log_loss(
        y, p, sample_weight=sample_weight, labels=[0, 1]
    ),
    "brier": sk.brier_score_loss,
}
# Few distinct scores, so that ties are common; 0 and 1 included, where the log loss has to be clipped.
ROW = st.tuples(
    st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000001, 0.9, 1.0]), st.integers(0, 3)
)
ROWS = st.lists(ROW, min_size=1, max_size=40).map(lambda rows: [*rows, (0, 0.5, 1), (1, 0.25, 2)])


@pytest.mark.parametrize("name", sorted(METRICS))
@given(rows=ROWS)
@settings(max_examples=80, deadline=None)
def test_a_metric_equals_that_of_scikit_learn_with_ties_and_weights(name: str, rows: list[Any]) -> None:
    labels, scores, weights = (np.array(part) for part in zip(*rows, strict=True))

    plain = METRICS[name](labels, scores)
    weighted = METRICS[name].prepare(labels, scores)(np.stack([weights, weights * 2.5]).astype(float))

    assert plain == pytest.approx(PEERS[name](labels, scores), abs=1e-12)
    expected = PEERS[name](labels, scores, sample_weight=weights)
    assert weighted == pytest.approx([expected, expected], abs=1e-12)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_a_resample_without_positives_has_no_value(name: str) -> None:
    value = METRICS[name].prepare(np.array([0, 1, 0]), np.array([0.1, 0.9, 0.3]))

    assert np.isnan(value(np.array([[1.0, 0.0, 1.0]]))).all()


@pytest.mark.parametrize(
    ("name", "sign"), [("roc_auc", 1), ("average_precision", 1), ("log_loss", -1), ("brier", -1)]
)
def test_a_gain_is_positive_when_the_challenger_is_better(name: str, sign: int) -> None:
    assert METRICS[name].gain(0.8, 0.7) == pytest.approx(0.1 * sign)


def test_calibration_error_of_known_cases() -> None:
    labels = np.tile([1, 0, 0, 0], 50)

    assert calibration_error(labels, np.full(200, 0.25), bins=1) == pytest.approx(0)
    assert calibration_error(labels, np.full(200, 0.65), bins=1) == pytest.approx(0.4)
    # Two bins of 100 rows: 0.2 said and 0.0 seen, 0.6 said and 0.5 seen.
    two = np.repeat([0.2, 0.6], 100)
    seen = np.concatenate([np.zeros(100), np.tile([0, 1], 50)])
    assert calibration_error(seen, two, bins=2) == pytest.approx((0.2 + 0.1) / 2)


def test_calibration_error_takes_fewer_rows_than_bins() -> None:
    assert calibration_error(np.array([1, 0]), np.array([0.9, 0.1])) == pytest.approx(0.1)
