"""What spoils the newest rows alone stops the run, however small a share of the snapshot it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from evermodel.data.validation import CheckResult, ValidationReport, validate
from evermodel.data.validation.schema_file import ColumnSchema, TableSchema
from evermodel.spec.window import Window
from support.small_model import between, small_rows, small_spec, write_rows

DAYS, PER_DAY = 25, 40
ROWS = DAYS * PER_DAY
SPEC = small_spec(
    "unused", split={"train": "20d", "validation": "3d", "test": "2d"}, validation={"min_rows": 1}
)
WINDOW = between(0, DAYS)
CARRIERS = ["AA" if n % 3 else "BB" for n in range(ROWS)]


def report(
    folder: Path, window: Window | None = WINDOW, schema: TableSchema | None = None, **columns: Any
) -> ValidationReport:
    table = small_rows(DAYS, PER_DAY, **columns)
    return validate(SPEC, write_rows(folder / "rows.parquet", table), schema, window=window).report


def on_days(first: int, last: int, values: list[Any], others: list[Any]) -> list[Any]:
    """Take `values` from one day to the other, both included, and `others` on the rest."""
    return [
        v if first <= n // PER_DAY <= last else o for n, (v, o) in enumerate(zip(values, others, strict=True))
    ]


def stopped_by(found: ValidationReport) -> dict[str, CheckResult]:
    return {check.name: check for check in found.failures}


def test_rows_of_the_newest_day_that_would_go_aside_whole_stop_the_run(tmp_path: Path) -> None:
    blanks = [f"{carrier} " for carrier in CARRIERS]
    found = report(tmp_path, carrier=on_days(24, 24, blanks, CARRIERS))
    assert found.set_aside == PER_DAY  # four of a hundred: fewer than may be quarantined
    stops = stopped_by(found)
    assert set(stops) == {
        "quarantined rows of the newest day (2024-01-25)",
        "quarantined rows of the test part",
    }
    day, test = stops.values()
    assert (day.found, day.allowed, test.found) == (
        "40 of 40 rows (100.0%)",
        "at most 20%",
        "40 of 80 rows (50.0%)",
    )
    (variants,) = found.quarantines
    assert variants.found == "40 rows: values end in blanks"


def test_the_same_rows_on_an_older_day_only_go_aside(tmp_path: Path) -> None:
    blanks = [f"{carrier} " for carrier in CARRIERS]
    found = report(tmp_path, carrier=on_days(10, 10, blanks, CARRIERS))
    assert (found.verdict, found.set_aside) == ("quarantined", PER_DAY)


def test_without_a_window_the_newest_day_still_counts(tmp_path: Path) -> None:
    lower = [carrier.lower() for carrier in CARRIERS]
    stops = stopped_by(report(tmp_path, None, carrier=on_days(24, 24, lower, CARRIERS)))
    assert set(stops) == {"quarantined rows of the newest day (2024-01-25)"}


@pytest.mark.parametrize("first", [24, 23])
def test_nulls_are_compared_with_the_columns_own_past(tmp_path: Path, first: int) -> None:
    numbers: list[Any] = [float(n % 7) for n in range(ROWS)]
    empty: list[Any] = [None] * ROWS
    (stop,) = stopped_by(report(tmp_path, temp=on_days(first, 24, empty, numbers))).values()
    assert (stop.kind, stop.column, stop.rows) == (
        "null_jump",
        "temp",
        (25 - first) * PER_DAY if stop.name.endswith("week") else PER_DAY,
    )
    assert stop.found.endswith("before in no day more than 0.00%") or first == 23


def test_nulls_of_every_weekend_are_the_columns_habit(tmp_path: Path) -> None:
    numbers: list[Any] = [
        None if n // PER_DAY % 7 in (2, 3) else float(n % 7) for n in range(ROWS)
    ]  # day 24 is one
    assert stopped_by(report(tmp_path, temp=numbers)) == {}


def test_categories_that_the_schema_does_not_know_are_judged_by_day(tmp_path: Path) -> None:
    schema = TableSchema(columns={"carrier": ColumnSchema(dtype="str", categories=("AA", "BB"))})
    renamed = [{"AA": "Alpha", "BB": "Beta"}[carrier] for carrier in CARRIERS]
    stops = stopped_by(report(tmp_path, schema=schema, carrier=on_days(24, 24, renamed, CARRIERS)))
    assert "rows of unknown categories in carrier of the newest day (2024-01-25)" in stops
    assert {stop.kind for stop in stops.values()} == {"category_share"}


def test_a_handful_of_rows_is_no_day(tmp_path: Path) -> None:
    """The newest day has just begun: what its few rows say is said by the week."""
    spec = SPEC.model_copy(update={"split": SPEC.split})
    table = small_rows(DAYS, PER_DAY, carrier=on_days(24, 24, [f"{c} " for c in CARRIERS], CARRIERS))
    begun = table.slice(0, 24 * PER_DAY + 10)
    found = validate(spec, write_rows(tmp_path / "rows.parquet", begun)).report
    assert (found.verdict, found.set_aside) == ("quarantined", 10)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_ordinary_months_are_not_stopped(tmp_path: Path, seed: int) -> None:
    """A share of nulls and of odd spellings that wanders by the day, as such shares do."""
    draw = np.random.default_rng(seed)
    odd = np.repeat(draw.beta(2, 60, DAYS), PER_DAY) > draw.random(ROWS)
    empty = np.repeat(draw.beta(2, 30, DAYS), PER_DAY) > draw.random(ROWS)
    spelled = [f"{carrier} " if bad else carrier for carrier, bad in zip(CARRIERS, odd, strict=True)]
    temp = pa.array(draw.normal(10, 3, ROWS), mask=empty)
    assert "recent_quarantine" not in {c.kind for c in report(tmp_path, temp=temp, carrier=spelled).failures}
    assert "null_jump" not in {c.kind for c in report(tmp_path, temp=temp, carrier=spelled).failures}
