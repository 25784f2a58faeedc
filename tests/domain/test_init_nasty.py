"""Tables as companies have them: what is drafted can be checked and read, and what cannot be drafted is refused in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.core.errors import EvermodelError
from evermodel.data.sources import read_window
from evermodel.spec import ModelSpec, load_spec
from evermodel.spec.window import Window
from support import nasty_tables as tables
from support.nasty_tables import ROWS, START

Table = Callable[[Path], Path]


def init(table: Table, folder: Path, *options: str, label: str = "late") -> tuple[ModelSpec, str, Path]:
    """Draft a spec and check it; return it, what was said, and its file."""
    file = folder / "models" / "drafted.yaml"
    file.parent.mkdir()
    source = table(folder)
    made = CliRunner().invoke(app, ["init", str(source), "--label", label, "--out", str(file), *options])
    if made.exception is not None:
        raise made.exception
    checked = CliRunner().invoke(app, ["check", str(file)])
    assert checked.exit_code == 0, checked.output
    return load_spec(file), made.output, file


def rows_of(spec: ModelSpec) -> list[dict[str, Any]]:
    """All rows, as a retrain reads them."""
    whole = Window(START - timedelta(days=1), datetime(2040, 1, 1, tzinfo=UTC))
    return read_window(spec, whole, with_label=True).to_pylist()


@pytest.mark.parametrize(
    ("table", "column", "step"),
    [
        (tables.day_month_year, "order date", "minute"),
        (tables.month_day_year_half_days, "order date", "minute"),
        (tables.day_name_year, "order date", "day"),
        (tables.mixed_times, "ordered", "minute"),
        (tables.epoch_seconds, "ts", "minute"),
        (tables.epoch_milliseconds, "ordered", "minute"),
        (tables.whole_number_days_and_hours, "day", "hour"),
        (tables.day_and_clock, "date", "minute"),
        (tables.few_missing_times, "ordered", "minute"),
    ],
)
def test_the_time_is_found_however_it_is_written(
    table: Table, column: str, step: str, tmp_path: Path
) -> None:
    spec, _, _ = init(table, tmp_path)
    assert spec.time_column == column
    assert set(spec.features.names) - {"hour"} == {"amount", "country"}
    floors: dict[str, dict[str, int]] = {"minute": {}, "hour": {"minute": 0}, "day": {"minute": 0, "hour": 0}}
    missing = range(0, ROWS, 100) if table is tables.few_missing_times else ()
    wanted = [m.replace(**floors[step]) for n, m in enumerate(tables.moments()) if n not in missing]  # type: ignore[arg-type]
    assert [row[column] for row in rows_of(spec)] == wanted


def test_the_labels_delay_is_that_of_a_later_time(tmp_path: Path) -> None:
    spec, said, _ = init(tables.later_time, tmp_path)
    assert spec.time_column == "ordered"
    assert timedelta(days=10) <= spec.label.delay <= timedelta(days=12)
    assert "delivered" not in spec.features.names
    assert "the label is known after" in said


def test_money_percent_and_missing_words_are_numbers(tmp_path: Path) -> None:
    spec, said, _ = init(tables.money_and_percent, tmp_path)
    assert set(spec.features.numeric) == {"amount", "discount"}
    wanted = [None if n % 40 == 0 else a for n, a in enumerate(tables.facts()["amount"])]
    found = rows_of(spec)
    assert sorted(row["amount"] for row in found if row["amount"]) == sorted(a for a in wanted if a)
    assert {row["discount"] for row in found} == {n + 0.5 for n in range(31)}
    assert "'N/A' is missing" in said


def test_decimal_commas_are_read(tmp_path: Path) -> None:
    spec, _, _ = init(tables.decimal_commas, tmp_path)
    assert spec.time_column == "tag"
    assert sorted(row["amount"] for row in rows_of(spec)) == sorted(tables.facts()["amount"])


def test_blanks_make_no_categories_and_yes_is_true(tmp_path: Path) -> None:
    spec, said, _ = init(tables.blanks, tmp_path)
    found = rows_of(spec)
    assert {row["country"] for row in found} == {"de", "fr", "it"}
    assert sum(row["late"] for row in found) == sum(tables.facts()["late"])
    assert "true is 'yes', by its name" in said


def test_missing_values_are_looked_at_over_time(tmp_path: Path) -> None:
    spec, _, file = init(tables.values_that_come_and_go, tmp_path)
    assert "died" not in spec.features.names
    assert re.search(r"#   died: it has no values since 2025-0[34]", file.read_text())
    assert spec.validation.max_null_share_by_column["installed"] == 1.0


def test_one_and_two_are_told_apart_and_codes_are_categories(tmp_path: Path) -> None:
    spec, said, file = init(tables.one_and_two, tmp_path)
    late = tables.facts()["late"]
    assert sum(late) < ROWS / 2
    assert "true is '2', the rarer value; false is '1'" in said
    assert sum(row["late"] for row in rows_of(spec)) == sum(late)
    assert "store_id" in spec.features.categorical
    file.unlink()
    file.parent.rmdir()
    other, said, _ = init(tables.one_and_two, tmp_path, "--positive", "1")
    assert "true is '1', as --positive says" in said
    assert sum(row["late"] for row in rows_of(other)) == ROWS - sum(late)


def test_columns_that_tell_too_much_are_named(tmp_path: Path) -> None:
    spec, said, file = init(tables.telling_columns, tmp_path, label="total")
    assert set(spec.leaks) == {"net", "tax"}
    assert "add up to total" in said
    assert "suspicious, look at it: estimate" in said
    assert re.search(r"- estimate +# SUSPICIOUS: R² 0.9", file.read_text())


def test_no_window_waits_for_more_rows_than_a_table_ever_has(tmp_path: Path) -> None:
    spec, _, _ = init(tables.few_rows_a_day, tmp_path)
    a_day = 1 / 2.5
    assert spec.drift.min_rows <= a_day * spec.drift.window.days
    assert spec.performance.min_rows <= a_day * spec.performance.window.days
    assert spec.source.complete.min_rows == 0


def test_placeholder_years_stretch_nothing(tmp_path: Path) -> None:
    spec, _, _ = init(tables.placeholder_years, tmp_path)
    assert spec.time_column == "signed"
    assert len(rows_of(spec)) == ROWS - 1
    assert spec.split.total < timedelta(days=200)


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        (tables.no_time, (), "no column tells when the features of a row were known"),
        (tables.single_moment, (), "no column tells when"),
        (tables.single_moment, ("--time", "loaded_at"), "loaded_at is the same in every row"),
        (tables.rare_label, (), "the table is too small"),
        (tables.parquet_called_csv, (), "is a Parquet file"),
        (tables.empty_file, (), "is empty"),
        (tables.header_only, (), "has no rows"),
        (tables.one_column, ("--shuffle",), "no column is left to predict late from"),
        (tables.twice_the_same_name, (), "several columns named amount"),
        (tables.without_label, (), "no column late for the label; did you mean is_late"),
        (tables.day_month_year, ("--id", "late"), "named for two roles"),
        (tables.day_month_year, ("--id", "country"), "country is no id"),
        (tables.day_month_year, ("--time", "amount"), "cannot be read as a time"),
        (tables.one_and_two, ("--positive", "3"), "has no value '3'"),
    ],
)
def test_what_cannot_be_drafted_is_refused_in_words(
    table: Table, options: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    with pytest.raises(EvermodelError, match=re.escape(words)) as refused:
        init(table, tmp_path, *options)
    assert refused.value.advice
    assert not re.search(r"[A-Z][a-z]+ ?(Error|Exception)", str(refused.value))
    assert not (tmp_path / "models" / "drafted.yaml").exists()
