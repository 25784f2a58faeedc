"""Boosting libraries as they are meant, and the whole loop with each: train, gate, register, serve, score, reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from evermodel.core.errors import ModelFormatError, NewerFormatError, SpecError
from evermodel.modeling import tasks
from evermodel.modeling.boosting import libraries
from evermodel.modeling.boosting.libraries import iterations_parameter
from evermodel.modeling.estimators import build_estimator, build_pipeline
from evermodel.modeling.onnx import runtime
from evermodel.modeling.onnx.batch import for_batches
from evermodel.modeling.onnx.export import export
from evermodel.spec import CandidateSpec
from support.flights import World
from support.small_spec import small_spec
from support.training_jobs import workbench
from support.whole_loop import go_round

ESTIMATORS = {"lightgbm": "lightgbm.LGBM", "xgboost": "xgboost.XGB", "catboost": "catboost.CatBoost"}
# Sums of 32 bits may be too far from those of the graph: then XGBoost's own predictor serves.
ENGINES = {"lightgbm": {"onnx"}, "xgboost": {"onnx", "native"}, "catboost": {"native"}}
TASKS = ("binary", "multiclass", "regression")


def _estimator(library: str, task: str = "binary") -> str:
    pytest.importorskip(library)
    return ESTIMATORS[library] + ("Regressor" if task == "regression" else "Classifier")


def _candidate(library: str, task: str = "binary", **params: Any) -> dict[str, Any]:
    return {"name": "trees", "estimator": _estimator(library, task), "params": {"n_estimators": 8, **params}}


def _levels(count: int = 200, rows: int = 3000) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows whose label depends on the level of one column with many of them, and on nothing else."""
    generator = np.random.default_rng(4)
    level = generator.integers(0, count, rows)
    late = generator.random(rows) < np.where(generator.permutation(count) % 2 == 0, 0.9, 0.1)[level]
    frame = pd.DataFrame(
        {"amount": generator.normal(size=rows), "age": 1.0, "colour": [f"c{n}" for n in level]}
    )
    return frame, late.astype(np.int8)


@pytest.mark.parametrize("library", ESTIMATORS)
def test_many_levels_are_split_as_categories(library: str) -> None:
    """As numbers in the order of their names, 200 levels tell 8 stumps of trees next to nothing."""
    frame, labels = _levels()
    spec = small_spec(candidates=[_candidate(library, n_estimators=20)])
    pipeline = build_pipeline(spec, spec.candidates[0]).fit(frame[:2000], labels[:2000])

    assert tasks.primary(spec)(labels[2000:], tasks.predict(spec, pipeline, frame[2000:])) > 0.85


@pytest.mark.parametrize("library", ESTIMATORS)
def test_what_training_never_saw_gets_an_answer(library: str) -> None:
    frame, labels = _levels(20, 400)
    frame.loc[::9, ["amount", "colour"]] = [np.nan, None]
    spec = small_spec(candidates=[_candidate(library)])
    pipeline = build_pipeline(spec, spec.candidates[0]).fit(frame, labels)
    odd = pd.DataFrame({"amount": [1e300, -1e300, np.nan], "age": np.nan, "colour": ["mauve", None, "254"]})

    assert tasks.sound(spec, tasks.predict(spec, pipeline, odd))


@pytest.mark.parametrize("library", ESTIMATORS)
def test_early_stopping_takes_the_number_of_trees_that_later_rows_like_best(library: str) -> None:
    job = workbench(
        _candidate(library, n_estimators=64, learning_rate=0.9), training={"early_stopping": True}
    )

    fitted = job.fit(dict(job.candidate.params))

    assert 0 < fitted.params["n_estimators"] < 64
    assert fitted.searched["n_estimators"] == 64
    alone = workbench(_candidate(library, n_estimators=64, learning_rate=0.9)).fit(dict(job.candidate.params))
    assert fitted.metrics["roc_auc"] >= alone.metrics["roc_auc"]


@pytest.mark.parametrize("library", ESTIMATORS)
def test_classes_are_weighted(library: str) -> None:
    rare = {"training": {"class_weight": "balanced"}}
    frame, _ = _levels(10, 10)
    plain, balanced = (
        workbench(_candidate(library), **section).fit({"n_estimators": 8}) for section in ({}, rare)
    )

    means = [tasks.predict(small_spec(), fitted.pipeline, frame).mean() for fitted in (plain, balanced)]
    assert means[0] != means[1]


@pytest.mark.parametrize(
    ("library", "parameter"),
    [("lightgbm", "categorical_feature"), ("xgboost", "enable_categorical"), ("catboost", "cat_features")],
)
def test_what_the_features_section_says_is_no_parameter(library: str, parameter: str) -> None:
    candidate = CandidateSpec(name="trees", estimator=_estimator(library), params={parameter: [0]})

    with pytest.raises(SpecError, match=rf"{parameter} cannot be set[\s\S]*features\.categorical"):
        build_estimator(candidate, 0)


def test_the_parameter_of_the_number_of_trees_is_the_one_that_the_candidate_uses() -> None:
    assert iterations_parameter("lightgbm.LGBMRegressor", {"num_iterations": 5}) == "num_iterations"
    assert iterations_parameter("catboost.CatBoostRegressor", {}) == "iterations"
    assert iterations_parameter("xgboost.XGBRFRegressor", {}) is None
    assert iterations_parameter("sklearn.linear_model.Ridge", {}) is None


def test_a_model_of_a_series_that_was_not_checked_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, labels = _levels(5, 60)
    spec = small_spec(candidates=[_candidate("lightgbm")])
    pipeline = build_pipeline(spec, spec.candidates[0]).fit(frame, labels)
    state = pipeline[-1].__getstate__()
    monkeypatch.setattr(libraries.LightGBM, "reviewed", "3")

    with pytest.raises(ModelFormatError, match=r"lightgbm 4\.\S+ is installed \(checked: 3\)"):
        type(pipeline[-1])().__setstate__(state)


def test_a_model_of_a_later_release_is_refused() -> None:
    frame, labels = _levels(5, 60)
    spec = small_spec(candidates=[_candidate("lightgbm")])
    booster = build_pipeline(spec, spec.candidates[0]).fit(frame, labels)[-1]

    with pytest.raises(NewerFormatError, match="the model was written by a newer release"):
        type(booster)().__setstate__({**booster.__getstate__(), "format": 2})


def test_a_stored_model_names_no_class_of_its_library() -> None:
    frame, labels = _levels(5, 60)
    spec = small_spec(candidates=[_candidate("lightgbm")])
    pipeline = build_pipeline(spec, spec.candidates[0]).fit(frame, labels)

    assert not [
        name for name, value in pipeline[-1].__getstate__().items() if "lightgbm" in type(value).__module__
    ]


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_batches_are_answered_by_masks_of_leaves(library: str, tmp_path: Path) -> None:
    """Also where the trees see numbers of 32 bits: those between two of them, too large for them, or missing."""
    frame, labels = _levels(20, 400)
    frame.loc[::9, ["amount", "colour"]] = [np.nan, None]
    spec = small_spec(candidates=[_candidate(library)])
    exported = export(build_pipeline(spec, spec.candidates[0]).fit(frame, labels))
    frame.loc[::7, "amount"] += 1e-9
    frame.loc[::31, "amount"] = 1e300
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.set_column(2, "colour", table["colour"].dictionary_encode())
    runtime.write(exported, tmp_path)
    graph = runtime.start(exported)
    batches = for_batches(tmp_path, graph, few=0)
    np.testing.assert_allclose(batches.answer_table(table), graph.answer_table(table), rtol=0, atol=1e-9)
    assert batches.engine == "masks"


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("library", ESTIMATORS)
def test_the_whole_loop(world: World, library: str, task: str) -> None:
    """A drafted spec's versions pass the gate, answer in serving as in the batch, and are made again bit for bit."""
    done = go_round(world, task, _candidate(library, task, learning_rate=0.3))

    assert done.served.engine in ENGINES[library]
