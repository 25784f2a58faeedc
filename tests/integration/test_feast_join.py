"""`make test-install`: Feast's features: as of each row's time in snapshots, and looked up without Feast; Feast runs in its own environment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evermodel.core.errors import SourceError
from evermodel.core.settings import Settings
from evermodel.data.online.part import key_text, part_of, values_of
from evermodel.data.online.store import open_store
from evermodel.data.online.write import write_online
from evermodel.data.snapshots.snapshot import take_snapshot
from evermodel.data.sources import read_window
from evermodel.data.validation.point_in_time import leak_checks
from evermodel.spec.window import Window
from support.feast_repo import (
    FEAST_PYTHON,
    READ,
    START,
    expected,
    feast_repo,
    feast_spec,
    needs_feast,
    run_feast,
    store_at,
)
from support.redis_server import needs_redis, redis_server

pytestmark = [needs_feast, pytest.mark.install, pytest.mark.timeout(1800)]
GIVEN = ("spent", "orders", "mean", "owner")


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feast")


@pytest.fixture(scope="module")
def data(repo: Path) -> dict[str, pa.Table]:
    return feast_repo(repo)


@pytest.fixture(autouse=True)
def own_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERMODEL_FEAST_PYTHON", FEAST_PYTHON)


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


def test_a_snapshot_has_each_row_as_it_was_known_and_the_leak_check_asks_again(
    repo: Path, data: dict[str, pa.Table], tmp_path: Path
) -> None:
    spec = feast_spec(repo, split={"train": "7d", "validation": "1d", "test": "1d"})
    settings = Settings.from_environment({"EVERMODEL_HOME": str(tmp_path)})
    snapshot = take_snapshot(spec, START + timedelta(days=10), settings)
    file = settings.lake / snapshot.path
    rows = pq.read_table(file).to_pylist()
    asked = {row["id"]: row for row in data["rows"].to_pylist() if row["at"] < START + timedelta(days=9)}
    assert sorted(row["id"] for row in rows) == sorted(asked)
    assert len({row["spent"] for row in rows}) > 60
    assert sum(row["spent"] is None for row in rows) > 5
    for row in rows:
        of_row = asked[row["id"]]
        given = expected(data, of_row["customer"], of_row["shop"], of_row["at"])
        assert {name: row[name] for name in GIVEN} == given

    broken = tmp_path / "broken.parquet"
    pq.write_table(pa.Table.from_pylist([{**row, "orders": 99.0} for row in rows]), broken)
    [passed] = leak_checks(spec, file, "seed")
    assert passed.passed
    [failed] = leak_checks(spec, broken, "seed")
    assert (failed.column, failed.passed) == ("orders", False)


# Both have one registry, which knows how far each view is materialized: the second is a day later.
@pytest.mark.parametrize(("kind", "day"), [("database", 6), pytest.param("redis", 7, marks=needs_redis)])
def test_what_is_looked_up_is_what_training_has_and_what_feast_itself_serves(
    repo: Path, data: dict[str, pa.Table], tmp_path: Path, kind: str, day: int, request: pytest.FixtureRequest
) -> None:
    environ, online = {"EVERMODEL_HOME": str(tmp_path)}, f"type: sqlite\n    path: {repo}/online.db"
    if kind == "redis":
        environ["EVERMODEL_FEATURE_STORE"] = url = request.getfixturevalue("redis_url")
        online = f"type: redis\n    connection_string: {url.removeprefix('redis://').partition('/')[0]}"
    store_at(tmp_path / "repo", repo, online)
    settings = Settings.from_environment(environ)
    views = [{"key": "customer", "features": ["spent", "orders", "mean"]}]
    given = {"repo": str(tmp_path / "repo"), "views": views, "materialize": True}
    features = {"categorical": [], "online": {"every": "1d", "delay": "3h"}}
    spec = feast_spec(repo, given, features=features)
    period = START + timedelta(days=day)
    [written] = write_online(spec, period + timedelta(hours=1), settings)
    assert written.keys > 30

    [view], store = spec.feature_views, open_store(settings.feature_store_url)
    keys = list(range(70))
    texts = store.read(part_of(spec, view, period), [key_text([key]) or "" for key in keys])
    assert texts is not None
    found = {
        key: dict(zip(view.features, values_of(view, text), strict=True))
        for key, text in zip(keys, texts, strict=True)
    }
    for key, values in found.items():
        assert values == {name: expected(data, key, "a", period)[name] for name in view.features}

    shown = Window(period + timedelta(hours=3), period + timedelta(days=1, hours=3))
    rows = read_window(spec, shown, with_label=False).to_pylist()
    assert len(rows) > 8
    assert len({row["spent"] for row in rows}) > 5
    nothing = dict.fromkeys(view.features)
    for row in rows:
        assert {name: row[name] for name in view.features} == found.get(row["customer"], nothing)

    served = json.loads(run_feast("-c", READ, tmp_path / "repo", json.dumps(keys)))
    assert served["customer"] == keys
    # Feast's own online store has what happened since it was filled last, also what was created later.
    events = data["spending"].to_pylist()
    late = {e["customer"] for e in events if e["at"] <= period < e["made"]}
    since = START if kind == "database" else period - timedelta(days=1)
    same = {e["customer"] for e in events if since <= e["at"] <= period} - late
    assert len(same) > 5
    assert {key: served["spent"][key] for key in same} == {key: found[key]["spent"] for key in same}


def test_what_does_not_fit_is_said_in_one_line(repo: Path, data: dict[str, pa.Table]) -> None:
    window = Window(START, START + timedelta(days=1))
    with pytest.raises(SourceError, match="there is no feature service refunds; there are: returns"):
        read_window(feast_spec(repo, {"service": "refunds"}), window, with_label=True)
    views = [{"key": "customer", "features": ["owner"]}]
    features = {"numeric": ["amount"]}
    with pytest.raises(SourceError, match="the view shops is found by shop, and the spec says customer"):
        read_window(feast_spec(repo, {"views": views}, features=features), window, with_label=True)
