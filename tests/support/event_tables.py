"""Rows and events for tests of aggregates: late, corrected, tied, missing, and in several time zones."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evermodel.data.features import Events, recompute
from evermodel.spec import ModelSpec
from support.small_spec import small_spec

START = datetime(2024, 3, 1, tzinfo=UTC)
ORDERS: dict[str, Any] = {
    "path": "orders.parquet",
    "key": "customer",
    "time_column": "ordered_at",
    "arrival_column": "loaded_at",
    "id_column": "order_id",
}
VISITS: dict[str, Any] = {
    "path": "visits.parquet",
    "key": "customer",
    "time_column": "seen_at",
    "lateness": "10min",
}
AGGREGATES: list[dict[str, Any]] = [
    {"name": "orders_1h", "table": "orders", "function": "count", "over": "1h"},
    {"name": "spent_7d", "table": "orders", "function": "sum", "column": "price", "over": "7d"},
    {"name": "spent_mean", "table": "orders", "function": "mean", "column": "price", "over": "1d", "default": -1},
    {"name": "shops", "table": "orders", "function": "distinct", "column": "shop", "over": "7d"},
    {"name": "cheapest", "table": "orders", "function": "min", "column": "price", "over": "1d"},
    {"name": "dearest", "table": "orders", "function": "max", "column": "price", "over": "7d", "where": {"shop": ["a", "b"]}},
    {"name": "last_shop", "table": "orders", "function": "last", "column": "shop", "default": "none"},
    {"name": "last_price", "table": "orders", "function": "last", "column": "price", "over": "1d"},
    {"name": "visits_1h", "table": "visits", "function": "count", "over": "1h"},
    {"name": "longest_visit", "table": "visits", "function": "max", "column": "minutes", "over": "1d"},
    {"name": "last_page", "table": "visits", "function": "last", "column": "page"},
    {"name": "shop_orders", "table": "orders", "function": "count", "over": "1d", "key": ["customer", "shop"]},
]  # fmt: skip
TEXTS = ("last_shop", "last_page")
# One of each way to compute, over events that are late and corrected.
ON_ENGINES = [
    a for a in AGGREGATES if a["name"] in ("spent_mean", "shops", "dearest", "last_shop", "visits_1h")
]


def events_spec(
    aggregates: list[dict[str, Any]] | None = None, online: dict[str, str] | None = None, **source: Any
) -> ModelSpec:
    """Return a spec with two tables of events: corrected orders, and visits known ten minutes later."""
    aggregates = AGGREGATES if aggregates is None else aggregates
    names = [a["name"] for a in aggregates]
    whole = {"path": "rows.parquet", "tables": {"orders": ORDERS, "visits": VISITS}}
    return small_spec(
        source={k: v for k, v in {**whole, **source}.items() if v is not None},
        features={
            "numeric": ["amount", *(n for n in names if n not in TEXTS)],
            "categorical": ["shop", *(n for n in names if n in TEXTS)],
            "aggregates": aggregates,
            **({} if online is None else {"online": online}),
        },
        **({} if online is None else {"context": ["customer"]}),
    )


def rows_and_events(rows: int, keys: int, seed: int = 0, days: int = 12) -> dict[str, pa.Table]:
    """Return `rows`, `orders` and `visits`; few different times, so that many are equal."""
    draw = random.Random(seed)

    def some_time() -> datetime:
        return START + timedelta(minutes=10 * draw.randrange(days * 144), microseconds=draw.choice([0, 0, 1]))

    def some_key() -> int | None:
        return None if draw.random() < 0.01 else draw.randrange(keys)

    asked = [
        {"id": str(n), "at": some_time(), "customer": some_key(), "shop": draw.choice("abcd"), "amount": 1.0, "late": n % 2}
        for n in range(rows)
    ]  # fmt: skip
    return {
        "rows": pa.Table.from_pylist(asked),
        "orders": pa.Table.from_pylist(
            [o for n in range(keys * 12) for o in _order(draw, n, some_time(), some_key())]
        ),
        "visits": pa.Table.from_pylist([_visit(draw, some_time(), some_key()) for _ in range(keys * 8)]),
    }


def files_of(folder: Path, data: dict[str, pa.Table]) -> dict[str, Any]:
    """Write the tables, and return the section `source` that reads them."""
    for name, table in data.items():
        pq.write_table(table, folder / f"{name}.parquet")
    tables = {
        "orders": {**ORDERS, "path": f"{folder}/orders.parquet"},
        "visits": {**VISITS, "path": f"{folder}/visits.parquet"},
    }
    return {"path": f"{folder}/rows.parquet", "tables": tables}


def _order(draw: random.Random, number: int, at: datetime, key: int | None) -> list[dict[str, Any]]:
    """Return the versions of an order: most arrive late, some are corrected, moved or taken back."""
    order: dict[str, Any] = {
        "order_id": None if draw.random() < 0.02 else number,
        "customer": key,
        "ordered_at": at,
        "loaded_at": at + timedelta(minutes=draw.choice([0, 0, 10, 50, 700, 3000])),
        "price": draw.choice([None, 0.1, 0.2, 0.3, 19.99, -5.0, round(draw.uniform(0, 100), 7)]),
        "shop": draw.choice(["a", "b", "É", "z", None]),
    }
    versions = [order]
    while draw.random() < 0.3:
        changed = dict(versions[-1])
        changed["loaded_at"] += timedelta(minutes=draw.choice([0, 10, 60, 1500]))
        what = draw.choice(["price", "shop", "time", "customer", "gone"])
        changed |= {
            "price": {"price": draw.choice([1.5, None])},
            "shop": {"shop": "b"},
            "time": {"ordered_at": at - timedelta(minutes=70)},
            "customer": {"customer": 0},
            "gone": {"ordered_at": None},
        }[what]
        versions.append(changed)
        if changed["ordered_at"] is None:
            break
    return versions


def _visit(draw: random.Random, at: datetime, key: int | None) -> dict[str, Any]:
    return {
        "customer": key,
        "seen_at": None if draw.random() < 0.01 else at,
        "minutes": draw.choice([None, float("nan"), float("inf"), 1.0, 2.0, 3.5]),
        "page": draw.choice(["home", "cart", None]),
    }


def two_rows(start: datetime, end: datetime) -> pa.Table:
    """Return the rows of a source of kind python."""
    times = [datetime(2024, 3, 1, 9, 30, tzinfo=UTC), datetime(2024, 3, 1, 9, 45, tzinfo=UTC)]
    return pa.table(
        {"id": ["1", "2"], "at": times, "customer": [1, 1], "shop": ["a", "a"], "amount": [1.0, 1.0]}
    )


def in_engine(aggregates: list[dict[str, Any]], **source: Any) -> ModelSpec:
    """Return a spec that reads rows and events where they are tables of one engine."""
    orders = {**ORDERS, "path": None, "table": "orders"}
    visits = {**VISITS, "path": None, "query": "SELECT * FROM visits WHERE seen_at IS NOT NULL"}
    return events_spec(
        aggregates,
        path=None,
        kind="ibis",
        table="asked",
        tables={"orders": orders, "visits": visits},
        **source,
    )


def mismatches(spec: ModelSpec, data: dict[str, pa.Table], found: pa.Table) -> int:
    """Count the values of all rows that plain Python computes otherwise."""
    keyed = {row["id"]: row for row in data["rows"].to_pylist()}
    rows = found.to_pylist()
    assert len(rows) == len(keyed)
    events = {name: Events(spec, name, data[name].to_pylist()) for name in spec.source.tables}
    again = recompute(spec, [keyed[row["id"]] for row in rows], events)
    return sum(row[name] != v for row, values in zip(rows, again, strict=True) for name, v in values.items())
