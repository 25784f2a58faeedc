"""What a version promised, from a real registry."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from sklearn.metrics import roc_auc_score

from evermodel.core.errors import SnapshotStoreError, StorageUnavailableError, TrackingUnavailableError
from evermodel.monitoring.performance import baseline
from evermodel.monitoring.performance.baseline import baseline_of
from evermodel.registry.registry import ModelRegistry
from support.flights import World
from support.small_spec import small_spec


def test_the_promise_is_the_decision_s_value_with_its_error_and_the_test_rows_are_kept(world: World) -> None:
    world.change(candidates=[{"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression"}])
    world.champion("2013-03-11")
    version = ModelRegistry(world.client).champion(world.name)

    first = baseline_of(world.spec, version, world.client, world.settings)

    decision = world.retrain("2013-03-11").decision()
    assert first.level is not None
    assert first.rows is not None
    assert first.level.value == pytest.approx(decision.challenger[0])
    assert first.level.rows == first.rows.num_rows == decision.rows
    assert first.level.low < first.level.value < first.level.high
    assert roc_auc_score(np.asarray(first.rows["label"]), np.asarray(first.rows["score"])) == pytest.approx(
        decision.challenger[0]
    )

    version.tags["evermodel.snapshot"] = "snapshots/gone.parquet"
    assert baseline_of(world.spec, version, world.client, world.settings).level == first.level
    kept: Path = world.settings.lake / "promises" / world.name / "version=1.parquet"
    kept.unlink()
    gone = baseline_of(world.spec, version, world.client, world.settings)
    assert gone.rows is None
    assert "cannot be read" in gone.note
    assert gone.level is not None
    assert (gone.level.value, gone.level.error) == (decision.challenger[0], 0.0)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (StorageUnavailableError("s3://lake does not answer", "wait"), True),
        (TrackingUnavailableError("MLflow does not answer", "wait"), True),
        (MlflowException("failures: ChunkedEncodingError('Response ended prematurely')"), True),
        (MlflowException("failures: HTTPError('404 Client Error: NOT FOUND')"), False),
        (SnapshotStoreError("the remote has no such content", "restore it"), False),
        (FileNotFoundError("s3://lake/snapshots/x does not exist"), False),
    ],
)
def test_a_server_that_does_not_answer_changes_no_baseline(
    monkeypatch: pytest.MonkeyPatch, error: Exception, raised: bool
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(baseline, "_test_rows", fail)
    version = SimpleNamespace(version="1", name="small", tags={})
    with pytest.raises(type(error)) if raised else nullcontext():
        assert "cannot be read" in baseline_of(small_spec(), version, None, None).note  # type: ignore[arg-type]
