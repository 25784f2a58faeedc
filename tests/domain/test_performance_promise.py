"""What a version promised, from a real registry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from evermodel.monitoring.performance.baseline import baseline_of
from evermodel.registry.registry import ModelRegistry
from support.flights import World


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
