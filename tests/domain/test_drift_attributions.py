"""Drift of attributions: found where the answers come to rest on another feature, and quiet where only days differ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from evermodel.data.dtypes import feature_frame
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.model_store import LoadedModel
from evermodel.modeling.onnx.export import export
from evermodel.modeling.onnx.runtime import start
from evermodel.modeling.scoring.answer_details import ShapleyValues
from evermodel.modeling.scoring.answer_reference import AnswerReference
from evermodel.modeling.scoring.day import score_day
from evermodel.modeling.scoring.loaded_version import ServedModel, make_served
from evermodel.monitoring.drift import attributions
from evermodel.monitoring.drift.attributions import attribution_findings
from evermodel.monitoring.drift.family import DriftTest, judge_family
from evermodel.pipelines.drift import DriftRun
from evermodel.spec import ModelSpec
from evermodel.spec.window import parse_moment
from support.flights import FAST, World
from support.small_spec import small_spec

SPEC = small_spec(features={"numeric": ["amount", "age"], "categorical": ["colour"]})
DAY = np.timedelta64(1, "D")


def rows(days: int, seed: int, *, age: float = 1.0, per_day: int = 20, time: str = "at") -> pa.Table:
    """Rows whose `amount` moves from day to day, and whose `age` is spread so widely."""
    generator = np.random.default_rng(seed)
    count, moved = days * per_day, np.repeat(generator.normal(0, 0.7, days), per_day)
    times = np.repeat(np.datetime64("2024-01-01", "us") + np.arange(days) * DAY, per_day)
    return pa.table(
        {
            time: pa.array(times, pa.timestamp("us", tz="UTC")),
            "amount": generator.normal(size=count) + moved,
            "age": age * generator.normal(size=count),
            "colour": generator.choice(["red", "green"], count),
        }
    )


@pytest.fixture(scope="module")
def served() -> ServedModel:
    table = rows(40, 0)
    frame = feature_frame(SPEC, table)
    labels = (frame["amount"] + frame["age"] + np.random.default_rng(1).logistic(size=len(frame)) > 0).astype(
        int
    )
    pipeline = build_pipeline(SPEC, SPEC.candidates[0]).fit(frame, labels)
    inputs = [{"name": n, "type": "string" if n == "colour" else "double"} for n in frame.columns]
    model = make_served(SPEC, "1", LoadedModel(pipeline, frame.head(5), inputs, start(export(pipeline))))
    background = tuple(frame.head(20).itertuples(index=False, name=None))
    return replace(model, reference=AnswerReference(features=tuple(frame.columns), background=background))


@pytest.fixture(autouse=True)
def few_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributions, "_CALLS", 40)
    monkeypatch.setattr(attributions, "_ROWS", 150)


def found(served: ServedModel, spec: ModelSpec = SPEC, days: int = 14, **now: Any) -> dict[str, DriftTest]:
    findings = attribution_findings(
        spec, served, rows(28, 2), rows(days, **{"seed": 3, **now, "time": "event_time"}), "r"
    )
    return {one.drift.column: one for one in findings}


def test_a_feature_that_the_answers_come_to_rest_on_is_found(served: ServedModel) -> None:
    tests = found(served, age=4.0)
    assert sum(one.weight for one in tests.values()) == pytest.approx(1)
    verdicts = {one.column: one for one in judge_family(tests.values(), 0.01)}
    assert {name for name, one in verdicts.items() if one.severity != "none"} == {"amount", "age"}
    age = verdicts["age"]
    assert age.what == "attribution"
    assert age.low < age.effect < age.high
    assert age.low > 0.1


def test_days_that_differ_raise_no_alarm(served: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 windows without a change, those with an alarm at 10 %; rows counted alone raise one in more.

    Of 400: 1.8 %, and 12.5 % of rows alone; at 1 % 0.3 % and 2 %.
    """

    def of_a_sum(served: Any, row: Any, *more: Any) -> ShapleyValues:
        return ShapleyValues(0.0, np.array([row[0], row[1], 0.3 * (row[2] == "red")]))

    monkeypatch.setattr(attributions, "shapley_values", of_a_sum)
    alone = small_spec(cluster="row")
    by_day, by_row = (
        sum(
            any(one.p_value < 0.1 / 3 for one in (t.drift for t in found(served, spec, 7, seed=s).values()))
            for s in range(10, 50)
        )
        for spec in (SPEC, alone)
    )
    assert by_day <= 8  # P(more | 10 %) < 2 %
    assert by_row > by_day


def test_rows_of_one_cluster_count_as_one_draw(served: ServedModel) -> None:
    spec = small_spec(context=["who"], cluster="who")
    before, now = rows(28, 2), rows(14, 3, age=4.0, time="event_time")
    before = before.append_column("who", pa.array([f"a{n % 50}" for n in range(before.num_rows)]))
    few = now.append_column("who", pa.array([f"b{n % 3}" for n in range(now.num_rows)]))
    many = now.append_column("who", pa.array([f"b{n % 50}" for n in range(now.num_rows)]))
    assert {t.decided for t in attribution_findings(spec, served, before, few, "r")} == {"none"}
    assert {t.decided for t in attribution_findings(spec, served, before, many, "r")} == {None}


def test_what_cannot_be_compared_is_said_or_left_out(served: ServedModel) -> None:
    window = rows(7, 3, time="event_time")
    (one,) = attribution_findings(SPEC, served, None, window, "r")
    assert (one.decided, one.drift.summary) == (
        "none",
        "not evaluated: 140 rows against 0, at least 50 are needed",
    )
    assert attribution_findings(SPEC, replace(served, reference=None), rows(28, 2), window, "r") == []
    days = attribution_findings(SPEC, served, rows(3, 2), window, "r")
    assert {t.drift.summary for t in days} == {"not evaluated: too few days to tell how much days differ"}


def test_it_is_part_of_the_daily_verdict(world: World) -> None:
    world.change(serving={"explain": True}, candidates=[FAST], cluster="row", respond={"together": "off"})
    world.champion("2013-03-11")
    for day in range(12, 19):
        score_day(world.spec, parse_moment(f"2013-03-{day}"), world.client, world.settings)
    moment = parse_moment("2013-03-18")
    verdict = DriftRun(world.spec, moment, world.client, world.settings).judge()
    mine = [one for one in verdict.columns if one.what == "attribution"]
    assert {one.column for one in mine} == set(world.spec.features.names)
    assert not any(one.summary.startswith("not evaluated") for one in mine)
    world.change(respond={"attribution": "off"})
    verdict = DriftRun(world.spec, moment, world.client, world.settings).judge()
    assert "attribution" not in {one.what for one in verdict.columns}
