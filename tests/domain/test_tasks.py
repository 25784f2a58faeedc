from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)

from evermodel.core.errors import SourceError, SpecError
from evermodel.data.dtypes import with_label
from evermodel.data.prediction_log import read_log
from evermodel.modeling.model_store import load_model
from evermodel.modeling.scoring.day import score_day
from evermodel.modeling.scoring.loaded_version import make_served
from evermodel.pipelines.drift import DriftRun
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import CHAMPION
from evermodel.spec.window import last_day, parse_moment
from evermodel.stats.metrics import METRICS_BY_TASK
from support.flights import World


@pytest.mark.parametrize("seed", range(5))
def test_multiclass_metrics_equal_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 4, 300), rng.dirichlet(np.ones(4), 300)
    weights = rng.random(300)
    guesses = scores.argmax(axis=1)
    expected = {
        "log_loss": log_loss(labels, scores, sample_weight=weights),
        "accuracy": accuracy_score(labels, guesses, sample_weight=weights),
        "macro_f1": f1_score(labels, guesses, average="macro", sample_weight=weights),
    }
    found = {n: m.prepare(labels, scores)(weights[None])[0] for n, m in METRICS_BY_TASK["multiclass"].items()}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_regression_metrics_equal_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, weights = rng.normal(size=300), rng.random(300)
    scores = labels + rng.normal(size=300)
    expected = {
        "rmse": root_mean_squared_error(labels, scores, sample_weight=weights),
        "mae": mean_absolute_error(labels, scores, sample_weight=weights),
        "r2": r2_score(labels, scores, sample_weight=weights),
    }
    found = {n: m.prepare(labels, scores)(weights[None])[0] for n, m in METRICS_BY_TASK["regression"].items()}
    assert found == pytest.approx(expected)


def _with_task(world: World, task: str) -> None:
    """Give the example another label: how far the flight goes, as a class or as a number with noise."""
    table = pq.read_table(world.settings.models.parent / "data" / "flights.parquet").to_pandas()
    rng = np.random.default_rng(1)
    if task == "multiclass":
        noisy = table["distance"] + rng.normal(0, 200, len(table))
        table["late"] = pd.cut(noisy, [-1e9, 600, 1200, 1e9], labels=["short", "middle", "long"]).astype(str)
        trees, linear = "HistGradientBoostingClassifier", "sklearn.linear_model.LogisticRegression"
    else:
        table["late"] = table["distance"] / 10 + table["hour"] + rng.normal(0, 20, len(table))
        trees, linear = "HistGradientBoostingRegressor", "sklearn.linear_model.Ridge"
    file = world.settings.models.parent / "data" / "other.parquet"
    table.to_parquet(file, index=False)
    world.change(
        task=task,
        source={"path": str(file)},
        candidates=[
            {"name": "trees", "estimator": f"sklearn.ensemble.{trees}", "params": {"max_iter": 15}},
            {"name": "linear", "estimator": linear},
        ],
        gate={"metric": None, "floor": None, "margin": 5.0, "max_calibration_error": None},
    )


@pytest.mark.parametrize(("task", "metric"), [("multiclass", "accuracy"), ("regression", "rmse")])
def test_the_loop_runs_for_other_tasks(world: World, task: str, metric: str) -> None:
    _with_task(world, task)
    first = world.champion("2013-03-11")
    second = world.champion("2013-03-25")
    spec, client = world.spec, world.client
    assert ModelRegistry(client).at_alias(world.name, CHAMPION).version in (second, int(second))
    assert first != second

    for day in range(26, 32):
        score_day(spec, parse_moment(f"2013-03-{day}"), client, world.settings)
    moment = parse_moment("2013-03-31")
    log = read_log(spec, world.settings.lake, last_day(moment)).to_pandas()
    assert log["predicted"].notna().all() == (task == "multiclass")
    verdict = DriftRun(spec, moment, client, world.settings).judge()
    assert verdict.performance.metric == metric
    value = verdict.performance.value
    assert value is not None
    assert (value > 0.6) if task == "multiclass" else (value < 60)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_serving_answers_for_other_tasks(world: World, task: str, tmp_path: Path) -> None:
    _with_task(world, task)
    version = world.champion("2013-03-11")
    loaded = load_model(world.client, f"models:/{world.name}/{version}", tmp_path / "model")
    served = make_served(world.spec, version, loaded)
    rows = [tuple(served.example[name] for name in served.inputs.names)]
    (answer,) = served.predict(rows)
    if task == "multiclass":
        assert answer.label in {"short", "middle", "long"}
        assert 1 / 3 <= answer.score <= 1
    else:
        assert answer.label is None
        assert answer.score == pytest.approx(served.example["distance"] / 10, abs=80)


@pytest.mark.parametrize(
    ("task", "values", "wrong"),
    [
        ("binary", [0, 1, 2], "0/1"),
        ("regression", [1.0, float("inf")], "finite"),
        ("regression", ["a"], "finite"),
        ("multiclass", [1.5], "names or whole numbers"),
    ],
)
def test_a_label_that_does_not_fit_the_task_is_named(
    world: World, task: str, values: list[Any], wrong: str
) -> None:
    if task != "binary":
        _with_task(world, task)
    with pytest.raises(SourceError, match=wrong):
        with_label(world.spec, pa.table({"late": values}))


def test_a_metric_of_another_task_is_refused(world: World) -> None:
    _with_task(world, "regression")
    world.change(gate={"metric": "roc_auc"})
    with pytest.raises(SpecError, match=r"gate\.metric: roc_auc is not a metric of a regression task"):
        _ = world.spec


def test_a_classifier_cannot_be_a_candidate_of_a_regression(world: World) -> None:
    _with_task(world, "regression")
    world.change(candidates=[{"name": "a", "estimator": "sklearn.linear_model.LogisticRegression"}])
    retrain = world.retrain("2013-03-11")
    snapshot = retrain.extract()
    with pytest.raises(SpecError, match="is not a regressor"):
        world.train(retrain, snapshot.path)
