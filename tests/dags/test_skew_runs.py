"""A caller that reads the events in another time zone: the drift DAG opens an incident about it the same day, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from evermodel.data.sources import read_window
from evermodel.modeling.scoring.day import score_day
from evermodel.serving.app import create_app
from evermodel.spec.window import Window
from support.airflow_runs import parse, run
from support.flights import World
from support.slack_server import FakeSlack

pytestmark = pytest.mark.integration

START, TRAINED = datetime(2013, 3, 4, tzinfo=UTC), datetime(2013, 4, 1, tzinfo=UTC)
DAYS, FLIGHTS, DEPARTURES = 38, 60, 300  # of a day
DAY = timedelta(days=1)
AIRPORTS = np.array(["EWR", "JFK", "LGA"])
AGGREGATES = [
    {"name": "departures_3h", "table": "departures", "function": "count", "over": "3h"},
    {"name": "delay_3h", "table": "departures", "function": "mean", "column": "delay", "over": "3h"},
]


def write(folder: Path) -> dict[str, Any]:
    """Write flights and departures, the same at all hours, so that shifted events look like any others; return the source."""
    draw = np.random.default_rng(0)
    minutes = np.sort(draw.uniform(0, DAYS * 1440, DAYS * DEPARTURES))
    departed = np.datetime64(START.replace(tzinfo=None)) + (minutes * 6e7).astype("timedelta64[us]")
    airports = draw.choice(AIRPORTS, len(minutes))
    # Delays change every three hours, which a flight can learn from; each day and airport has the same ones in its own order.
    levels = [-1.5, -0.9, -0.5, -0.2, 0.2, 0.5, 0.9, 1.5]
    waves = {a: np.repeat([draw.permutation(levels) for _ in range(DAYS)], 180) for a in AIRPORTS}
    delays = np.array([waves[a][int(m)] for a, m in zip(airports, minutes, strict=True)]) * 20 + 10
    for name, moved in (("departures", 0), ("local", 4)):  # summer time of New York, taken for UTC
        times = departed - np.timedelta64(moved, "h")
        table = pa.table({"origin": airports, "departed_at": pa.array(times).cast(pa.timestamp("us", "UTC")), "delay": delays})  # fmt: skip
        pq.write_table(table, folder / f"{name}.parquet")
    at = np.sort(draw.integers(0, DAYS * 1440, DAYS * FLIGHTS))
    origin = draw.choice(AIRPORTS, len(at))
    chance = np.array([waves[a][m] for a, m in zip(origin, at, strict=True)]) + draw.normal(size=len(at))
    rows = {
        "flight_id": [f"f{n}" for n in range(len(at))],
        "scheduled_at": [START + timedelta(minutes=int(m)) for m in at],
        "origin": origin,
        "seats": draw.normal(size=len(at)),
        "late": (chance > 0.5).astype(int),
    }
    pq.write_table(pa.table(rows), folder / "rows.parquet")
    return {"kind": "files", "path": f"{folder}/rows.parquet", "tables": tables(folder, "departures")}


def tables(folder: Path, file: str) -> dict[str, Any]:
    return {"departures": {"path": f"{folder}/{file}.parquet", "key": "origin", "time_column": "departed_at"}}


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlack]:
    with FakeSlack() as server:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", server.connection_json())
        yield server


@pytest.fixture
def model(world: World, without_evidence: None, tmp_path: Path) -> World:
    """A model of events with a champion, which has scored the days since."""
    logistic = {"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression", "params": {}}
    world.change(
        source=write(tmp_path),
        features={"numeric": ["seats", "departures_3h", "delay_3h"], "categorical": ["origin"], "aggregates": AGGREGATES},
        candidates=[logistic],
        split={"train": "2w", "validation": "1w", "test": "1w"},
        validation={"ranges": {}},
        # Rows of three hours share their aggregates, so a classifier knows them by these: in the first days, before it has
        # learned how far apart days are, it takes about every third window for another one.
        respond={"together": "off"},
        leaks=[],
    )  # fmt: skip
    world.champion(f"{TRAINED:%Y-%m-%d}")
    for number in range(1, 9):
        score_day(world.spec, TRAINED + number * DAY, world.client, world.settings)
    return world


def ask(model: World, days: dict[datetime, str]) -> None:
    """Send the flights of some days to the serving app, each at its time, with features computed from a file of events."""
    clock: list[datetime] = []

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return clock[-1]

    source = model.spec.source
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evermodel.serving.predict.datetime", Clock)
        with TestClient(create_app([model.name], model.settings, poll_seconds=0.2)) as client:
            for day, file in days.items():
                path = {"path": f"{model.folder}/{file}.parquet"}
                moved = {name: table.model_copy(update=path) for name, table in source.tables.items()}
                seen_as = model.spec.model_copy(
                    update={"source": source.model_copy(update={"tables": moved})}
                )
                rows = read_window(seen_as, Window(day, day + DAY), with_label=False).to_pylist()
                assert len(rows) > 40
                for row in rows:
                    clock.append(row.pop("scheduled_at"))
                    assert client.post("/predict", json={"rows": [row]}).status_code == 200


def test_another_time_zone_on_the_way_to_the_app_opens_one_incident_the_same_day(
    model: World, slack: FakeSlack
) -> None:
    before, planted = TRAINED + 7 * DAY, TRAINED + 8 * DAY
    ask(model, {before - DAY: "departures", planted - DAY: "local"})
    dag = parse(model, "drift")

    calm = run(dag, f"{before:%Y-%m-%d}", skip="evidently_report")

    assert {i["kind"] for i in calm.xcom("alert")["incidents"] if i["action"] != "quiet"} == set()
    assert slack.messages == []

    done = run(dag, f"{planted:%Y-%m-%d}", skip="evidently_report")

    assert done.state == "success"
    incidents = {i["kind"]: i for i in done.xcom("alert")["incidents"]}
    assert {kind: i["action"] for kind, i in incidents.items() if i["action"] != "quiet"} == {"skew": "open"}
    assert incidents["skew"]["severity"] == "critical"
    (message,) = slack.messages
    assert "skew of served features" in message.text
