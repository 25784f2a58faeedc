"""Columns of `context`: kept with the rows everywhere, seen by no model."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pydantic import ValidationError

from evermodel.core.errors import SourceError
from evermodel.data.prediction_log import log_schema, read_log
from evermodel.evaluation.evaluate import evaluate
from evermodel.evaluation.evaluated_model import EvaluatedModel
from evermodel.modeling.fitting import rows_from
from evermodel.modeling.scoring.day import score_day
from evermodel.modeling.scoring.request_columns import parse_columns
from evermodel.modeling.scoring.request_json import RequestRefusedError
from evermodel.modeling.scoring.request_rows import Inputs, parse_rows
from evermodel.serving.prediction_writer import LoggedRequest, log_table
from evermodel.spec.window import Window, parse_moment
from support.flights import World
from support.gate_models import Model, gate_of, skilled, window
from support.small_model import between, small_rows
from support.small_model import small_spec as weather_spec
from support.small_spec import small_spec

INPUTS = Inputs(("temp", "carrier"), frozenset({"temp"}), ("customer", "region"))


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"context": ["age"]}, "context: age is listed twice"),
        ({"context": ["late"]}, "context: late is the label column"),
        ({"context": ["score"]}, "context: score is a column of the prediction log"),
        ({"cluster": "customer"}, "cluster: customer is not a feature of this model (list it under context"),
        (
            {"context": ["sex"], "gate": {"behaviour": {"invariance": [{"column": "sex", "values": ["f"]}]}}},
            "gate.behaviour.invariance.0.column: sex is not a feature",
        ),
    ],
)
def test_what_no_context_can_be_is_said(sections: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem.replace("(", r"\(")):
        small_spec(**sections)


def test_rows_keep_their_context_as_text_beside_the_features() -> None:
    spec = weather_spec("rows.parquet", context=["note", "number"])
    table = small_rows(number=[n % 9 or None for n in range(80)])

    rows = rows_from(spec, table).within(between(1, 2))

    assert list(rows.frame) == spec.features.names == ["temp", "wind", "carrier"]
    assert list(rows.described) == spec.logged
    assert rows.described["number"].tolist() == ["8", None, "1", "2", "3", "4", "5", "6"]
    with pytest.raises(SourceError, match="lacks the columns of the context note"):
        rows_from(spec, table.drop_columns(["note"]))


def test_groups_and_clusters_of_the_gate_may_be_of_the_context() -> None:
    features, labels = window()
    groups = np.where(np.arange(len(labels)) % 2, "f", "m")
    described = features.assign(sex=groups, customer=[f"c{n % 40}" for n in range(len(labels))])
    spec = small_spec(
        context=["sex", "customer"],
        cluster="customer",
        gate={
            "resamples": 200,
            "slices": [{"column": "sex"}],
            "fairness": [{"column": "sex", "measure": "demographic_parity_difference", "max": 0.2}],
        },
    )

    def seen(frame: pd.DataFrame) -> Any:
        assert list(frame) == list(features), "the model sees features only"
        return skilled(frame)

    model = EvaluatedModel("linear", Model(seen), "models:/m-1", 1_000)
    decision = evaluate(spec, "key", features, labels, model, None, described=described)

    assert gate_of(decision, "fairness sex, demographic parity difference").verdict == "pass"
    assert {g.name for g in decision.gates if g.name.startswith("slice")} == {
        "slice sex = f",
        "slice sex = m",
    }
    assert "40 values of customer" in gate_of(decision, "roc_auc against no skill").detail


def _body(**row: Any) -> bytes:
    return json.dumps({"rows": [{"temp": 1.5, "carrier": "AA", **row}]}).encode()


def test_a_request_may_have_context_and_needs_none() -> None:
    found = parse_rows(_body(id="a", customer=17, region=None), INPUTS, 10, "id")
    assert (found.rows, found.own_ids, found.context) == ([(1.5, "AA")], ["a"], [("17", None)])
    assert parse_rows(_body(), INPUTS, 10, "id").context == [(None, None)]
    assert parse_rows(_body(region=True), INPUTS, 10, "id").context == [(None, "true")]
    columns = {"carrier": ["AA", None], "temp": [1, 2], "customer": ["x", 3]}
    assert parse_columns(columns, 2, INPUTS, "id").context == [("x", None), ("3", None)]
    none = Inputs(("temp", "carrier"), frozenset({"temp"}))
    assert parse_rows(_body(), none, 10, "id").context == []


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"customer": 1.5}, "row 0: customer: must be a string, a whole number, a boolean or null"),
        ({"customer": ["x"]}, "row 0: customer: must be a string"),
        ({"custome": "x"}, "'custome': is not a feature; did you mean customer?"),
    ],
)
def test_context_that_cannot_be_logged_is_refused(row: dict[str, Any], problem: str) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        parse_rows(_body(**row), INPUTS, 10, "id")
    assert problem in str(refused.value)
    if "customer" in row:
        columns = {"temp": [1], "carrier": ["AA"], "customer": [row["customer"]]}
        with pytest.raises(RequestRefusedError, match="row 0: customer: must be a string"):
            parse_columns(columns, 1, INPUTS, "id")


def test_a_feature_of_an_older_version_is_read_as_that_version_takes_it() -> None:
    older = Inputs(("temp", "region"), frozenset({"temp"}), ("customer", "region"))
    body = json.dumps({"row": {"temp": 1, "region": "north", "customer": "x"}}).encode()
    found = parse_rows(body, older, 10, "id")
    assert (found.rows, found.context) == ([(1.0, "north")], [("x", None)])


def test_the_log_of_serving_has_a_column_for_it() -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    told = LoggedRequest("m", "3", "r1", at, INPUTS, [(1.5, "AA")], ["a"], [0.5], context=[("17", None)])
    silent = LoggedRequest("m", "3", "r2", at, INPUTS, [(2.5, None)] * 2, ["b", "c"], [0.5, 0.6])

    table = pa.table(log_table([told, silent]))

    assert table["customer"].to_pylist() == ["17", None, None]
    assert table["region"].null_count == 3
    assert table.schema.field("region").type == pa.string()


def test_a_retrain_and_the_log_have_it_and_the_model_does_not(world: World) -> None:
    numeric = world.spec.features.numeric
    world.change(
        features={"numeric": list(numeric), "categorical": ["carrier", "origin"]},
        context=["dest"],
        cluster="dest",
        candidates=[{"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression"}],
        gate={"slices": [{"column": "dest", "min_rows": 5}]},
    )
    version = world.champion("2013-03-11")
    decision = world.retrain("2013-03-11").decision()

    assert any(gate.name.startswith("slice dest = ") for gate in decision.gates)
    assert "values of dest" in gate_of(decision, "roc_auc against no skill").detail
    score_day(world.spec, parse_moment("2013-03-12"), world.client, world.settings)
    day = Window(parse_moment("2013-03-11"), parse_moment("2013-03-12"))
    log = read_log(world.spec, world.settings.lake, day)
    assert log.schema.field("dest").type == log_schema(world.spec).field("dest").type == pa.string()
    assert log["dest"].null_count == 0
    assert set(log["model_version"].to_pylist()) == {version}
