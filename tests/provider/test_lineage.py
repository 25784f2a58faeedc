"""What the steps tell OpenLineage, by the classes of Airflow's own provider."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from attrs import asdict
from openlineage.client.serde import Serde

from evermodel.core.logins import without_login
from evermodel.spec import ModelSpec
from evermodel_provider.column_lineage import prediction_columns, snapshot_columns
from evermodel_provider.lineage import ColumnOrigin, source_data
from evermodel_provider.operators.base import ModelOperator
from evermodel_provider.operators.deploy import DeployOperator
from evermodel_provider.operators.drift import DriftVerdictOperator, EvidentlyReportOperator
from evermodel_provider.operators.extract import ExtractOperator
from evermodel_provider.operators.register import RegisterOperator
from evermodel_provider.operators.score import ScoreOperator
from evermodel_provider.operators.train import TrainOperator
from evermodel_provider.operators.validate import ValidateOperator
from support.flights import World, flights_world
from support.small_model import small_spec

SNAPSHOT = {
    "model": "flights",
    "path": "snapshots/flights/0123456789abcdef.parquet",
    "digest": "0123456789abcdef",
    "md5": "aa",
    "rows": 7,
    "start": "2013-01-01T00:00:00+00:00",
    "end": "2013-03-01T00:00:00+00:00",
}
SERVER = "https://mlflow.example:5000"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The flights example, whose MLflow server is reached with a login in its address."""
    made = flights_world(tmp_path, "https://ada:hunter2@mlflow.example:5000?token=hunter2", "flights")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


def told(kind: type[ModelOperator], returned: Any, **arguments: Any) -> dict[str, Any]:
    """Run a step that returns something, and let the provider ask it as it does at the end of a task."""
    from airflow.providers.openlineage.extractors.manager import ExtractorManager
    from airflow.utils.state import TaskInstanceState

    with DAG("lineage", schedule=None):
        task = kind(task_id="task", model="flights", as_of="2013-03-11", **arguments)
    task.run_step = lambda context: returned  # type: ignore[method-assign]
    task.execute({})
    found = ExtractorManager().extract_metadata(
        dagrun=SimpleNamespace(run_id="run", conf={}),
        task=task,
        task_instance_state=TaskInstanceState.SUCCESS,
        task_instance=SimpleNamespace(),
    )
    written = Serde.to_json(asdict(found))
    assert "hunter2" not in written
    plain: dict[str, Any] = json.loads(written)
    return plain


def names(found: dict[str, Any], side: str) -> list[tuple[str, str, str]]:
    return [
        (data["namespace"], data["name"], data["facets"].get("version", {}).get("datasetVersion", ""))
        for data in found[side]
    ]


def test_the_source_becomes_a_snapshot(model: World) -> None:
    found = told(ExtractOperator, SNAPSHOT)
    snapshot = ("file", str(model.settings.lake / SNAPSHOT["path"]), SNAPSHOT["digest"])
    assert names(found, "inputs") == [("file", str(model.folder / "data" / "flights.parquet"), "")]
    assert names(found, "outputs") == [snapshot]
    assert found["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 7
    facets = found["outputs"][0]["facets"]
    (origin,) = facets["columnLineage"]["fields"]["carrier"]["inputFields"]
    assert (origin["name"], origin["field"]) == (found["inputs"][0]["name"], "carrier")
    assert [(one["type"], one["subtype"]) for one in origin["transformations"]] == [("DIRECT", "IDENTITY")]
    assert "carrier" in [field["name"] for field in facets["schema"]["fields"]]


def test_tables_of_events_are_read_too() -> None:
    events = {"key": "colour", "time_column": "seen_at"}
    features = {
        "numeric": ["visits_1d"],
        "aggregates": [{"name": "visits_1d", "table": "visits", "function": "count", "over": "1d"}],
    }
    files = {"path": "/data/rows.parquet", "tables": {"visits": {**events, "path": "/data/visits.parquet"}}}
    found = source_data(small_spec("", source=files, features=features))
    assert [(data.namespace, data.name) for data in found] == [
        ("file", "/data/rows.parquet"),
        ("file", "/data/visits.parquet"),
    ]
    engine = {"kind": "ibis", "url": "postgres://db/shop", "table": "orders"}
    tables = {"visits": {**events, "query": "SELECT * FROM web.visits"}}
    found = source_data(small_spec("", source={**engine, "tables": tables}, features=features))
    assert [data.name for data in found] == ["shop.orders", "shop.web.visits"]


def test_each_column_says_what_it_comes_from() -> None:
    found = {column.name: column for column in snapshot_columns(_with_events(path="/data/visits.parquet"))}
    assert [_short(one) for one in found["temp"].origins] == [("/data/rows.parquet", "temp", "IDENTITY")]
    assert found["temp"].description == "In metres. Owner: surveyors"
    assert [_short(one) for one in found["spent_1d"].origins] == [
        ("/data/visits.parquet", "paid", "AGGREGATION"),
        ("/data/visits.parquet", "carrier", "JOIN"),
        ("/data/visits.parquet", "seen_at", "WINDOW"),
        ("/data/visits.parquet", "kind", "FILTER"),
        ("/data/rows.parquet", "carrier", "JOIN"),
        ("/data/rows.parquet", "at", "WINDOW"),
    ]
    assert found["spent_1d"].origins[0].description == "sum of paid over 1d of visits where kind is shop"


def test_columns_of_a_query_come_from_those_of_its_tables() -> None:
    query = "SELECT o.id, o.at, o.w * p.factor AS temp, p.carrier, o.late FROM web.orders o JOIN parts p ON p.id = o.part"
    spec = small_spec("", source={"kind": "ibis", "url": "postgres://db/shop", "query": query})
    found = {column.name: column for column in snapshot_columns(spec)}
    assert sorted(_short(one) for one in found["temp"].origins) == [
        ("shop.public.parts", "factor", "TRANSFORMATION"),
        ("shop.web.orders", "w", "TRANSFORMATION"),
    ]
    assert [_short(one)[:2] for one in found["carrier"].origins] == [("shop.public.parts", "carrier")]
    nothing_known = small_spec("", source={"kind": "python", "function": "shop.rows:read"})
    assert {column.origins for column in snapshot_columns(nothing_known)} == {()}


def test_features_of_feast_come_from_its_service() -> None:
    feast = {
        "repo": "/repos/shop",
        "service": "churn",
        "views": [{"key": "carrier", "features": ["visits_1d"]}],
    }
    spec = small_spec(
        "",
        source={"path": "/data/rows.parquet", "feast": feast},
        features={"numeric": ["temp", "visits_1d"], "categorical": ["carrier"]},
    )
    assert ("feast://shop", "churn") in [(data.namespace, data.name) for data in source_data(spec)]
    found = {column.name: column for column in snapshot_columns(spec)}
    assert [_short(one) for one in found["visits_1d"].origins] == [
        ("churn", "visits_1d", "IDENTITY"),
        ("/data/rows.parquet", "carrier", "JOIN"),
        ("/data/rows.parquet", "at", "WINDOW"),
    ]


def test_a_score_comes_from_the_values_of_all_features() -> None:
    found = {column.name: column for column in prediction_columns(_with_events(path="/data/visits.parquet"))}
    assert [_short(one) for one in found["score"].origins] == [
        ("/data/rows.parquet", "temp", "TRANSFORMATION"),
        ("/data/visits.parquet", "paid", "TRANSFORMATION"),
        ("/data/rows.parquet", "carrier", "TRANSFORMATION"),
    ]
    assert found["predicted"].origins == found["score"].origins


def _with_events(**place: str) -> ModelSpec:
    spent = {"name": "spent_1d", "table": "visits", "function": "sum", "column": "paid", "over": "1d"}
    events = {"key": "carrier", "time_column": "seen_at", **place}
    return small_spec(
        "",
        source={"path": "/data/rows.parquet", "tables": {"visits": events}},
        features={
            "numeric": ["temp", "spent_1d"],
            "categorical": ["carrier"],
            "aggregates": [{**spent, "where": {"kind": "shop"}}],
        },
        documentation={"temp": {"description": "In metres", "owner": "surveyors"}},
    )


def _short(one: ColumnOrigin) -> tuple[str, str, str]:
    return one.data.name, one.field, one.subtype


def test_rows_set_aside_make_another_snapshot(model: World) -> None:
    clean = {**SNAPSHOT, "path": "snapshots/flights/fedc.parquet", "digest": "fedc", "rows": 6}
    found = told(ValidateOperator, clean, snapshot=SNAPSHOT)
    assert names(found, "inputs")[0][2] == SNAPSHOT["digest"]
    assert names(found, "outputs") == [("file", str(model.settings.lake / clean["path"]), "fedc")]


def test_a_snapshot_becomes_a_candidate_then_a_version_that_serves(model: World) -> None:
    snapshot = ("file", str(model.settings.lake / SNAPSHOT["path"]), SNAPSHOT["digest"])
    candidate = {"candidate": "logistic", "model_uri": "models:/m-1"}

    trained = told(TrainOperator, candidate, candidate="logistic", snapshot=SNAPSHOT)
    registered = told(RegisterOperator, "3", snapshot=SNAPSHOT)
    deployed = told(DeployOperator, {"version": "3", "previous": "2"}, version="3")

    assert names(trained, "inputs") == names(registered, "inputs") == [snapshot]
    assert names(trained, "outputs") == [(SERVER, "flights.logistic", "models:/m-1")]
    assert names(registered, "outputs") == names(deployed, "outputs") == [(SERVER, "flights", "3")]
    assert registered["outputs"][0]["facets"]["datasetType"]["datasetType"] == "MODEL"


def test_a_day_is_scored_by_a_version_and_looked_at_by_drift(model: World) -> None:
    log = str(model.settings.lake / "predictions" / "flights")

    scored = told(ScoreOperator, {"day": "2013-03-10", "version": "3", "rows": 9})
    judged = told(DriftVerdictOperator, {"version": "3"})

    assert names(scored, "inputs")[1:] == [(SERVER, "flights", "3")]
    assert names(scored, "outputs") == [("file", log, "2013-03-10")]
    assert names(judged, "inputs") == [("file", log, "2013-03-10"), (SERVER, "flights", "3")]
    assert names(judged, "outputs") == []


@pytest.mark.parametrize(
    ("kind", "returned", "arguments"),
    [
        (ValidateOperator, SNAPSHOT, {"snapshot": SNAPSHOT}),
        (TrainOperator, None, {"candidate": "logistic", "snapshot": SNAPSHOT}),
        (DeployOperator, {"rollout": {"version": "3"}}, {"version": "3"}),
        (EvidentlyReportOperator, "http://mlflow.example", {}),
    ],
)
@pytest.mark.usefixtures("model")
def test_a_step_that_changed_nothing_says_nothing(
    kind: type[ModelOperator], returned: Any, arguments: dict[str, Any]
) -> None:
    found = told(kind, returned, **arguments)
    assert (found["inputs"], found["outputs"]) == ([], [])


@pytest.mark.usefixtures("model")
def test_without_the_provider_there_is_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    with DAG("lineage", schedule=None):
        task = ExtractOperator(task_id="task", model="flights")
    task.run_step = lambda context: SNAPSHOT  # type: ignore[method-assign]
    assert task.execute({}) == SNAPSHOT
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.extractors", None)
    assert task.get_openlineage_facets_on_complete(None) is None


def spec_of(**source: Any) -> ModelSpec:
    return small_spec("rows.parquet", source=source)


def seen(**source: Any) -> list[tuple[str, str]]:
    return [(data.namespace, data.name) for data in source_data(spec_of(**source))]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/data/*.parquet", ("file", "/data/*.parquet")),
        ("file:///data/rows.csv", ("file", "/data/rows.csv")),
        ("s3://bucket/in/*.parquet", ("s3://bucket", "in/*.parquet")),
        (
            "simplecache::https://ada:hunter2@files.example/rows.csv?sig=x",
            ("https://files.example", "rows.csv"),
        ),
    ],
)
def test_files_are_named_by_where_they_are(path: str, place: tuple[str, str]) -> None:
    assert seen(path=path) == [place]


def test_a_query_is_named_by_its_server_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SALES", "postgres://ada:hunter2@db.example/shop?sslpassword=hunter2")
    server = "postgres://db.example:5432"
    query = "SELECT * FROM trips JOIN lists.carriers USING (code) WHERE at >= {{ start }}"
    assert seen(kind="sql", connection="sales", query=query) == [
        (server, "shop.lists.carriers"),
        (server, "shop.public.trips"),
    ]
    assert seen(kind="sql", connection="sales", query="what is this") == [(server, "shop.query")]
    assert seen(kind="ibis", connection="sales", table="trips") == [(server, "shop.trips")]


def test_other_engines_and_functions_have_names_too() -> None:
    assert seen(kind="ibis", url="duckdb:///data/shop.duckdb", table="main.trips") == [
        ("duckdb", "data/shop.duckdb.main.trips")
    ]
    assert seen(kind="ibis", url="trino://ada@trino.example:8080/hive", expression="shop:trips") == [
        ("trino://trino.example:8080", "hive.shop:trips")
    ]
    assert seen(kind="python", function="shop:trips", arguments={"token": "hunter2"}) == [
        ("python", "shop:trips")
    ]


@pytest.mark.parametrize(
    "address",
    [
        "https://ada:hunter2@host/x",
        "https://hunter2@host/x",
        "https://host/x?token=hunter2",
        "https://host/x#hunter2",
        "https://ada:hunt/hunter2@host",
        "https://ada:hunter2#@host",
    ],
)
def test_no_login_stays_in_an_address(address: str) -> None:
    assert "hunter2" not in without_login(address)
