"""Rankers: lists of the rows of equal `group_column`, through the whole loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from evermodel.core.errors import SourceError, SpecError
from evermodel.data.dtypes import with_label
from evermodel.modeling import tasks
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.fitting import rows_from
from evermodel.modeling.scoring.loaded_version import Answer
from evermodel.modeling.scoring.request_rows import Inputs, parse_rows
from evermodel.modeling.skops_files import read_pipeline, write_pipeline
from evermodel.serving.fallback import Answered
from evermodel.serving.predict import _completed
from evermodel.spec import ModelSpec
from evermodel.stats.metrics import MetricParameters, metrics_by_name
from support.flights import World
from support.small_model import small_rows, small_spec
from support.whole_loop import go_round

RANKERS = {
    "lightgbm": ("lightgbm.LGBMRanker", {"n_estimators": 15, "min_child_samples": 5}),
    "xgboost": ("xgboost.XGBRanker", {"n_estimators": 15}),
    "catboost": ("catboost.CatBoostRanker", {"iterations": 15}),
}


def _candidate(library: str) -> dict[str, Any]:
    estimator, params = RANKERS[library]
    return {"name": library, "estimator": estimator, "params": params}


def ranking(**sections: Any) -> ModelSpec:
    given = {
        "task": "ranking",
        "group_column": "board",
        "context": ["board"],
        "candidates": [_candidate("lightgbm")],
    }
    return small_spec("unused", **{**given, **sections})


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"group_column": None}, "group_column: name the column"),
        ({"context": []}, "group_column: name the column .* list it under context"),
        ({"task": "binary"}, "group_column: a binary task has no lists"),
        ({"decision": {"rule": "value", "value": 0.5}}, "decision: a ranking task has no threshold"),
        ({"training": {"calibrate": "sigmoid"}}, "training.calibrate: ranking has no classes"),
        ({"training": {"recency_half_life": "7d"}}, "training.recency_half_life: ranking has no weights"),
        ({"gate": {"max_calibration_error": 0.1}}, "ranking has no probabilities to calibrate"),
        ({"gate": {"metric": "rmse"}}, "rmse is not a metric of a ranking task"),
        ({"rollout": {"strategy": "bandit"}}, "rollout.strategy: bandit: not available for a ranking"),
        ({"rollback": {"quality": True}}, "rollback.quality: not available"),
    ],
)
def test_what_a_ranking_cannot_have_is_said(sections: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ranking(**sections)


@pytest.mark.parametrize(
    ("task", "estimator"),
    [
        ("ranking", "lightgbm.LGBMRegressor"),
        ("ranking", "sklearn.linear_model.Ridge"),
        ("regression", "lightgbm.LGBMRanker"),
        ("binary", "xgboost.XGBRanker"),
    ],
)
def test_a_ranker_ranks_and_nothing_else_does(task: str, estimator: str) -> None:
    group = "board" if task == "ranking" else None
    spec = ranking(task=task, group_column=group, candidates=[{"name": "one", "estimator": estimator}])
    with pytest.raises(SpecError, match="is not a"):
        build_pipeline(spec, spec.candidates[0])


def test_a_relevance_below_zero_is_no_label() -> None:
    table = small_rows(late=[-1.0, *[1.0] * 79])
    with pytest.raises(SourceError, match="a finite number of at least 0"):
        with_label(ranking(), table)


@pytest.mark.parametrize("library", RANKERS)
def test_a_ranker_learns_what_is_relevant_and_is_stored_as_data(library: str, tmp_path: Path) -> None:
    """Lists of eight rows whose warmest are relevant; their rows stand in any order."""
    generator = np.random.default_rng(0)
    count, per_list = 480, 8
    temp, boards = generator.normal(size=count), np.repeat(np.arange(count // per_list), per_list)
    late = (temp.reshape(-1, per_list) >= np.sort(temp.reshape(-1, per_list))[:, [-2]]).ravel().astype(float)
    order = generator.permutation(count)
    table = small_rows(
        days=60, temp=temp[order].tolist(), late=late[order].tolist(), board=[f"b{n}" for n in boards[order]]
    )
    spec = ranking(candidates=[_candidate(library)])
    rows = rows_from(spec, table)
    pipeline = build_pipeline(spec, spec.candidates[0]).fit(rows.frame, rows.labels)
    scores = tasks.predict(spec, pipeline, rows.frame)
    metrics = metrics_by_name("ranking", MetricParameters(k=2))
    assert metrics["recall_at_k"](rows.labels, scores) > 0.9
    assert metrics["ndcg"](rows.labels, scores) > 0.9

    write_pipeline(pipeline, tmp_path / "model.skops")
    assert (tasks.predict(spec, read_pipeline(tmp_path / "model.skops"), rows.frame) == scores).all()


INPUTS = Inputs(("temp",), frozenset({"temp"}), ("board",))


def _answered(rows: list[dict[str, Any]], scores: list[float]) -> Answered:
    spec = ranking(features={"numeric": ["temp"], "categorical": []})
    parsed = parse_rows(json.dumps({"rows": rows}).encode(), INPUTS, 10, "id")
    answers = [Answer(score) for score in scores]
    return _completed(spec, Answered(answers, "1", INPUTS, parsed.rows), parsed, "request-1")


def test_the_rows_of_a_request_are_ranked_and_logged_as_one_list() -> None:
    found = _answered([{"temp": 1}, {"temp": 2}, {"temp": 3}], [0.1, 7.5, 7.5])
    assert [answer.rank for answer in found.answers] == [3, 1, 2]
    assert found.context == [("request-1",)] * 3


def test_a_request_of_several_lists_ranks_each() -> None:
    rows = [{"temp": 1, "board": board} for board in ("a", "b", "a", "b")]
    found = _answered(rows, [1.0, 5.0, 2.0, -1.0])
    assert [answer.rank for answer in found.answers] == [2, 1, 1, 2]
    assert found.context == [("a",), ("b",), ("a",), ("b",)]


@pytest.mark.slow
def test_the_whole_loop(world: World) -> None:
    """Flights of a day and an airport make a list: proposed, trained, gated, served, judged, and rolled back."""
    done = go_round(world, "ranking", _candidate("lightgbm"), days=6, evidence=True)

    assert done.served.engine == "onnx"
    assert (done.world.spec.group_column, done.world.spec.context) == ("board_id", ("board_id",))
    assert done.log["board_id"].str.fullmatch(r"2013-04-0\d (JFK|LGA|EWR)").all()
    found = done.verdict.performance
    assert found.metric == "ndcg"
    assert 0 < found.low < found.value < found.high < 1
