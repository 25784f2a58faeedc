"""How sure an answer is, and why: coverage on new rows, attributions that add up, and both through the loop."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evermodel.core.errors import ModelFormatError
from evermodel.data.dtypes import feature_frame
from evermodel.modeling import tasks
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.model_store import LoadedModel, download
from evermodel.modeling.onnx.export import export
from evermodel.modeling.onnx.runtime import start
from evermodel.modeling.scoring.answer_details import details_of
from evermodel.modeling.scoring.answer_reference import (
    FILE,
    AnswerReference,
    make_reference,
    read_reference,
    write_reference,
)
from evermodel.modeling.scoring.loaded_version import ServedModel, make_served, read_served
from evermodel.modeling.scoring.request_json import RequestRefusedError
from evermodel.serving.fallback import Answered
from evermodel.serving.protocols.addresses import QUERY, Addresses
from evermodel.serving.protocols.predict import PREDICT
from evermodel.serving.routing_table import Traffic
from evermodel.spec import ModelSpec
from evermodel.stats.conformal import conformal_quantile, nonconformity, prediction_sets
from support.flights import World
from support.serving_edge import running_edge
from support.small_model import small_rows, small_spec

TREES = "sklearn.ensemble.HistGradientBoosting"


def test_intervals_cover_new_values_as_often_as_stated() -> None:
    """By definition a split conformal interval covers (n + 1) * coverage, rounded up, of n + 1 exchangeable rows."""
    generator = np.random.default_rng(0)
    misses = np.abs(generator.standard_t(3, size=(4000, 100)))
    covered = [row[-1] <= conformal_quantile(row[:-1], 0.9) for row in misses]
    assert np.mean(covered) == pytest.approx(0.9, abs=0.015)


def test_sets_cover_new_classes_as_often_as_stated_even_of_a_model_that_is_wrong() -> None:
    generator = np.random.default_rng(1)
    truth = generator.dirichlet([1, 1, 1, 1], size=20_000)
    labels = (truth.cumsum(axis=1) > generator.random((len(truth), 1))).argmax(axis=1)
    wrong = truth**3 / (truth**3).sum(axis=1, keepdims=True)
    known, new = slice(0, 2000), slice(2000, None)
    sets = prediction_sets(wrong[new], conformal_quantile(nonconformity(labels[known], wrong[known]), 0.9))
    inside = sets[np.arange(len(sets)), labels[new]]
    assert inside.mean() == pytest.approx(0.9, abs=0.02)
    assert 1 < sets.sum(axis=1).mean() < 4
    assert (sets.sum(axis=1) >= 1).all()


def test_too_few_rows_promise_nothing() -> None:
    spec = small_spec("x", serving={"coverage": 0.95})
    frame, labels = feature_frame(spec, small_rows(days=1)), np.zeros(8, dtype=int)
    assert make_reference(spec, frame, labels, np.full(8, 0.1)).quantile is None


def served_of(task: str, engine: str = "onnx", **serving: Any) -> tuple[ServedModel, Any, Any]:
    """A model of 400 rows with what it keeps, its frame and its labels."""
    generator = np.random.default_rng(3)
    temp, wind, carrier = (
        generator.normal(size=400),
        generator.normal(size=400),
        generator.choice(["AA", "BB"], 400),
    )
    signal = temp + wind * (carrier == "AA") + 0.3 * generator.normal(size=400)
    labels: Any = {"regression": signal, "binary": (signal > 0).astype(int)}.get(task)
    labels = np.array(["low", "middle", "high"])[np.digitize(signal, [-1, 1])] if labels is None else labels
    kind = "Regressor" if task == "regression" else "Classifier"
    candidate = {"name": "trees", "estimator": f"{TREES}{kind}", "params": {"max_iter": 20}}
    given = {"coverage": 0.8, "explain": True, **serving}
    spec = small_spec("x", task=task, candidates=[candidate], serving=given)
    carrier[::9] = "CC"
    frame = feature_frame(
        spec,
        small_rows(
            days=50, temp=temp.tolist(), wind=wind.tolist(), carrier=carrier.tolist(), late=labels.tolist()
        ),
    )
    pipeline = build_pipeline(spec, spec.candidates[0]).fit(frame[:300], labels[:300])
    classes = tasks.classes_of(spec, labels, pipeline)
    scores = tasks.predict(spec, pipeline, frame[300:], classes)
    reference = make_reference(spec, frame[300:], tasks.encode(labels[300:], classes), scores)
    inputs = [{"name": n, "type": "string" if n == "carrier" else "double"} for n in spec.features.names]
    loaded = LoadedModel(
        pipeline, frame.head(5), inputs, start(export(pipeline)) if engine == "onnx" else None
    )
    return replace(make_served(spec, "1", loaded), reference=reference), frame, labels


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("engine", ["onnx", "sklearn"])
def test_attributions_add_up_from_the_baseline_to_the_answer(task: str, engine: str) -> None:
    served, frame, _ = served_of(task, engine)
    rows = [*frame.iloc[300:305].itertuples(index=False, name=None), (float("nan"), 1.0, None)]
    found = details_of(served, rows, {"explain", "interval"})
    for answer, fields in zip(served.predict(rows), found, strict=True):
        assert set(fields["attributions"]) == {"temp", "wind", "carrier"}
        assert fields["baseline"] + sum(fields["attributions"].values()) == pytest.approx(
            answer.score, abs=1e-9
        )
        sizes = [abs(value) for value in fields["attributions"].values()]
        assert sizes == sorted(sizes, reverse=True)
        assert fields["coverage"] == 0.8
        if task == "regression":
            assert np.mean(fields["interval"]) == pytest.approx(answer.score)
        else:
            likeliest = answer.label if task == "multiclass" else str(int(answer.score >= 0.5))
            assert likeliest in fields["classes"]


def test_attributions_are_the_shapley_values_of_every_order() -> None:
    served, frame, _ = served_of("regression")
    assert served.reference is not None
    row, background = tuple(frame.iloc[310]), list(served.reference.background)
    (found,) = details_of(served, [row], {"explain"})
    orders = [order for order in permutations(range(3))] * len(background)
    exact = np.zeros(3)
    for order, kept in zip(orders, [kept for kept in background for _ in range(6)], strict=True):
        mixed = list(kept)
        before = served.outputs([tuple(mixed)])[0][0, 0]
        for place in order:
            mixed[place] = row[place]
            after = served.outputs([tuple(mixed)])[0][0, 0]
            exact[place] += (after - before) / len(orders)
            before = after
    named = dict(zip(served.inputs.names, exact, strict=True))
    assert found["attributions"] == pytest.approx(named, abs=0.15)
    assert max(found["attributions"].values(), key=abs) == pytest.approx(max(exact, key=abs), rel=0.15)


def test_what_a_version_keeps_is_read_back_with_its_format(tmp_path: Path) -> None:
    kept = AnswerReference(0.9, 0.25, 120, ("a", "b"), ((1.5, None), (None, "x")))
    write_reference(kept, tmp_path)
    assert read_reference(tmp_path) == kept
    assert '"format": 1' in (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text('{"coverage": 0.9, "format": 1}')
    with pytest.raises(ModelFormatError, match="cannot be read"):
        read_reference(tmp_path)


@pytest.mark.parametrize(
    ("asked", "field"), [("interval", "serving.coverage"), ("explain", "serving.explain")]
)
def test_a_version_that_keeps_nothing_says_what_to_set(asked: Any, field: str) -> None:
    served, frame, _ = served_of("binary")
    rows = list(frame.head(1).itertuples(index=False, name=None))
    with pytest.raises(RequestRefusedError, match=f"{asked}: version 1 of small keeps nothing") as refused:
        details_of(replace(served, reference=None), rows, {asked})
    assert (refused.value.status, field in refused.value.advice) == (422, True)
    if asked == "explain":
        with pytest.raises(RequestRefusedError, match="at most 100 are explained"):
            details_of(served, rows * 101, {asked})


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        (b"", set()),
        (b"interval=true", {"interval"}),
        (b"x=1&explain=true&interval=true", {"interval", "explain"}),
        (b"interval=false&explain", set()),
    ],
)
def test_the_address_says_what_is_asked_for(query: bytes, asked: set[str]) -> None:
    for path in ("/predict", "/models/small/predict"):
        scope = {"type": "http", "method": "POST", "path": path, "state": {QUERY: query}}
        target = Addresses("small").prediction(scope)
        assert target is not None
        assert target.asked == asked


def test_the_answer_has_the_details_beside_each_row() -> None:
    served, frame, _ = served_of("binary")
    rows = list(frame.head(2).itertuples(index=False, name=None))
    details = details_of(served, rows, {"interval"})
    answered = Answered(served.predict(rows), "1", served.inputs, rows, ids=["a", "b"], details=details)
    body = PREDICT.answer("small", "r", answered).body
    assert b'"classes":["' in body
    assert body.count(b'"coverage":0.8') == 2


def test_a_request_asks_for_details_in_its_address(tmp_path: Path) -> None:
    served, frame, _ = served_of("binary")
    rows = [{**row, "id": f"r{n}"} for n, row in enumerate(frame.head(2).to_dict("records"))]
    with running_edge(tmp_path / "log", coverage=0.8) as (made, client):
        made.reconcilers["small"].traffic = Traffic(served)
        made.reconcilers["small"].spec = served.spec
        plain = client.post("/predict", json={"rows": rows}).json()["predictions"]
        asked = client.post("/predict?explain=true&interval=true", json={"rows": rows}).json()["predictions"]
        made.reconcilers["small"].traffic = Traffic(replace(served, reference=None))
        refused = client.post("/predict?explain=true", json={"rows": rows})
    assert [set(row) for row in plain] == [{"id", "score"}] * 2
    for before, row in zip(plain, asked, strict=True):
        assert set(row) == {"id", "score", "classes", "coverage", "baseline", "attributions"}
        assert row["score"] == before["score"]
        assert row["baseline"] + sum(row["attributions"].values()) == pytest.approx(row["score"])
    assert (refused.status_code, "set `serving.explain`" in refused.json()["detail"]) == (422, True)


def test_the_whole_loop(world: World, tmp_path: Path) -> None:
    """A version keeps both with its files, which the decision lists, and serving answers with them."""
    world.change(serving={"coverage": 0.9, "explain": True})
    version = world.champion("2013-03-11")
    spec: ModelSpec = world.spec
    files = download(world.client, f"models:/{world.name}/{version}", tmp_path / "model")
    assert FILE in files
    served = read_served(spec, version, tmp_path / "model")
    assert served.pipeline is None
    row = tuple(served.example[name] for name in served.inputs.names)
    (fields,) = details_of(served, [row], {"interval", "explain"})
    assert fields["coverage"] == 0.9
    assert fields["classes"] in (["0"], ["1"], ["0", "1"])
    assert fields["baseline"] + sum(fields["attributions"].values()) == pytest.approx(
        served.predict([row])[0].score
    )
