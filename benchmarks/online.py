"""Looked-up features in a real Redis: the same values offline and online, and what a look-up costs the serving app."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import orjson
import yaml
from tests.support.redis_server import redis_server

from benchmarks.load import Load, put_under_load
from benchmarks.outcome import Outcome
from benchmarks.published import Published, published, rows_of
from evermodel.cli.local_stack.ports import free_port
from evermodel.cli.local_stack.processes import Service
from evermodel.core.settings import Settings
from evermodel.data.online.part import key_text, part_of, values_of
from evermodel.data.online.store import open_store
from evermodel.data.online.write import write_online
from evermodel.data.sources import read_window
from evermodel.spec import ModelSpec, load_spec
from evermodel.spec.window import Window

CLIENTS, PACE = 32, 1000.0
_AGGREGATES = [
    {"name": "n0", "table": "events", "function": "count", "over": "7d"},
    {"name": "n1", "table": "events", "function": "mean", "column": "amount", "over": "30d"},
    {"name": "n2", "table": "events", "function": "max", "column": "amount", "over": "30d"},
    {"name": "n3", "table": "events", "function": "last", "column": "amount"},
]


def run(small: bool) -> Outcome:
    """Write the features of all keys, compare them with those of rows, and put the app under load with and without them."""
    keys, rounds, seconds = (2_000, 1, 1.0) if small else (100_000, 3, 6.0)
    with (
        tempfile.TemporaryDirectory() as folder,
        redis_server() as redis,
        published(Path(folder), 20 if small else 100) as world,
    ):
        world.publish(1)
        _write_events(Path(folder), keys, datetime.now(UTC))
        spec = _with_lookups(world, Path(folder))
        settings = Settings.from_environment({**world.environment, "EVERMODEL_FEATURE_STORE": redis})
        now, begun = datetime.now(UTC), time.perf_counter()
        written = write_online(spec, now, settings)[0].keys
        writing = time.perf_counter() - begun
        mismatches = _mismatches(spec, settings, now)
        port = free_port()
        command = (sys.executable, "-m", "evermodel.cli", "serve", "bench", "--port", str(port))
        environment = {**world.environment, "EVERMODEL_FEATURE_STORE": redis}
        world.supervisor.start([Service("ours", command, environment, f"http://127.0.0.1:{port}/ready")])
        bodies = {"sent": _bodies(keys, sent=True), "looked up": _bodies(keys, sent=False)}
        most: dict[str, list[Load]] = {name: [] for name in bodies}
        paced: dict[str, list[Load]] = {name: [] for name in bodies}
        for _ in range(rounds):
            for name, some in bodies.items():
                most[name].append(_load(port, some, seconds, None))
                paced[name].append(_load(port, some, seconds, PACE))
    return _outcome(most, paced, written, writing, mismatches)


def _write_events(folder: Path, keys: int, now: datetime) -> None:
    """Write ten events a key over 30 days, and a row for each key at this moment."""
    day = f"TIMESTAMPTZ '{now:%Y-%m-%d %H:%M}+00'"
    with duckdb.connect() as duck:
        duck.execute("SET TimeZone = 'UTC'")
        duck.execute(
            f"""COPY (SELECT (hash(i) % {keys})::BIGINT AS customer, (hash(i + 2) % 100000)::DOUBLE / 1000 AS amount,
            {day} - to_microseconds((hash(i + 1) % 2592000000000)::BIGINT) AS happened FROM range({10 * keys}) t(i))
            TO '{folder}/events.parquet'"""
        )
        duck.execute(
            f"""COPY (SELECT i::VARCHAR AS id, {day} AS "at", i AS customer, 0 AS late FROM range({keys}) t(i))
            TO '{folder}/rows.parquet'"""
        )


def _with_lookups(world: Published, folder: Path) -> ModelSpec:
    """Let the served model's first numbers be aggregates."""
    file = world.settings.models / "bench.yaml"
    whole: dict[str, Any] = yaml.safe_load(file.read_text())
    events = {"path": f"{folder}/events.parquet", "key": "customer", "time_column": "happened"}
    whole["source"] = {"path": f"{folder}/rows.parquet", "tables": {"events": events}}
    whole["features"] |= {"aggregates": _AGGREGATES, "online": {"every": "1d", "delay": "0h"}}
    whole["context"] = ["customer"]
    file.write_text(yaml.safe_dump(whole))
    return load_spec("bench", world.settings)


def _mismatches(spec: ModelSpec, settings: Settings, now: datetime) -> int:
    """Count the keys whose looked-up values differ in any bit from those of their row."""
    names = [str(aggregate["name"]) for aggregate in _AGGREGATES]
    window = Window(now - timedelta(days=1), now + timedelta(days=1))
    rows = read_window(spec, window, with_label=False, columns=["id", "at", "customer", *names]).to_pylist()
    (view,), online = spec.feature_views, spec.features.online
    assert online is not None
    keys = [key_text([row["customer"]]) or "" for row in rows]
    found = open_store(settings.feature_store_url).read(part_of(spec, view, online.period_at(now)), keys)
    assert found is not None
    return sum(
        json.dumps(values_of(view, text)) != json.dumps([row[name] for name in names])
        for text, row in zip(found, rows, strict=True)
    )


def _bodies(keys: int, *, sent: bool) -> list[bytes]:
    rows = json.loads(rows_of(640, seed=7).to_json(orient="records"))
    made = []
    for number, row in enumerate(rows):
        left_out = () if sent else [aggregate["name"] for aggregate in _AGGREGATES]
        kept = {name: value for name, value in row.items() if name not in left_out}
        made.append(orjson.dumps({"rows": [{**kept, "customer": number * 7919 % keys}]}))
    return made


def _load(port: int, bodies: list[bytes], seconds: float, pace: float | None) -> Load:
    return put_under_load(
        port, "/predict", bodies, clients=CLIENTS, seconds=seconds, warm_up=0.5, per_second=pace
    )


def _outcome(
    most: dict[str, list[Load]],
    paced: dict[str, list[Load]],
    written: int,
    writing: float,
    mismatches: int,
) -> Outcome:
    def median(values: list[float]) -> float:
        return sorted(values)[len(values) // 2]

    rate = {name: median([load.per_second for load in loads]) for name, loads in most.items()}
    pairs = zip(most["looked up"], most["sent"], strict=True)
    ratio = median([ours.per_second / plain.per_second for ours, plain in pairs])
    p99 = {name: median([load.quantile(0.99) for load in loads]) for name, loads in paced.items()}
    failed = sum(load.failures for loads in (*most.values(), *paced.values()) for load in loads)
    return Outcome(
        peer="the same app with the features in the request",
        ratios={"rate_looked_up_vs_sent": ratio},
        figures={
            "keys": written,
            "keys_written_per_second": written / writing,
            "keys_that_differ_offline": mismatches,
            "requests_per_second": rate["looked up"],
            "p99_ms_at_1000_per_second": p99["looked up"],
            "p99_ms_at_1000_per_second_sent": p99["sent"],
            "failed_requests": failed,
        },
        header=("features", "requests/s", "p99 ms at 1,000 a second"),
        rows=[(name, f"{rate[name]:,.0f}", f"{p99[name]:.1f}") for name in most],
        notes=[
            f"{written:,} keys written in {writing:.1f} s; {mismatches} of them differ from the same features of a row. One worker, {CLIENTS} clients, one row a request, {len(_AGGREGATES)} of 20 features looked up in Redis on the same machine."
        ],
    )
