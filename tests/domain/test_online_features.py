"""Looked-up features: what is written for a period is what its rows have in training, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from evermodel.core.database.schema import open_database
from evermodel.core.database.tables import online_parts, online_values
from evermodel.core.errors import FeatureStoreError, PermanentError
from evermodel.core.settings import Settings
from evermodel.data.features import Events, recompute
from evermodel.data.online.part import key_text, part_of, values_of
from evermodel.data.online.store import OnlineStore, open_store
from evermodel.data.online.write import write_online
from evermodel.data.sources import read_window
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window
from support.event_tables import START, events_spec, files_of, rows_and_events
from support.redis_server import needs_redis, redis_server

NOON = START + timedelta(days=6, hours=12)
DAILY = {"every": "1d", "delay": "3h"}


@pytest.fixture(scope="module")
def data() -> dict[str, pa.Table]:
    return rows_and_events(rows=1500, keys=50)


@pytest.fixture(scope="module")
def source(data: dict[str, pa.Table], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return files_of(tmp_path_factory.mktemp("events"), data)


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(params=["database", pytest.param("redis", marks=needs_redis)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    environ = {"EVERMODEL_HOME": str(tmp_path)}
    if request.param == "redis":
        environ["EVERMODEL_FEATURE_STORE"] = request.getfixturevalue("redis_url")
    return Settings.from_environment(environ)


def looked_up(spec: ModelSpec, store: OnlineStore, row: dict[str, Any], period: datetime) -> dict[str, Any]:
    """Return a row's aggregates as the store has them."""
    found: dict[str, Any] = {}
    for view in spec.feature_views:
        key = key_text([row[name] for name in view.key])
        texts = store.read(part_of(spec, view, period), [key or ""])
        assert texts is not None
        found |= dict(zip(view.features, values_of(view, texts[0]), strict=True))
    return found


def test_what_is_looked_up_is_what_the_rows_of_the_period_have_in_training(
    source: dict[str, Any], data: dict[str, pa.Table], settings: Settings
) -> None:
    spec = events_spec(online=DAILY, **source)
    written = write_online(spec, NOON, settings)
    assert {view.view for view in written} == {
        "orders by customer",
        "visits by customer",
        "orders by customer, shop",
    }
    period = START + timedelta(days=6)
    shown = Window(period + timedelta(hours=3), period + timedelta(days=1, hours=3))
    rows = read_window(spec, shown, with_label=False, columns=["id", "at", *spec.looked_up]).to_pylist()
    asked = {row["id"]: row for row in data["rows"].to_pylist()}
    store = open_store(settings.feature_store_url)
    assert len(rows) > 80
    assert len({row["spent_7d"] for row in rows}) > 20
    for row in rows:
        again = looked_up(spec, store, asked[row["id"]], period)
        assert {name: row[name] for name in spec.looked_up} == again


def test_training_sees_a_row_as_its_period_shows_it_and_plain_python_agrees(
    source: dict[str, Any], data: dict[str, pa.Table]
) -> None:
    spec, plain = events_spec(online=DAILY, **source), events_spec(**source)
    window = Window(START, START + timedelta(days=12))
    columns = ["id", "at", *sorted(spec.looked_up)]
    rows = read_window(spec, window, with_label=False, columns=columns).to_pylist()
    asked = {row["id"]: row for row in data["rows"].to_pylist()}
    events = {name: Events(spec, name, data[name].to_pylist()) for name in spec.source.tables}
    again = recompute(spec, [asked[row["id"]] for row in rows], events)
    assert [{name: row[name] for name in spec.looked_up} for row in rows] == again
    at_once = read_window(plain, window, with_label=False, columns=columns).to_pylist()
    assert sum(a["orders_1h"] != b["orders_1h"] for a, b in zip(rows, at_once, strict=True)) > 30


def test_a_part_is_replaced_as_a_whole_and_another_definition_is_another_part(
    source: dict[str, Any], settings: Settings
) -> None:
    spec = events_spec(online=DAILY, **source)
    (view, *_), store = spec.feature_views, open_store(settings.feature_store_url)
    part = part_of(spec, view, NOON)
    assert store.write(part, [("a", "1"), ("b", "2")]) == 2
    assert store.write(part, [("b", "3")]) == 1
    assert store.read(part, ["a", "b"]) == [None, "3"]

    def broken() -> Iterator[tuple[str, str]]:
        yield "a", "9"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(part, broken())
    assert store.read(part, ["a", "b"]) == [None, "3"]
    changed = events_spec(online={**DAILY, "delay": "4h"}, **source)
    assert store.read(part_of(changed, changed.feature_views[0], NOON), ["b"]) is None


def test_the_database_keeps_no_part_that_cannot_be_needed(source: dict[str, Any], tmp_path: Path) -> None:
    settings = Settings.from_environment({"EVERMODEL_HOME": str(tmp_path)})
    spec = events_spec(online=DAILY, **source)
    for moment in (NOON, NOON, NOON + timedelta(days=1)):
        write_online(spec, moment, settings)
    database = open_database(settings.database_url)
    with database.writing() as connection:
        parts = connection.execute(online_parts.select()).all()
        assert len(parts) == 2 * 3
        connection.execute(online_parts.update().values(expires=0.0))
    write_online(spec, NOON + timedelta(days=2), settings)
    with database.reading() as connection:
        assert len(connection.execute(online_parts.select()).all()) == 3
        numbers = {row.part for row in connection.execute(online_values.select())}
    assert len(numbers) == 3


def test_a_store_that_is_away_is_named_without_its_login() -> None:
    address = Settings.from_environment(
        {"EVERMODEL_FEATURE_STORE": "redis://:s3cret@127.0.0.1:1/0"}
    ).feature_store_url
    spec = events_spec(online=DAILY)
    part = part_of(spec, spec.feature_views[0], datetime(2024, 3, 7, tzinfo=UTC))
    with pytest.raises(FeatureStoreError, match=r"feature store redis://127\.0\.0\.1:1/0 does not") as caught:
        open_store(address).read(part, ["a"])
    assert "s3cret" not in str(caught.value)


def test_the_spec_says_what_is_missing(source: dict[str, Any], tmp_path: Path) -> None:
    settings = Settings.from_environment({"EVERMODEL_HOME": str(tmp_path)})
    with pytest.raises(PermanentError, match=r"set `features\.online`"):
        write_online(events_spec(**source), NOON, settings)
    with pytest.raises(ValidationError, match="`max_age` must be at least `every` and `delay` together"):
        events_spec(online={"every": "1d", "delay": "6h", "max_age": "1d"}, **source)
    whole = events_spec(online=DAILY, **source).canonical()
    with pytest.raises(ValidationError, match="customer, by which events are found, is not in requests"):
        ModelSpec.model_validate({**whole, "context": []})
