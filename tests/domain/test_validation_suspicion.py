"""Features that give the label away or name the row are found; those that merely help are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from evermodel.data.validation import CheckResult, validate
from support.small_model import small_rows, small_spec, write_rows

ROWS = 4000
DRAW = np.random.default_rng(5)
LABEL = (DRAW.random(ROWS) < 0.2).astype("int8")
NOISE = DRAW.normal(0, 1, ROWS)


def suspects(folder: Path, task: str = "binary", **columns: Any) -> dict[str, CheckResult]:
    table = small_rows(days=500, **{"late": LABEL, "wind": NOISE, **columns})
    spec = small_spec("unused", task=task, validation={"min_rows": 1})
    report = validate(spec, write_rows(folder / "snapshot.parquet", table)).report
    return {f"{c.kind}.{c.column}": c for c in report.checks if not c.passed}


LEAKS: dict[str, dict[str, Any]] = {
    "larger where true": {"temp": LABEL * 5 + NOISE * 0.5},
    "in the middle where true": {"temp": np.where(LABEL == 1, 0.0, np.sign(NOISE) * (1 + abs(NOISE)))},
    "missing where false": {"temp": pa.array(NOISE, mask=LABEL == 0)},
    "a category of its own": {"carrier": np.where(LABEL == 1, "closed", np.where(NOISE > 0, "open", "new"))},
}


@pytest.mark.parametrize("columns", LEAKS.values(), ids=LEAKS.keys())
def test_a_feature_that_tells_the_label_is_a_suspect(tmp_path: Path, columns: dict[str, Any]) -> None:
    (column,) = columns
    found = suspects(tmp_path, **columns)
    assert set(found) - {"null_share.temp"} == {f"leakage.{column}"}
    assert found[f"leakage.{column}"].severity == "warn"
    assert (
        found[f"leakage.{column}"].found.startswith("ROC AUC 0.9")
        or "1.000" in found[f"leakage.{column}"].found
    )


def test_a_feature_that_helps_a_lot_is_none(tmp_path: Path) -> None:
    assert suspects(tmp_path, temp=LABEL * 2 + NOISE) == {}


def test_a_category_for_each_row_tells_nothing_of_other_rows(tmp_path: Path) -> None:
    found = suspects(tmp_path, carrier=[f"c{n}" for n in range(ROWS)])
    assert set(found) == {"id_like.carrier"}


def test_leaks_of_classes_and_of_numbers_are_found_too(tmp_path: Path) -> None:
    classes = np.array(["a", "b", "c"])[DRAW.integers(0, 3, ROWS)]
    codes = np.searchsorted(["a", "b", "c"], classes)
    assert set(suspects(tmp_path, "multiclass", late=classes, temp=codes * 2.0 + 1)) == {"leakage.temp"}
    assert set(suspects(tmp_path, "regression", late=NOISE * 3 + 7, wind=codes, temp=NOISE * 2)) == {
        "leakage.temp"
    }


def test_a_number_that_counts_the_rows_is_an_identifier(tmp_path: Path) -> None:
    assert set(suspects(tmp_path, wind=list(range(ROWS)))) == {"id_like.wind"}
