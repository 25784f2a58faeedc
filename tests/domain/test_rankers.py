"""Rankers: lists of the rows of equal `group_column`, through the whole loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from evermodel.core.errors import SourceError, SpecError
from evermodel.data.dtypes import feature_frame, with_label
from evermodel.data.prediction_log import read_log
from evermodel.modeling import tasks
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.fitting import rows_from
from evermodel.modeling.model_store import download, load_files
from evermodel.modeling.scoring.day import score_day
from evermodel.modeling.scoring.loaded_version import Answer, read_served
from evermodel.modeling.scoring.request_rows import Inputs, parse_rows
from evermodel.modeling.skops_files import read_pipeline, write_pipeline
from evermodel.modeling.training import fit_final
from evermodel.pipelines.drift import DriftRun
from evermodel.pipelines.reproduce_worker import compare_answers
from evermodel.serving.fallback import Answered
from evermodel.serving.predict import _completed
from evermodel.spec import ModelSpec
from evermodel.spec.window import last_day, parse_moment
from evermodel.stats.metrics import MetricParameters, metrics_by_name
from support.flights import World
from support.small_model import small_rows, small_spec

RANKERS = {
    "lightgbm": ("lightgbm.LGBMRanker", {"n_estimators": 15, "min_child_samples": 5}),
    "xgboost": ("xgboost.XGBRanker", {"n_estimators": 15}),
    "catboost": ("catboost.CatBoostRanker", {"iterations": 15}),
}
LISTS = "SELECT *, strftime(scheduled_at, '%Y-%m-%d ') || origin AS board FROM source"


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


def _with_lists(world: World, library: str) -> None:
    """Rank the flights of each day and airport: which of them will be late."""
    world.change(
        task="ranking",
        group_column="board",
        context=["board"],
        source={"query": LISTS},
        candidates=[_candidate(library)],
        gate={"metric": None, "floor": None, "margin": 5.0, "max_calibration_error": None},
    )


def test_the_whole_loop(world: World, tmp_path: Path) -> None:
    """Train, gate, register, serve, batch, drift and performance, and make it again bit for bit."""
    _with_lists(world, "lightgbm")
    first, version = world.champion("2013-03-11", evidence=True), world.champion("2013-03-25")
    assert first != version

    spec, client, files = world.spec, world.client, tmp_path / "model"
    download(client, f"models:/{world.name}/{version}", files)
    served = read_served(spec, version, files)
    assert served.engine == "onnx"
    for day in range(26, 32):
        score_day(spec, parse_moment(f"2013-03-{day}"), client, world.settings)
    moment = parse_moment("2013-03-31")
    log = read_log(spec, world.settings.lake, last_day(moment)).to_pandas()
    assert log["board"].str.fullmatch(r"2013-03-30 (JFK|LGA|EWR)").all()
    frame = feature_frame(spec, log)
    rows = list(frame[list(served.inputs.names)].itertuples(index=False, name=None))
    np.testing.assert_allclose([a.score for a in served.predict(rows)], log["score"], rtol=0, atol=1e-12)

    verdict = DriftRun(spec, moment, client, world.settings).judge()
    assert verdict.performance.metric == "ndcg"
    assert 0 < verdict.performance.low < verdict.performance.value < verdict.performance.high < 1

    snapshot, as_of = world.retrain("2013-03-25").extract().path, parse_moment("2013-03-25")
    again = fit_final(spec, spec.candidates[0], snapshot=snapshot, as_of=as_of, settings=world.settings)
    stored = load_files(files).pipeline
    compared = compare_answers(tasks.predict(spec, stored, frame), tasks.predict(spec, again, frame))
    assert compared["different_rows"] == 0
