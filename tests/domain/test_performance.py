from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from evermodel.monitoring.performance import matured_performance
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window
from support.small_spec import small_spec

START = datetime(2026, 1, 5, tzinfo=UTC)
WEEK = Window(START, START + timedelta(days=7))
PER_DAY = 40


def _world(tmp_path: Path, **changes: Any) -> tuple[ModelSpec, pa.Table, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    rows = 7 * PER_DAY
    labels = generator.integers(0, 2, rows)
    scores = np.clip(0.3 * labels + 0.7 * generator.random(rows), 0, 1)
    times = [START + timedelta(days=i // PER_DAY, hours=5) for i in range(rows)]
    columns = {"id": np.arange(rows), "at": times, "amount": scores, "age": scores, "colour": ["red"] * rows}
    pq.write_table(pa.table({**columns, "late": changes.get("labels", labels)}), tmp_path / "small.parquet")
    spec = small_spec(
        source={"path": str(tmp_path / "small.parquet")}, label={"column": "late", "delay": "2d"}
    )
    predictions = pa.table({"prediction_id": [str(i) for i in range(rows)], "score": scores})
    return spec, predictions, labels, scores


@pytest.mark.parametrize(("as_of_day", "days"), [(3, 1), (7, 5), (8, 6), (9, 7), (30, 7)])
def test_only_labels_that_had_matured_are_used(as_of_day: int, days: int, tmp_path: Path) -> None:
    spec, predictions, labels, scores = _world(tmp_path)

    found = matured_performance(spec, predictions, WEEK, START + timedelta(days=as_of_day))

    matured = slice(0, days * PER_DAY)
    assert found is not None
    assert found.value == pytest.approx(roc_auc_score(labels[matured], scores[matured]))
    assert found.low < found.value < found.high


def test_the_order_of_predictions_and_those_without_a_label_make_no_difference(tmp_path: Path) -> None:
    spec, predictions, labels, scores = _world(tmp_path)
    shuffled = predictions.take(np.random.default_rng(1).permutation(len(scores)))
    more = pa.concat_tables([shuffled, pa.table({"prediction_id": ["stranger"], "score": [0.5]})])

    found = matured_performance(spec, more, WEEK, START + timedelta(days=9))

    assert found is not None
    assert found.value == pytest.approx(roc_auc_score(labels, scores))


def test_the_interval_does_not_depend_on_the_order_in_which_rows_were_joined(tmp_path: Path) -> None:
    spec, predictions, _, scores = _world(tmp_path)
    shuffled = predictions.take(np.random.default_rng(1).permutation(len(scores)))

    one, other = (
        matured_performance(spec, t, WEEK, START + timedelta(days=9)) for t in (predictions, shuffled)
    )

    assert one == other


def test_without_matured_labels_or_with_one_class_there_is_no_performance(tmp_path: Path) -> None:
    spec, predictions, _, _ = _world(tmp_path)
    assert matured_performance(spec, predictions, WEEK, START + timedelta(days=2)) is None
    assert matured_performance(spec, predictions.slice(0, 0), WEEK, START + timedelta(days=9)) is None

    one_class, _, _, _ = _world(tmp_path, labels=np.ones(7 * PER_DAY, dtype=np.int8))
    assert matured_performance(one_class, predictions, WEEK, START + timedelta(days=9)) is None


def test_labels_that_are_null_are_left_out(tmp_path: Path) -> None:
    labels = [None if i % 3 == 0 else i % 2 for i in range(7 * PER_DAY)]
    spec, predictions, _, scores = _world(tmp_path, labels=pa.array(labels, pa.int8()))
    known = [i for i, label in enumerate(labels) if label is not None]

    found = matured_performance(spec, predictions, WEEK, START + timedelta(days=9))

    assert found is not None
    assert found.value == pytest.approx(roc_auc_score([labels[i] for i in known], scores[known]))
