"""Feast's own offline join on files, of five feature views over the events, beside the same features as aggregates."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb

PROJECT = Path(__file__).parents[1]
_PYTHON = PROJECT / ".feast" / "bin" / "python"
_VIEWS = 5
_NAMES = [f"price_{number}" for number in range(_VIEWS)]
_AGGREGATES = [
    {"name": name, "table": "orders", "function": "last", "column": name, "over": "30d"} for name in _NAMES
]
_FEAST = """
import resource, sys, time
from datetime import timedelta
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64

folder, names, kind = sys.argv[1], sys.argv[2].split(","), sys.argv[3]
store = FeatureStore(config=RepoConfig(
    project="bench", provider="local", registry=f"{folder}/{kind}.db", offline_store={"type": kind},
    online_store={"type": "sqlite", "path": f"{folder}/{kind}-online.db"}, entity_key_serialization_version=3))
customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.INT64)
views = [FeatureView(name=f"view_{name}", entities=[customer], ttl=timedelta(days=30), schema=[Field(name=name, dtype=Float64)],
    source=FileSource(path=f"{folder}/orders.parquet", timestamp_field="ordered_at")) for name in names]
store.apply([customer, *views])
asked = pq.read_table(f"{folder}/rows.parquet").select(["id", "at", "customer"]).rename_columns(["id", "event_timestamp", "customer"])
begun = time.perf_counter()
found = store.get_historical_features(asked.to_pandas(), [f"view_{name}:{name}" for name in names]).to_arrow()
seconds = time.perf_counter() - begun
pq.write_table(found, f"{folder}/{kind}.parquet")
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@dataclass(frozen=True)
class Measured:
    """What one took, and how its answer differs from the aggregates'.

    Parameters
    ----------
    lost
        Rows that are missing in the answer.
    differing
        Rows with another value than ours, of those that are there.
    """

    seconds: float
    memory: float
    lost: int = 0
    differing: int = 0


def feast_aggregates() -> str:
    """Return the same features as aggregates, in JSON."""
    return json.dumps(_AGGREGATES)


def made(*, small: bool) -> bool:
    """Tell whether Feast can be measured; makes its environment first, unless it is only a quick check."""
    if not _PYTHON.exists() and not small:
        subprocess.run(["make", "feast", f"PYTHON={sys.executable}"], cwd=PROJECT, check=True)
    return _PYTHON.exists()


def write(folder: Path, events: int, asked: int) -> None:
    """Write the events, with a column for each view, and the rows, of keys with 50 events."""
    micros, keys = 90 * 86_400_000_000, max(2, events // 50)

    def drawn(seed: int, most: int) -> str:
        return f"(hash(i, {seed}) % {most})::BIGINT"  # no row is at the time of an event, which Feast sees, and we do not

    def columns(seed: int, time: str) -> str:
        moment = f"TIMESTAMPTZ '2024-01-01 00:00+00' + to_microseconds({drawn(seed, micros)})"
        return f'{moment} AS "{time}", {drawn(seed + 1, keys)} AS customer'

    prices = ", ".join(f"{drawn(n + 9, 10_000)}::DOUBLE / 100 AS {name}" for n, name in enumerate(_NAMES))
    rows = f"SELECT i::VARCHAR AS id, {columns(1, 'at')}, (i % 2)::INT AS late FROM range({asked}) t(i)"
    with duckdb.connect() as duck:
        duck.execute("SET TimeZone = 'UTC'")
        duck.execute(f"COPY ({rows}) TO '{folder}/rows.parquet'")
        duck.execute(
            f"COPY (SELECT {columns(3, 'ordered_at')}, {prices} FROM range({events}) t(i)) TO '{folder}/orders.parquet'"
        )


def measured(folder: Path, kind: str) -> Measured:
    """Have Feast join, and compare its answer with ours in `ours.parquet`.

    Parameters
    ----------
    kind
        Feast's offline store: ``dask``, its default, or ``duckdb``.
    """
    command = [_PYTHON, "-c", _FEAST, folder, ",".join(_NAMES), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    seconds, memory = map(float, done.stdout.split()[-2:])
    differs = " OR ".join(f"o.{name} IS DISTINCT FROM nullif(f.{name}, 'NaN')" for name in _NAMES)
    with duckdb.connect() as duck:
        both = f"'{folder}/ours.parquet' o LEFT JOIN '{folder}/{kind}.parquet' f USING (id)"
        counts = f"SELECT count(*) FILTER (f.event_timestamp IS NULL), count(*) FILTER (f.event_timestamp IS NOT NULL AND ({differs})) FROM {both}"
        [(lost, differing)] = duck.execute(counts).fetchall()
    return Measured(seconds, memory, lost, differing)
