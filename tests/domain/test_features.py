"""Aggregates of events: each row sees what happened and was known before its time, as plain Python says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from evermodel.core.errors import SourceError, SpecError
from evermodel.data.features import Events, recompute, with_aggregates
from evermodel.data.snapshots.snapshot import extract
from evermodel.data.sources import read_events, read_window
from evermodel.data.sources.partitions import Partitions
from evermodel.data.validation.point_in_time import leak_checks
from evermodel.spec import ModelSpec
from evermodel.spec.load import load_spec
from evermodel.spec.window import Window
from support.event_tables import (
    AGGREGATES,
    ORDERS,
    START,
    TEXTS,
    events_spec,
    files_of,
    rows_and_events,
)

WHOLE = Window(START, START + timedelta(days=12))


@pytest.fixture(scope="module")
def data() -> dict[str, pa.Table]:
    return rows_and_events(rows=1500, keys=50)


def expected(spec: ModelSpec, data: dict[str, pa.Table], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    keyed = {row["id"]: row for row in data["rows"].to_pylist()}
    events = {name: Events(spec, name, data[name].to_pylist()) for name in spec.source.tables}
    return recompute(spec, [keyed[row["id"]] for row in rows], events)


def differing(found: list[dict[str, Any]], again: list[dict[str, Any]]) -> list[Any]:
    return [
        (row.get("id"), name, row[name], value)
        for row, values in zip(found, again, strict=True)
        for name, value in values.items()
        if row[name] != value
    ]


def test_late_corrected_tied_and_missing_events_count_as_they_were_known(
    data: dict[str, pa.Table], tmp_path: Path
) -> None:
    spec = events_spec(**files_of(tmp_path, data))
    rows = read_window(spec, WHOLE, with_label=True).to_pylist()
    assert len(rows) == 1500
    again = expected(spec, data, rows)
    assert differing(rows, again) == []
    for aggregate in AGGREGATES:  # each is about something
        assert len({values[aggregate["name"]] for values in again}) > 1, aggregate["name"]


FEW = [a for a in AGGREGATES if a["name"] in ("spent_mean", "shops", "last_price")]


@pytest.fixture(scope="module")
def engine() -> Iterator[tuple[ModelSpec, duckdb.DuckDBPyConnection, str]]:
    """Give a compiled query over tables that each example fills."""
    spec = events_spec(FEW, tables={"orders": ORDERS})
    duck = duckdb.connect(config={"threads": 1})
    duck.execute("SET TimeZone = 'UTC'")
    duck.execute('CREATE TABLE rows (id BIGINT, "at" TIMESTAMPTZ, customer BIGINT)')
    duck.execute(
        "CREATE TABLE orders (order_id BIGINT, customer BIGINT, ordered_at TIMESTAMPTZ, loaded_at TIMESTAMPTZ, "
        "price DOUBLE, shop VARCHAR)"
    )
    tables = {
        name: ibis.table(
            ibis.Schema.from_pyarrow(duck.sql(f"FROM {name}").to_arrow_table().schema), name=name
        )
        for name in ("rows", "orders")
    }
    query = with_aggregates(spec, tables["rows"], {"orders": tables["orders"]}, "duckdb")
    yield spec, duck, str(ibis.to_sql(query, "duckdb"))
    duck.close()


# Where windows of an hour and a day begin and end, and a microsecond beside it.
MOMENTS = st.builds(
    lambda hours, micros: START + timedelta(hours=hours, microseconds=micros),
    st.sampled_from([-24 * 400_000, -1, 0, 1, 23, 24, 25]),
    st.sampled_from([-1, 0, 1]),
)
ORDER = st.tuples(
    st.sampled_from([None, 1, 2]),
    st.sampled_from([None, 7, 8]),
    st.none() | MOMENTS,
    st.none() | MOMENTS,
    st.sampled_from([None, float("nan"), float("-inf"), 0.0, -0.1, 0.3, 1e9]),
    st.sampled_from([None, "", "a", "É"]),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(MOMENTS, st.sampled_from([None, 7, 8, 9])), max_size=6),
    orders=st.lists(ORDER, max_size=8),
)
def test_whatever_the_events_are_the_engine_agrees_with_plain_python(
    engine: tuple[ModelSpec, duckdb.DuckDBPyConnection, str], rows: list[Any], orders: list[Any]
) -> None:
    spec, duck, query = engine
    duck.execute("DELETE FROM rows; DELETE FROM orders")
    if rows:
        duck.executemany("INSERT INTO rows VALUES (?, ?, ?)", [(n, *row) for n, row in enumerate(rows)])
    if orders:
        duck.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", orders)
    found = duck.sql(query).to_arrow_table().to_pylist()
    events = {"orders": Events(spec, "orders", duck.sql("FROM orders").to_arrow_table().to_pylist())}
    assert len(found) == len(rows)
    assert differing(found, recompute(spec, found, events)) == []


def test_an_event_at_the_row_s_own_time_is_not_seen_and_one_at_the_window_s_start_is(tmp_path: Path) -> None:
    hour, at = timedelta(hours=1), START + timedelta(days=1)
    micro = timedelta(microseconds=1)
    times = [at, at - micro, at - hour, at - hour - micro]
    visits = [{"customer": 1, "seen_at": t - timedelta(), "minutes": 1.0, "page": "a"} for t in times]
    rows = [{"id": "1", "at": at, "customer": 1, "shop": "a", "amount": 1.0, "late": 0}]
    one = [{"name": "visits_1h", "table": "visits", "function": "count", "over": "1h"}]
    source = files_of(tmp_path, {"rows": pa.Table.from_pylist(rows), "visits": pa.Table.from_pylist(visits)})
    for lateness, seen in (("0h", 2.0), ("10min", 1.0)):
        table = {**source["tables"]["visits"], "lateness": lateness}
        spec = events_spec(one, path=source["path"], tables={"visits": table})
        assert read_window(spec, WHOLE, with_label=False)["visits_1h"].to_pylist() == [seen]


def test_a_part_of_the_time_and_cached_days_give_the_same_values(
    data: dict[str, pa.Table], tmp_path: Path
) -> None:
    spec = events_spec(FEW, **files_of(tmp_path, data), late="1d")
    whole = {row["id"]: row for row in read_window(spec, WHOLE, with_label=True).to_pylist()}
    part = Window(START + timedelta(days=4), START + timedelta(days=6))
    with Partitions(spec, tmp_path, now=datetime(2024, 6, 1, tzinfo=UTC)).tables(part) as tables:
        cached = [row for table in tables for row in table.to_pylist()]
    assert len(cached) > 100
    assert all(row == whole[row["id"]] for row in cached)
    other = events_spec(FEW[:2], **files_of(tmp_path, data), late="1d")
    assert Partitions(other, tmp_path).folder != Partitions(spec, tmp_path).folder


def test_events_in_csv_files_through_a_query_beside_rows_of_a_function(tmp_path: Path) -> None:
    text = "who,seen,minutes\n1,2024-03-01T11:00:00+02:00,3\n1,2024-03-01T09:30:00Z,4\n"
    (tmp_path / "visits.csv").write_text(text)
    query = (
        "WITH named AS (SELECT who AS customer, seen AS seen_at, minutes FROM source) SELECT * FROM named;"
    )
    visits = {"path": f"{tmp_path}/visits.csv", "query": query, "key": "customer", "time_column": "seen_at"}
    one = [{"name": "minutes", "table": "visits", "function": "sum", "column": "minutes", "over": "1h"}]
    spec = events_spec(
        one, path=None, kind="python", function="support.event_tables:two_rows", tables={"visits": visits}
    )
    assert read_window(spec, WHOLE, with_label=False)["minutes"].to_pylist() == [3.0, 7.0]


def test_a_missing_column_of_events_is_named_with_the_nearest(
    data: dict[str, pa.Table], tmp_path: Path
) -> None:
    source = files_of(tmp_path, data)
    wrong = [{**AGGREGATES[1], "column": "prise"}]
    with pytest.raises(
        SourceError, match=r"orders\.parquet lacks the columns prise \(did you mean price\?\)"
    ):
        read_window(events_spec(wrong, **source), WHOLE, with_label=False)


def test_the_leak_check_passes_what_was_known_and_names_row_and_column_of_what_was_not(
    data: dict[str, pa.Table], tmp_path: Path
) -> None:
    source = files_of(tmp_path, data)
    some = [a for a in AGGREGATES if a["name"] in ("spent_7d", "visits_1h", "last_shop")]
    spec = events_spec(some, **source)
    file, _ = extract(spec, WHOLE, tmp_path / "lake")
    [passed] = leak_checks(spec, file, "seed")
    assert (passed.passed, passed.found) == (True, "0 of 32 sampled rows differ")

    # A snapshot for which all was known at once.
    early = {**source["tables"]["orders"], "arrival_column": None, "id_column": None}
    leaking = events_spec(some, **{**source, "tables": {**source["tables"], "orders": early}})
    file, _ = extract(leaking, WHOLE, tmp_path / "leaking")
    found = {check.column: check for check in leak_checks(spec, file, "seed")}
    assert "spent_7d" in found
    assert "visits_1h" not in found
    assert found["spent_7d"].severity == "fail"
    assert "computed again" in found["spent_7d"].line()


def test_read_events_of_some_keys_has_all_versions(data: dict[str, pa.Table], tmp_path: Path) -> None:
    spec = events_spec(**files_of(tmp_path, data))
    orders = data["orders"].to_pylist()
    ids = {o["order_id"] for o in orders if o["customer"] == 3}
    wanted = [o for o in orders if o["customer"] == 3 or (o["order_id"] in ids and o["order_id"] is not None)]
    keys = {"customer": [3, None], "shop": []}
    found = read_events(spec, "orders", Window(START, START + timedelta(days=90)), keys)
    assert found.num_rows == len(wanted)
    assert pc.all(pc.less(read_events(spec, "orders", WHOLE)["loaded_at"], WHOLE.end)).as_py()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown table": ({"table": "order"}, r"features\.aggregates\.0\.table: order is not .*\(did you mean orders\?\)"),
    "not listed": ({"name": "other"}, "other is not listed under features.numeric"),
    "no window": ({"over": None}, "needs `over`, such as 7d"),
    "no column": ({"function": "mean"}, "the function `mean` needs a `column`"),
    "a text for a number": ({"default": "none"}, "`default` must be one"),
    "a window that lateness fills": ({"table": "visits", "over": "10min"}, "longer than the lateness of visits"),
    "an aggregate as a key": ({"key": ["orders_1h"]}, "orders_1h is an aggregate itself"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "told"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_aggregate_is_refused(change: dict[str, Any], told: str) -> None:
    good = events_spec(AGGREGATES[:1]).model_dump(mode="json", exclude_unset=True)
    good["features"]["aggregates"] = [{**AGGREGATES[0], **change}]
    with pytest.raises(ValidationError, match=told):
        ModelSpec.model_validate(good)


def test_a_wrong_table_is_refused() -> None:
    for change, told in (
        ({"path": None, "table": "orders"}, "set `path`; only `kind: ibis`"),
        ({"lateness": "1h"}, "not both"),
        ({"arrival_column": None}, "`id_column` needs an `arrival_column`"),
    ):
        with pytest.raises(ValidationError, match=told):
            events_spec([], tables={"orders": {**ORDERS, **change}})


def test_the_error_of_a_spec_file_names_the_line_and_the_nearest_value(tmp_path: Path) -> None:
    text = (
        "name: small\nsource:\n  path: a.parquet\n  tables:\n"
        "    orders: {path: b.parquet, time_column: at, key: customer}\n"
        "time_column: at\nid_column: id\nlabel: {column: late}\n"
        "candidates: [{name: linear, estimator: sklearn.linear_model.LogisticRegression}]\n"
        "features:\n  numeric: [n]\n  aggregates:\n    - name: n\n      table: ordres\n      function: {}\n      over: 1h\n"
    )
    file = tmp_path / "small.yaml"
    file.write_text(text.replace("function: {}", "function: count"))
    with pytest.raises(
        SpecError, match=r"line 14: features\.aggregates\.0\.table: .*\(did you mean orders\?\)"
    ):
        load_spec(file)
    file.write_text(text.replace("ordres", "orders").replace("function: {}", "function: mena"))
    with pytest.raises(SpecError, match=r"line 15: .*did you mean mean\?"):
        load_spec(file)


def test_other_engines_are_refused() -> None:
    spec = events_spec()
    with pytest.raises(SpecError, match="cannot be computed by trino"):
        with_aggregates(spec, None, {}, "trino")
    assert set(TEXTS) <= set(spec.features.categorical)
