"""Features of events: five aggregates over a million events for a training set, beside the range join one would write, and Feast."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

from benchmarks import feast
from benchmarks.outcome import Outcome

_DAYS = 90
_AGGREGATES = [
    {"name": "orders_7d", "table": "orders", "function": "count", "over": "7d"},
    {"name": "spent_7d", "table": "orders", "function": "sum", "column": "price", "over": "7d"},
    {"name": "mean_30d", "table": "orders", "function": "mean", "column": "price", "over": "30d"},
    {"name": "dearest_7d", "table": "orders", "function": "max", "column": "price", "over": "7d"},
    {"name": "last_price", "table": "orders", "function": "last", "column": "price"},
]
# Each measurement is a process of its own, as a task of Airflow is.
_OURS = """
import json, resource, sys, time
from datetime import datetime, timedelta, UTC
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from evermodel.data.sources import stream_window
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window

folder, aggregates = sys.argv[1], json.loads(sys.argv[2])
names = [a["name"] for a in aggregates]
spec = ModelSpec.model_validate({
    "name": "bench", "time_column": "at", "id_column": "id", "label": {"column": "late"},
    "source": {"path": f"{folder}/rows.parquet", "tables": {"orders": {
        "path": f"{folder}/orders.parquet", "key": "customer", "time_column": "ordered_at", "lateness": sys.argv[3]}}},
    "features": {"numeric": names, "aggregates": aggregates},
    "candidates": [{"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}],
})
start = datetime(2024, 1, 1, tzinfo=UTC)
begun, count, kept = time.perf_counter(), 0, []
with stream_window(spec, Window(start, start + timedelta(days=365)), with_label=True) as rows:
    for batch in rows:
        count += batch.num_rows
        if len(sys.argv) > 4:
            kept.append(batch)
"""
_KEEP = """
pq.write_table(pa.Table.from_batches(kept), sys.argv[4])
"""
# What one writes by hand: one join of rows with the events of their windows, in the same engine and memory.
_PEER = """
import resource, sys, time
import duckdb

duck = duckdb.connect(config={"memory_limit": "400MB", "temp_directory": sys.argv[1] + "/spill", "threads": 2})
begun = time.perf_counter()
[(count,)] = duck.execute(f'''
    SELECT count(*) FROM (
      SELECT r.id, r."at", any_value(late),
        count(*) FILTER (ordered_at >= r."at" - INTERVAL 7 DAY), sum(price) FILTER (ordered_at >= r."at" - INTERVAL 7 DAY),
        avg(price) FILTER (ordered_at >= r."at" - INTERVAL 30 DAY), max(price) FILTER (ordered_at >= r."at" - INTERVAL 7 DAY),
        arg_max(price, ordered_at)
      FROM '{sys.argv[1]}/rows.parquet' r
      LEFT JOIN '{sys.argv[1]}/orders.parquet' o ON o.customer = r.customer AND ordered_at < r."at" - INTERVAL 10 MINUTE
      GROUP BY ALL)''').fetchall()
"""
_END = """
print(time.perf_counter() - begun, count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def run(small: bool) -> Outcome:
    """Measure both, for keys with few events and for keys with many."""
    events, asked = (20_000, 5_000) if small else (1_000_000, 200_000)
    rows: list[list[str]] = []
    ratios: dict[str, float] = {}
    figures = {"events": float(events), "rows": float(asked), "views": float(len(_AGGREGATES))}
    for name, keys in (("many_keys", events // 50), ("few_keys", max(2, events // 5_000))):
        with tempfile.TemporaryDirectory(prefix="evermodel-bench-") as folder:
            _write(Path(folder), events, asked, keys)
            ours = _measured(_OURS, folder, json.dumps(_AGGREGATES), "10min")
            peer = _measured(_PEER, folder)
        ratios[f"join_{name}"] = peer[0] / ours[0]
        figures[f"rows_per_second_{name}"] = asked / ours[0]
        figures[f"memory_mb_{name}"] = ours[1]
        for who, (seconds, memory) in (("evermodel", ours), ("join by hand", peer)):
            rows.append(
                [
                    f"{events // keys} events a key",
                    who,
                    f"{seconds:.1f}",
                    f"{asked / seconds:,.0f}",
                    f"{memory:,.0f}",
                ]
            )
    notes = [
        f"{events:,} events, {asked:,} rows, {len(_AGGREGATES)} aggregates, {_DAYS} days, DuckDB in 400 MB."
    ]
    notes.append(
        _beside_feast(events, asked // 2, rows, ratios, figures)
        if feast.made(small=small)
        else "Not beside Feast: run `make feast`."
    )
    return Outcome(
        peer="one SQL join of rows and events, and Feast",
        ratios=ratios,
        figures=figures,
        header=["events", "tool", "seconds", "rows/s", "MB"],
        rows=rows,
        notes=notes,
    )


def _beside_feast(
    events: int, asked: int, rows: list[list[str]], ratios: dict[str, float], figures: dict[str, float]
) -> str:
    """Measure the latest values of five views, and add Feast's offline stores; return what to know."""
    with tempfile.TemporaryDirectory(prefix="evermodel-bench-") as name:
        folder, told = Path(name), []
        feast.write(folder, events, asked)
        taken = _measured(_OURS, name, feast.feast_aggregates(), "0h", f"{name}/ours.parquet")
        found = {"evermodel": feast.Measured(*taken)}
        found |= {f"Feast, {kind}": feast.measured(folder, kind) for kind in ("dask", "duckdb")}
    ours = found["evermodel"].seconds
    for who, one in found.items():
        numbers = (f"{one.seconds:.1f}", f"{asked / one.seconds:,.0f}", f"{one.memory:,.0f}")
        rows.append(["five feature views", who, *numbers])
        if who == "evermodel":
            continue
        kind = who.removeprefix("Feast, ")
        ratios[f"feast_{kind}"] = one.seconds / ours
        figures |= {f"lost_by_feast_{kind}": one.lost, f"differing_from_feast_{kind}": one.differing}
        told.append(f"{who} has no answer for {one.lost:,} rows and another one for {one.differing:,}")
    return f"Feast: {events:,} events in each of five feature views, {asked:,} rows, ttl 30 days; {'; '.join(told)}."


def _measured(script: str, *arguments: str) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", script + _END + (_KEEP if len(arguments) > 3 else ""), *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, _, memory = map(float, done.stdout.split()[-3:])
    return seconds, memory


def _write(folder: Path, events: int, asked: int, keys: int) -> None:
    micros = _DAYS * 86_400_000_000

    def moment(seed: int) -> str:
        return f"TIMESTAMPTZ '2024-01-01 00:00+00' + to_microseconds((hash(i + {seed}) % {micros})::BIGINT)"

    with duckdb.connect() as duck:
        duck.execute("SET TimeZone = 'UTC'")
        duck.execute(
            f"""COPY (SELECT i::VARCHAR AS id, {moment(1)} AS "at", (hash(i + 2) % {keys})::BIGINT AS customer,
            (i % 2)::INT AS late FROM range({asked}) t(i)) TO '{folder}/rows.parquet'"""
        )
        duck.execute(
            f"""COPY (SELECT {moment(3)} AS ordered_at, (hash(i + 4) % {keys})::BIGINT AS customer,
            (hash(i + 5) % 10000)::DOUBLE / 100 AS price FROM range({events}) t(i)) TO '{folder}/orders.parquet'"""
        )
