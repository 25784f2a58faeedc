"""A row's id takes its answer to its label: from the request through the prediction log to what judges versions."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from tests.simulations.rollout_traffic import begun

from evermodel.deployment.rollout.losses import losses_by_version
from evermodel.modeling.scoring.request_json import RequestRefusedError
from evermodel.modeling.scoring.request_rows import Inputs, parse_rows
from evermodel.monitoring.performance.label_join import deduplicated, read_label_join
from evermodel.serving.auth import TokenAuth, Tokens
from evermodel.serving.metrics import Metrics
from evermodel.serving.middleware import RequestIds
from evermodel.serving.prediction_writer import PredictionLog
from evermodel.serving.protocols.addresses import Addresses
from evermodel.serving.shadow import Shadows
from evermodel.spec import ModelSpec
from evermodel.spec.rollout import RolloutSpec
from support.serving_edge import ROW, Edge, Edges, Graph, throw

INPUTS = Inputs(("amount", "colour"), frozenset({"amount"}))
GOOD = {"amount": 1.0, "colour": "red"}
PATHS = ["/predict", "/models/small/predict"]


def given(*rows: dict[str, Any], inputs: Inputs = INPUTS) -> list[str | None]:
    return parse_rows(json.dumps({"rows": list(rows)}).encode(), inputs, 50, "id").own_ids


def labelled(spec: ModelSpec, folder: Path, ids: list[Any], labels: list[int]) -> ModelSpec:
    """Write the labels as a user's source has them; the ids as whole numbers or as text."""
    file, count = folder / "labels.parquet", len(ids)
    known = {
        "id": pa.array(ids),
        "at": pa.array([datetime.now(UTC)] * count, pa.timestamp("us", tz="UTC")),
        "late": labels,
    }
    numbers = {name: pa.nulls(count, pa.float64()) for name in spec.features.numeric}
    texts = {name: pa.nulls(count, pa.string()) for name in spec.features.categorical}
    pq.write_table(pa.table({**known, **numbers, **texts}), file)
    return spec.model_copy(update={"source": spec.source.model_copy(update={"path": str(file)})})


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "spell", [str, int, lambda number: f"order {number}/é"], ids=["digits", "numbers", "text"]
)
def test_online_answers_meet_their_labels(
    tmp_path: Path, edge: Edges, path: str, spell: Callable[[int], Any]
) -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    ids = [spell(number) for number in range(40)]
    with edge() as (made, client):
        told = []
        for first in range(0, 38, 2):
            rows = [{"id": own, **ROW} for own in ids[first : first + 2]]
            told += client.post(path, json={"rows": rows}).json()["predictions"]
        for own in ids[38:]:
            told += client.post(path, json={"row": {**ROW, "id": own}}).json()["predictions"]
        client.post(path, json={"row": ROW})  # nobody will know what became of it
    assert [prediction["id"] for prediction in told] == [str(own) for own in ids]

    spec = labelled(made.spec, tmp_path, ids, [0, 1] * 20)
    later = datetime.now(UTC) + spec.label.delay + timedelta(minutes=1)
    losses = losses_by_version(spec, tmp_path / "lake", began, later, ("7",))
    assert losses["7"].rows == 21, "nineteen requests of two rows, two of one"
    assert losses["7"].mean == pytest.approx((19 * (0.25**2 + 0.75**2) / 2 + 0.25**2 + 0.75**2) / 21)
    joined = read_label_join(spec, tmp_path / "lake", later)
    assert (joined.state.predictions, joined.state.labelled) == (41, 40)
    assert sorted(joined.rows["prediction_id"].to_pylist()) == sorted(map(str, ids))


def test_a_caller_without_ids_can_keep_those_of_the_answer(tmp_path: Path, edge: Edges) -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    with edge() as (made, client):
        answer = client.post("/predict", json={"rows": [ROW, {**ROW, "id": "mine"}, ROW]}).json()
    ids = [prediction["id"] for prediction in answer["predictions"]]
    assert ids == [f"{answer['request_id']}-0", "mine", f"{answer['request_id']}-2"]
    spec = labelled(made.spec, tmp_path, ids, [0, 0, 0])
    later = datetime.now(UTC) + spec.label.delay + timedelta(minutes=1)
    losses = losses_by_version(spec, tmp_path / "lake", began, later, ("7",))
    assert (losses["7"].rows, losses["7"].mean) == (1, pytest.approx(0.25**2))


def test_the_last_answer_and_the_last_label_of_an_id_count(tmp_path: Path, edge: Edges) -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    with edge() as (made, client):
        client.post("/predict", json={"row": {**ROW, "id": "twice"}})
        made.now.score = 0.75
        client.post("/predict", json={"row": {**ROW, "id": "twice"}})
    spec = labelled(made.spec, tmp_path, ["twice", "twice"], [0, 1])
    later = datetime.now(UTC) + spec.label.delay + timedelta(minutes=1)
    losses = losses_by_version(spec, tmp_path / "lake", began, later, ("7",))
    assert (losses["7"].rows, losses["7"].mean) == (1, pytest.approx(0.25**2))
    joined = read_label_join(spec, tmp_path / "lake", later)
    assert joined.rows.select(["score", "label"]).to_pylist() == [{"score": 0.75, "label": 1}]
    assert (joined.state.logged_twice, joined.state.conflicting) == (1, 1)


@pytest.mark.parametrize("loaded", [True, False], ids=["failing", "not loaded"])
def test_a_fallback_s_answer_has_the_row_s_id(edge: Edges, loaded: bool) -> None:
    with edge(loaded=loaded, fallback={"kind": "constant", "score": 0.2}) as (made, client):
        made.now.does = throw
        answer = client.post("/predict", json={"rows": [{**ROW, "id": 8}, ROW]}).json()
    assert (answer["fallback"], answer["predictions"][0]) == ("constant", {"id": "8", "score": 0.2})
    assert [row["prediction_id"] for row in made.logged()] == ["8", f"{answer['request_id']}-1"]


def test_a_shadow_s_answer_has_the_id_of_the_one_that_was_heard(tmp_path: Path) -> None:
    made = Edge(tmp_path / "predictions", {})
    log = PredictionLog(tmp_path / "shadow", Metrics())
    shadows = Shadows(log, made.metrics.traffic)
    reconciler: Any = made.service._reconcilers["small"]
    plan = replace(begun("shadow", RolloutSpec()), shadow=1.0)
    reconciler.traffic = replace(reconciler.traffic, shadow=made._version("8", Graph(0.3)), plan=plan)
    made.service._shadows = shadows
    with ExitStack() as ending:
        for part in (log, shadows, made.log, made.fallbacks):
            part.start()
            ending.callback(part.stop)
        TestClient(made.app()).post(
            "/predict", json={"rows": [{**ROW, "id": "a"}, ROW]}, headers={"X-Request-ID": "r"}
        )
    (file,) = (tmp_path / "shadow").rglob("*.parquet")
    shadow_answers = (
        pq.ParquetFile(file).read().select(["prediction_id", "model_version", "source"]).to_pylist()
    )
    assert [tuple(row.values()) for row in shadow_answers] == [("a", "8", "shadow"), ("r-1", "8", "shadow")]
    assert [row["prediction_id"] for row in made.logged()] == ["a", "r-1"]


@pytest.mark.parametrize(
    ("own", "text"),
    [("007", "007"), (7, "7"), (-7, "-7"), (7.0, "7"), (2**63 - 1, str(2**63 - 1)), ("x" * 256, "x" * 256)],
)
def test_an_id_becomes_the_text_that_the_labels_have(own: Any, text: str) -> None:
    assert given({**GOOD, "id": own}, GOOD) == [text, None]
    if isinstance(own, int):
        assert pa.array([own]).cast(pa.string()).to_pylist() == [text]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({**GOOD, "id": None}, "row 0: id: must be a string or a whole number"),
        ({**GOOD, "id": True}, "row 0: id: must be a string or a whole number"),
        ({**GOOD, "id": 1.5}, "row 0: id: must be a string or a whole number"),
        ({**GOOD, "id": [1]}, "row 0: id: must be a string or a whole number"),
        ({**GOOD, "id": 2**63}, "row 0: id: is too large for a number"),
        ({**GOOD, "id": 1e300}, "row 0: id: is too large for a number"),
        ({**GOOD, "id": 2.0**60}, "row 0: id: is too large for a number"),
        ({**GOOD, "id": ""}, "row 0: id: must have 1 to 256 characters"),
        ({**GOOD, "id": "x" * 257}, "row 0: id: must have 1 to 256 characters"),
        ({**GOOD, "id": "\ud800"}, "row 0: id: is not valid Unicode"),
        ({**GOOD, "id": "a", "more": 1}, "row 0: 'more': is not a feature"),
        ({**GOOD, "order_id": "a"}, "id: id"),
        ({**GOOD, "idd": "a"}, "did you mean id?"),
        ({"amount": 1.0, "id": "a"}, "row 0: colour: is missing"),
    ],
)
def test_what_is_no_id_is_refused_by_name(row: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        given(row)
    assert (refused.value.status, told in refused.value.problem) == (422, True), refused.value.problem


def test_a_version_may_still_have_as_a_feature_what_is_the_id_now() -> None:
    old = Inputs(("amount", "id"), frozenset({"amount", "id"}))
    assert given({"amount": 1.0, "id": 3}, {"amount": 1.0, "id": None}, inputs=old) == ["3", None]
    with pytest.raises(RequestRefusedError, match="'more': is not a feature"):
        given({"amount": 1.0, "id": 3, "more": 1}, inputs=old)


def test_a_caller_overwrites_its_own_rows_only(edge: Edges) -> None:
    tokens = Tokens(tuple(f"{name * 4} predict:small caller:{name}" for name in ("shop", "plan")))

    def ask(client: TestClient, name: str, **changes: Any) -> None:
        headers = {"Authorization": f"Bearer {name * 4}", "X-Request-ID": changes.pop("request", "r")}
        answer = client.post("/predict", json={"row": {**ROW, **changes}}, headers=headers)
        assert answer.status_code == 200

    with edge(flush_seconds=0.05) as (made, _):
        client = TestClient(RequestIds(TokenAuth(made.app().app, tokens, Addresses("small"))))
        for name, amount in (("shop", 1), ("plan", 2), ("shop", 3), ("plan", 4)):
            ask(client, name, id="order-1", amount=amount)
            ask(client, name, amount=amount)  # r-0, made of the header that both send
        ask(client, "plan", id="order-1", amount=5, request="shop/r")  # not a valid id of a request
    rows = pa.Table.from_pylist(made.logged())

    kept = {row["prediction_id"]: row for row in deduplicated(rows).to_pylist()}

    assert {name: kept[name]["amount"] for name in ("order-1", "r-0")} == {"order-1": 3, "r-0": 3}
    assert {row["request_id"].partition("/")[0] for row in kept.values()} == {"shop"}


def test_without_callers_the_last_row_counts(edge: Edges) -> None:
    with edge(flush_seconds=0.05) as (made, client):
        for amount in (1, 2):
            client.post("/predict", json={"row": {**ROW, "id": "order-1", "amount": amount}})

    (row,) = deduplicated(pa.Table.from_pylist(made.logged())).to_pylist()
    assert row["amount"] == 2
