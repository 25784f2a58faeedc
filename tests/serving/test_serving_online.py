"""Requests that leave features out: looked up by key, of the newest period that is written, and a fallback without a store."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from evermodel.core.settings import Settings
from evermodel.data.online.part import part_of
from evermodel.data.online.store import open_store
from evermodel.serving.openapi import row_schema
from support.redis_server import needs_redis, redis_server
from support.serving_edge import NOW, Edge, running_edge
from support.serving_models import wait_until

TABLES = {
    "orders": {"path": "orders.parquet", "key": "customer", "time_column": "ordered_at"},
    "shops": {"path": "shops.parquet", "key": "colour", "time_column": "changed_at"},
}
BESIDE: dict[str, Any] = {
    "source": {"path": "small.parquet", "tables": TABLES},
    "context": ["customer"],
    "features": {
        "numeric": ["amount", "orders_7d", "dearest"],
        "categorical": ["colour", "city"],
        "aggregates": [
            {"name": "orders_7d", "table": "orders", "function": "count", "over": "7d"},
            {"name": "dearest", "table": "orders", "function": "max", "column": "price", "over": "7d"},
            {"name": "city", "table": "shops", "function": "last", "column": "city", "default": "none"},
        ],
        "online": {"every": "1h", "delay": "10min"},
    },
}
ROW = {"amount": 1.0, "colour": "red", "customer": 17}


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(params=["database", pytest.param("redis", marks=needs_redis)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        url: str = request.getfixturevalue("redis_url")
        redis.Redis.from_url(url).flushall()
        return url
    return f"sqlite:///{tmp_path}/features.db"


def write(edge: Edge, address: str, values: dict[str, dict[str, list[Any]]], age: int = 0) -> None:
    """Write the parts of the period so many hours ago, by view and key."""
    online = edge.spec.features.online
    assert online is not None
    period = online.period_at(NOW) - timedelta(hours=age)
    store = open_store(Settings.from_environment({"EVERMODEL_FEATURE_STORE": address}).feature_store_url)
    for view in edge.spec.feature_views:
        texts = {json.dumps([key]): json.dumps(found) for key, found in values.get(view.name, {}).items()}
        store.write(part_of(edge.spec, view, period), texts.items())


VALUES = {"orders by customer": {"17": [3.0, 9.5], "18": [1.0, None]}, "shops by colour": {"red": ["Oslo"]}}


def test_every_protocol_may_leave_them_out_and_the_log_has_what_was_served(
    tmp_path: Path, address: str
) -> None:
    with running_edge(tmp_path, beside=BESIDE, feature_store=address) as (edge, client):
        write(edge, address, VALUES)
        rows = [
            ROW,
            {**ROW, "customer": 18},
            {**ROW, "customer": 99, "colour": "blue"},
            {**ROW, "dearest": 2},
        ]
        assert client.post("/predict", json={"rows": rows}).status_code == 200
        split = {"columns": ["amount", "colour", "customer"], "data": [[1.0, "red", "17"]]}
        assert client.post("/invocations", json={"dataframe_split": split}).status_code == 200
        tensors = [
            {"name": "amount", "shape": [1], "datatype": "FP64", "data": [1.0]},
            {"name": "colour", "shape": [1], "datatype": "BYTES", "data": ["red"]},
            {"name": "customer", "shape": [1], "datatype": "INT64", "data": [17]},
        ]
        assert client.post("/v2/models/small/infer", json={"inputs": tensors}).status_code == 200
        assert edge.count("evermodel_feature_lookups_total", outcome="current") == 6
    found = [(row["orders_7d"], row["dearest"], row["city"]) for row in edge.logged()]
    known = (3.0, 9.5, "Oslo")
    assert found == [known, (1.0, None, "Oslo"), (0.0, None, "none"), (3.0, 2.0, "Oslo"), known, known]


def test_values_of_the_period_before_answer_until_they_are_too_old(tmp_path: Path, address: str) -> None:
    with running_edge(tmp_path, beside=BESIDE, feature_store=address) as (edge, client):
        write(edge, address, VALUES, age=1)
        assert client.post("/predict", json={"rows": [ROW]}).status_code == 200
        assert edge.count("evermodel_feature_lookups_total", outcome="stale") == 2
        write(edge, address, VALUES)

        def current() -> float:  # found although requests never pause
            client.post("/predict", json={"rows": [ROW]})
            return edge.count("evermodel_feature_lookups_total", outcome="current")

        wait_until(lambda: current() > 0, "the new period is found")
    changed = {
        **BESIDE["features"],
        "online": {"every": "1h", "delay": "5min"},
    }  # none of its parts is written
    with running_edge(tmp_path, beside={**BESIDE, "features": changed}, feature_store=address) as (
        edge,
        client,
    ):
        write(edge, address, VALUES, age=2)
        assert client.post("/predict", json={"rows": [ROW]}).status_code == 503


def test_without_values_the_request_is_refused_or_a_fallback_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        away = f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"
    address = f"sqlite:///{tmp_path}/empty.db"
    for url, reason in ((away, "feature store redis"), (address, r"no features \(orders by customer\) of")):
        with running_edge(tmp_path / "none", beside=BESIDE, feature_store=url) as (edge, client):
            refused = client.post("/predict", json={"rows": [ROW]})
            assert refused.status_code == 503
            assert reason.replace("\\", "") in refused.json()["detail"]
            whole = {**ROW, "orders_7d": 1, "dearest": 2, "city": "Oslo"}
            assert client.post("/predict", json={"rows": [whole]}).status_code == 200
            assert edge.count("evermodel_feature_lookups_total", outcome="away") == 1
        constant = {"kind": "constant", "score": 0.5}
        with running_edge(tmp_path / "with", beside=BESIDE, feature_store=url, fallback=constant) as (
            _,
            client,
        ):
            answered = client.post("/predict", json={"rows": [ROW]}).json()
            assert (answered["version"], answered["fallback"]) == ("constant", "constant")


def test_a_store_that_hangs_costs_a_request_a_second_and_the_next_ones_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with running_edge(tmp_path, beside=BESIDE, feature_store=url) as (_, client):
            first = client.post("/predict", json={"rows": [ROW]})
            assert (first.status_code, "did not answer within 0.5 s" in first.json()["detail"]) == (503, True)
            second = client.post("/predict", json={"rows": [ROW]})
            assert "failed within the last 1 s" in second.json()["detail"]


def test_a_row_needs_the_key_and_the_description_says_what_may_be_left_out(tmp_path: Path) -> None:
    with running_edge(tmp_path, beside=BESIDE) as (edge, client):
        refused = client.post("/predict", json={"rows": [{"amount": 1.0, "colour": "red"}]})
        hint = "row 0: customer: is missing (the features that are left out are looked up by it)"
        assert (refused.status_code, hint in refused.json()["detail"]) == (422, True)
        schema = row_schema(edge.champion.inputs, "id")
        assert schema["required"] == ["amount", "colour"]


def test_a_failure_is_that_of_all_who_wait(tmp_path: Path) -> None:
    many = [{"amount": 1.0, "colour": "red", "customer": number} for number in range(1_000)]
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        running_edge(
            tmp_path, beside=BESIDE, feature_store=f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        ) as (_, client),
        ThreadPoolExecutor(12) as pool,
    ):  # more keys than one question may have
        answers = list(pool.map(lambda _: client.post("/predict", json={"rows": many}), range(12)))
    assert {answer.status_code for answer in answers} == {503}
