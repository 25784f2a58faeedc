"""Skew: a day's served features beside the same features from the events, and the incident of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evermodel.data.prediction_log import log_schema, write_plain_day
from evermodel.monitoring.skew import skew_problem
from evermodel.spec import ModelSpec
from support.event_tables import events_spec

DAY = datetime(2024, 3, 2, tzinfo=UTC)
AS_OF = DAY + timedelta(days=1)
CUSTOMERS = 60
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    """Give a model with a count, and a latest text, of visits in the hour before; every second customer has visits."""
    rows = [
        {
            "id": n,
            "at": DAY + timedelta(hours=6, minutes=n),
            "customer": n,
            "shop": "a",
            "amount": 1.0,
            "late": 0,
        }
        for n in range(CUSTOMERS)
    ]
    visits = [
        {"customer": row["customer"], "seen_at": row["at"] - timedelta(minutes=20), "page": "home"}
        for row in rows
        if row["customer"] % 2
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    pq.write_table(pa.Table.from_pylist(visits), tmp_path / "visits.parquet")
    table = {"path": f"{tmp_path}/visits.parquet", "key": "customer", "time_column": "seen_at"}
    aggregates = [
        {"name": "visits_1h", "table": "visits", "function": "count", "over": "1h"},
        {"name": "last_page", "table": "visits", "function": "last", "column": "page"},
    ]
    return events_spec(aggregates, path=f"{tmp_path}/rows.parquet", tables={"visits": table})


def log(
    spec: ModelSpec,
    lake: Path,
    change: Change = lambda row: {},
    source: str = "online",
    rows: int = CUSTOMERS,
) -> None:
    served = []
    for n in range(rows):
        row = {
            "prediction_id": str(n),
            "event_time": DAY + timedelta(hours=6, minutes=n),
            "source": source,
            "visits_1h": float(n % 2),
            "last_page": "home" if n % 2 else None,
        }
        served.append({**row, **change(row)})
    table = pa.Table.from_pylist(served)
    schema = log_schema(spec)
    columns = [
        table[f.name].cast(f.type) if f.name in table.column_names else pa.nulls(rows, f.type) for f in schema
    ]
    write_plain_day(spec, lake, f"{DAY:%Y-%m-%d}", pa.table(columns, schema=schema))


def test_what_was_served_as_the_events_say_is_no_problem(spec: ModelSpec, tmp_path: Path) -> None:
    log(spec, tmp_path)
    problem = skew_problem(spec, tmp_path, AS_OF)
    assert problem is not None
    assert (problem.severity, problem.known) == ("none", True)


def test_another_time_zone_is_named_with_column_share_size_and_time(spec: ModelSpec, tmp_path: Path) -> None:
    # An hour away, no visit lies in the window; the latest page is the same.
    log(spec, tmp_path, lambda row: {"visits_1h": 0.0})
    problem = skew_problem(spec, tmp_path, AS_OF)
    assert problem is not None
    assert problem.severity == "critical"
    assert problem.details == (
        "visits_1h: 50.0% of 60 rows differ, by -1 in the median, since 2024-03-02 06:01",
    )
    assert "last_page" not in problem.cause


def test_texts_and_missing_values_differ_too(spec: ModelSpec, tmp_path: Path) -> None:
    wrong = {"1": {"last_page": None}, "2": {"visits_1h": None}, "3": {"last_page": "cart"}}
    log(spec, tmp_path, lambda row: wrong.get(row["prediction_id"], {}))
    problem = skew_problem(spec, tmp_path, AS_OF)
    assert problem is not None
    assert problem.severity == "warning"
    assert [line.split(" rows")[0] for line in problem.details] == [
        "last_page: 3.3% of 60",
        "visits_1h: 1.7% of 60",
    ]


def test_too_few_rows_or_none_of_the_source_give_no_verdict(spec: ModelSpec, tmp_path: Path) -> None:
    log(spec, tmp_path, lambda row: {"visits_1h": 9.0}, rows=29)
    problem = skew_problem(spec, tmp_path, AS_OF)
    assert problem is not None
    assert not problem.known
    log(spec, tmp_path, lambda row: {"visits_1h": 9.0, "prediction_id": f"other-{row['prediction_id']}"})
    problem = skew_problem(spec, tmp_path, AS_OF)
    assert problem is not None
    assert not problem.known


def test_a_model_without_aggregates_has_no_such_problem(tmp_path: Path) -> None:
    assert skew_problem(events_spec([]), tmp_path, AS_OF) is None
