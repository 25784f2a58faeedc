"""What is guessed of a table, and what is said of the guesses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.cli.scaffold import Draft, Named, draft_spec
from evermodel.cli.scaffold.table import Origin
from evermodel.core.errors import SourceError, SpecError
from evermodel.spec import load_spec
from evermodel.spec.window import Window
from evermodel.stats.metrics import MetricParameters, metrics_by_name

TODAY = datetime(2026, 5, 1, tzinfo=UTC)
ROWS = 4000
START = datetime(2025, 1, 1, tzinfo=UTC)


def orders(**columns: Any) -> pa.Table:
    """A shop's orders over 250 days, four of ten of which come back."""
    back = [n * 7919 % 10 < 4 for n in range(ROWS)]
    table: dict[str, Any] = {
        "order_id": [f"o{n}" for n in range(ROWS)],
        "updated_at": [START + timedelta(hours=1.5 * n + 72) for n in range(ROWS)],
        "ordered_at": [START + timedelta(hours=1.5 * n) for n in range(ROWS)],
        "amount": [float(n * 31 % 977) for n in range(ROWS)],
        "items": [n * 13 % 9 for n in range(ROWS)],
        "country": ["de" if n % 3 else "fr" for n in range(ROWS)],
        "phone": [f"+49 {n * 7907 % 100003}" for n in range(ROWS)],
        "currency": ["EUR"] * ROWS,
        "refund": [9.5 + n % 7 if came else 0.0 for n, came in enumerate(back)],
        "returned": ["yes" if came else "no" for came in back],
    }
    return pa.table({k: v for k, v in (table | columns).items() if v is not None})


def draft(folder: Path, table: pa.Table, label: str = "returned", **named: Any) -> Draft:
    file = folder / "Shop orders.parquet"
    pq.write_table(table, file)
    return draft_spec(Origin(str(file)), Named(label, **named), today=TODAY)


def test_every_column_gets_its_role_and_the_reason_stands_beside_it(tmp_path: Path) -> None:
    made = draft(tmp_path, orders())
    spec = made.spec
    assert (spec.name, spec.task) == ("shop_orders", "binary")
    assert (spec.time_column, spec.id_column) == ("ordered_at", "order_id")
    assert (spec.features.numeric, spec.features.categorical) == (("amount", "items"), ("country",))
    assert spec.leaks == ("refund",)
    assert spec.label.delay == timedelta(days=3)
    for line in (
        "# true is 'yes', by its name and the rarer value; false is 'no'",
        "delay: 3d    # nine of ten rows have their updated_at by then",
        "- refund    # ROC AUC 1.000 from this column alone",
        "#   currency: it is 'EUR' in every row",
        "#   phone: 4000 different texts in 4000 rows: it identifies the row",
        "#   updated_at: a time after the event in 100% of its rows",
    ):
        assert line in made.text


def test_the_split_fits_the_data_and_the_first_day_sees_its_end(tmp_path: Path) -> None:
    made = draft(tmp_path, orders())
    # 16 rows a day: three weeks would do for 300, four is the next usual length and nine of them would be too long.
    assert made.spec.split.total <= timedelta(days=252)
    assert made.spec.split.test >= timedelta(days=20)
    newest = START + timedelta(hours=1.5 * (ROWS - 1))
    assert newest < made.as_of - made.spec.label.delay <= newest + timedelta(days=1)


def test_a_table_without_id_and_time_gets_both_the_same_each_time(tmp_path: Path) -> None:
    from evermodel.data.sources import read_window

    rows = orders(order_id=None, ordered_at=None, updated_at=None, phone=None, amount=[1.0] * ROWS)
    made = draft(tmp_path, rows, shuffle=True)
    whole = Window(TODAY - timedelta(days=91), TODAY)
    first, second = (read_window(made.spec, whole, with_label=True) for _ in range(2))
    assert first.equals(second)
    assert first.num_rows == ROWS
    assert len(set(first["row_id"].to_pylist())) == ROWS
    days = {moment.date() for moment in first["row_time"].to_pylist()}
    assert len(days) == 90
    # Shuffled: the rows that came back, and the countries, are spread evenly over the halves.
    half = first.slice(0, ROWS // 2)["returned"].to_pylist()
    assert 0.35 < sum(half) / len(half) < 0.45
    assert "random" in made.text
    assert made.as_of == TODAY
    assert made.spec.schedule.retrain is None


def test_a_named_order_is_kept(tmp_path: Path) -> None:
    from evermodel.data.sources import read_window

    made = draft(tmp_path, orders(ordered_at=None, updated_at=None, step=list(range(ROWS))), order="step")
    rows = read_window(made.spec, Window(TODAY - timedelta(days=91), TODAY), with_label=False)
    assert rows["order_id"].to_pylist() == [f"o{n}" for n in range(ROWS)]


def test_year_month_and_day_make_a_time(tmp_path: Path) -> None:
    days = [START + timedelta(hours=1.5 * n) for n in range(ROWS)]
    parts = {part: [getattr(day, part) for day in days] for part in ("year", "month", "day")}
    made = draft(tmp_path, orders(ordered_at=None, updated_at=None, **parts))
    assert "built from the columns year, month, day" in made.text
    assert made.spec.schedule.retrain is not None
    assert made.as_of == datetime(2025, 9, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "metric", "floor", "params"),
    [
        ([n % 2 for n in range(ROWS)], "roc_auc", 0.6, {}),
        ([int(n % 20 == 0) for n in range(ROWS)], "average_precision", 0.075, {}),
        (["1" if n % 20 else "2" for n in range(ROWS)], "average_precision", 0.075, {}),
        ([n % 40 for n in range(ROWS)], "poisson_deviance", None, {"loss": "poisson"}),
        ([10 * 1.01 ** (n % 400) for n in range(ROWS)], "mae", None, {"loss": "absolute_error"}),
        ([n % 40 - 20.0 for n in range(ROWS)], "rmse", None, {}),
    ],
)
def test_the_metric_follows_from_how_the_label_is_spread(
    tmp_path: Path, values: list[Any], metric: str, floor: float | None, params: dict[str, str]
) -> None:
    spec = draft(tmp_path, orders(target=values), "target").spec
    assert spec.gate.metric == metric
    assert spec.candidates[0].params.items() >= params.items()
    if floor is None:  # what the best constant reaches
        found = metrics_by_name("regression", MetricParameters())[metric]
        truth = np.array(values, dtype=np.float64)
        constant = np.full(len(truth), found.constant(truth, truth))
        assert spec.gate.floor == pytest.approx(found(truth, constant), rel=1e-3)
    else:
        assert spec.gate.floor == pytest.approx(floor, rel=0.01)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([n % 2 for n in range(ROWS)], "binary"),
        ([n % 2 == 0 for n in range(ROWS)], "binary"),
        ([n % 5 for n in range(ROWS)], "multiclass"),
        (["abc"[n % 3] for n in range(ROWS)], "multiclass"),
        ([n % 40 for n in range(ROWS)], "regression"),
        ([n / 3 for n in range(ROWS)], "regression"),
        (["Yes" if n % 3 else " no" for n in range(ROWS)], "binary"),
        ([1 + n % 2 for n in range(ROWS)], "binary"),
        (
            [int(n % 7 == 0) + int(n % 11 == 0) + int(n % 13 == 0) + int(n % 17 == 0) for n in range(ROWS)],
            "regression",
        ),
        ([(n % 97 + 1) % 3 for n in range(ROWS)], "multiclass"),
    ],
)
def test_the_task_follows_from_the_labels_values(tmp_path: Path, values: list[Any], task: str) -> None:
    made = draft(tmp_path, orders(target=values), "target")
    assert made.spec.task == task
    assert made.spec.gate.floor is not None


def test_few_whole_numbers_are_counts_by_their_name(tmp_path: Path) -> None:
    spec = draft(tmp_path, orders(open_tickets=[n * 7 % 4 for n in range(ROWS)]), "open_tickets").spec
    assert (spec.task, spec.gate.metric) == ("regression", "poisson_deviance")


def test_whose_row_it_is_and_protected_attributes_are_context(tmp_path: Path) -> None:
    table = orders(
        customer_id=[n * 31 % 700 for n in range(ROWS)],
        Gender=["f" if n % 3 else "m" for n in range(ROWS)],
        customer_type=["new" if n % 5 else "old" for n in range(ROWS)],
        session_id=[f"s{n // 4}" for n in range(ROWS)],
    )
    made = draft(tmp_path, table)
    assert (made.spec.context, made.spec.cluster) == (("customer_id", "Gender"), "customer_id")
    assert made.spec.features.names == ["amount", "items", "country", "customer_type"]
    assert "customer_id    # 700 different ones, with 5.7 rows each" in made.text
    assert "Gender    # a protected attribute" in made.text
    assert made.to_json()["context"] == ("customer_id", "Gender")


@pytest.mark.parametrize(
    "column",
    [
        {"customer_id": list(range(ROWS))},  # no two rows of one
        {"user": [n % 3 for n in range(ROWS)]},  # three of them are categories
        {"gender": [f"g{n}" for n in range(ROWS)]},
    ],
)
def test_columns_of_these_names_alone_are_no_context(tmp_path: Path, column: dict[str, Any]) -> None:
    spec = draft(tmp_path, orders(**column)).spec
    assert (spec.context, spec.cluster) == ((), "day")


def test_grades_of_lists_are_ranked(tmp_path: Path) -> None:
    lists, grades = [f"q{n // 8}" for n in range(ROWS)], [n * 7 % 5 for n in range(ROWS)]
    made = draft(tmp_path, orders(query_id=lists, relevance=grades), "relevance")
    spec = made.spec
    assert (spec.task, spec.group_column, spec.context) == ("ranking", "query_id", ("query_id",))
    assert (spec.gate.metric, [one.estimator for one in spec.candidates]) == (
        "ndcg",
        ["lightgbm.LGBMRanker", "xgboost.XGBRanker"],
    )
    for other in (
        {"relevance": [n // 8 % 5 for n in range(ROWS)]},
        {"relevance": [f"{n % 3}" for n in range(ROWS)]},
    ):
        assert draft(tmp_path, orders(query_id=lists, **other), "relevance").spec.task == "multiclass"


@pytest.mark.parametrize(
    ("label", "named", "reason"),
    [
        ("nope", {}, "no column nope for the label"),
        ("currency", {}, "has 1 different values"),
        ("phone", {}, "too many for classes"),
        ("returned", {"time": "when"}, "no column when for the time"),
        ("returned", {"order": "rank", "time": None}, "no column rank to order by"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    tmp_path: Path, label: str, named: dict[str, Any], reason: str
) -> None:
    table = orders(ordered_at=None, updated_at=None)
    with pytest.raises(SpecError, match=reason):
        draft(tmp_path, table, label, **named)


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no rows"):
        draft(tmp_path, orders().slice(0, 0))


def test_the_command_writes_a_spec_that_is_right_and_never_over_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERMODEL_MODELS", str(tmp_path / "models"))
    file = tmp_path / "odd names.csv"
    import pyarrow.csv

    names = [
        "order id",
        "updated: at",
        "ordered #at",
        "- amount",
        "items",
        "yes",
        "phone",
        "currency",
        "refund",
        "no?",
    ]
    pyarrow.csv.write_csv(orders().rename_columns(names), file)
    command = ["init", str(file), "--label", "no?", "--id", "order id", "--time", "ordered #at"]
    first, second = (CliRunner().invoke(app, command) for _ in range(2))
    assert first.exit_code == 0, first.exception
    spec = load_spec(tmp_path / "models" / "odd_names.yaml")
    assert spec.features.categorical == ("yes",)
    assert isinstance(second.exception, SpecError)
    assert "already exists" in str(second.exception)
    assert CliRunner().invoke(app, ["check", "odd_names"]).exit_code == 0


def test_a_table_of_an_engine_is_drafted_too(tmp_path: Path) -> None:
    import duckdb

    with duckdb.connect(str(tmp_path / "shop.duckdb")) as shop:
        shop.register("given", orders())
        shop.execute("CREATE TABLE orders AS SELECT * FROM given")
    made = draft_spec(Origin(f"duckdb://{tmp_path}/shop.duckdb", "orders"), Named("returned"), today=TODAY)
    assert made.spec.source.kind == "ibis"
    assert made.spec.name == "orders"
