"""A schema inferred from one snapshot lets normal next weeks pass, stops broken ones, and means the same to pandera."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.core.errors import SpecError
from evermodel.data.validation import Validation, validate
from evermodel.data.validation.infer import infer_schema
from evermodel.data.validation.schema_file import TableSchema, find_schema, read_schema, store_schema, to_yaml
from evermodel.spec.load import load_specs
from evermodel.spec.window import Window
from support.small_model import moment, settings_in, small_rows, small_spec, write_rows

SPEC = small_spec(
    "unused", validation={"min_rows": 1, "max_quarantine_share": 1, "max_recent_quarantine_share": 1}
)
WINDOW = Window(moment(0), moment(40))
ROWS = 320


def week(seed: int, **columns: Any) -> pa.Table:
    """One of many normal weeks: a warm or a cold one, with nulls and rare categories as they come."""
    draw = np.random.default_rng(seed)
    usual: dict[str, Any] = {
        "temp": pa.array(draw.normal(10 + draw.normal(0, 3), 5, ROWS), mask=draw.random(ROWS) < 0.03),
        "wind": draw.lognormal(1, 0.6, ROWS),
        "carrier": draw.choice(["AA", "B6", "UA", "WN"], ROWS, p=[0.5, 0.3, 0.15, 0.05]),
        "late": (draw.random(ROWS) < 0.25).astype("int8"),
    }
    return small_rows(days=40, **(usual | columns))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Validation, TableSchema]:
    """The first week and the schema that it gave, through the file."""
    folder = tmp_path_factory.mktemp("first")
    found = validate(SPEC, write_rows(folder / "first.parquet", week(0)), window=WINDOW)
    (folder / "s.yaml").write_text(to_yaml(infer_schema(SPEC, found.profile, WINDOW)))
    return found, read_schema(folder / "s.yaml")


def judge(
    folder: Path, first: tuple[Validation, TableSchema], table: pa.Table, window: Window = WINDOW
) -> Validation:
    return validate(SPEC, write_rows(folder / "next.parquet", table), first[1], first[0].profile, window)


@pytest.mark.parametrize("seed", range(1, 13))
def test_normal_next_weeks_pass(tmp_path: Path, first: tuple[Validation, TableSchema], seed: int) -> None:
    report = judge(tmp_path, first, week(seed)).report
    broken = [check.line() for check in report.checks if not check.passed and check.kind != "mean_shift"]
    assert broken == []


def mostly(values: list[Any], usual: Any) -> list[Any]:
    return values + [usual] * (ROWS - len(values))


# Each row: the columns that are broken, and the kinds of checks that say so.
BROKEN: dict[str, tuple[dict[str, Any], set[str]]] = {
    "another unit": ({"temp": [300.0 + n % 7 for n in range(ROWS)]}, {"range", "mean_shift"}),
    "text for a number": ({"wind": [f"{n % 9}" for n in range(ROWS)]}, {"type"}),
    "a number for text": ({"carrier": [n % 4 for n in range(ROWS)]}, {"type", "category", "category_share", "vanished_category"}),
    "many nulls": ({"temp": pa.array([None if n % 3 else 10.0 + n % 5 for n in range(ROWS)], pa.float64())}, {"null_share", "null_jump"}),
    "a new category": ({"carrier": mostly(["VX", "AA", "B6", "UA", "WN", "WN", "WN", "WN"], "AA")}, {"category"}),
    "recoded categories": ({"carrier": ["ZZ" if n % 2 else "AA" for n in range(ROWS)]}, {"category", "category_share", "vanished_category"}),
    "white space and case": ({"carrier": mostly(["aa", " UA", "b6 ", "UA", "B6", "WN"], "AA")}, {"variant"}),
    "a column that stands still": ({"temp": [10.5] * ROWS}, {"constant"}),
    "another balance": ({"late": mostly([1] * 20, 0)}, {"label"}),
    "one id for all": ({"id": ["r1"] * ROWS}, {"duplicate_id"}),
    "a broken sensor": ({"wind": mostly([9999.0, 5.0], 3.0)}, {"range", "mean_shift"}),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "kinds"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_week_is_found_for_what_it_is(
    tmp_path: Path, first: tuple[Validation, TableSchema], columns: dict[str, Any], kinds: set[str]
) -> None:
    report = judge(tmp_path, first, week(1, **columns)).report
    assert {check.kind for check in report.checks if not check.passed} == kinds


def test_examples_name_values_and_rows(tmp_path: Path, first: tuple[Validation, TableSchema]) -> None:
    columns = {"carrier": mostly(["aa", "VX", " UA"], "AA"), "wind": mostly([9999.0], 3.0)}
    report = judge(tmp_path, first, week(1, **columns)).report
    told = {check.kind: check.examples for check in report.checks if check.rows and not check.passed}
    assert told["variant"] == ("'aa' in row r00000", "' UA' in row r00002")
    assert told["category"] == ("'VX' in 1 rows",)
    assert told["range"] == ("'9999.0' in row r00000",)


def test_old_data_too_few_rows_and_rows_from_the_future_are_found(
    tmp_path: Path, first: tuple[Validation, TableSchema]
) -> None:
    late = Window(moment(0), moment(44))
    kinds = {c.kind for c in judge(tmp_path, first, week(1), late).report.failures}
    assert kinds == {"freshness"}
    short = judge(tmp_path, first, week(1).slice(200)).report
    assert {c.kind for c in short.failures} == {"rows", "row_change"}
    early = judge(tmp_path, first, week(1), Window(moment(0), moment(39))).report
    assert [(c.kind, c.rows) for c in early.quarantines] == [("future", 8)]


def test_a_window_of_another_length_may_hold_as_many_rows_a_day(
    tmp_path: Path, first: tuple[Validation, TableSchema]
) -> None:
    short = Window(moment(30), moment(40))
    assert judge(tmp_path, first, week(1).slice(240), short).report.verdict == "passed"
    sparse = judge(tmp_path, first, week(1).slice(290), short).report
    assert {c.kind for c in sparse.failures} == {"rows", "row_change"}


def test_a_column_that_the_schema_does_not_know_is_a_warning(
    tmp_path: Path, first: tuple[Validation, TableSchema]
) -> None:
    spec = small_spec("unused", features={"numeric": ["temp", "wind", "extra"], "categorical": ["carrier"]})
    file = write_rows(tmp_path / "next.parquet", week(1, extra=[float(n % 3) for n in range(ROWS)]))
    report = validate(spec, file, first[1], first[0].profile).report
    assert [(c.kind, c.found) for c in report.warnings] == [("schema", "no entry for extra")]


@pytest.mark.parametrize(
    ("columns", "agree"),
    [
        ({}, True),
        ({"carrier": mostly(["VX"], "AA")}, False),
        ({"wind": mostly([9999.0], 3.0)}, False),
        ({"id": ["r1"] * ROWS}, False),
        ({"wind": [f"x{n}" for n in range(ROWS)]}, False),
        ({"at": pa.nulls(ROWS, pa.timestamp("us", "UTC"))}, False),
    ],
)
def test_pandera_reads_the_file_and_says_the_same(
    tmp_path: Path, first: tuple[Validation, TableSchema], columns: dict[str, Any], agree: bool
) -> None:
    import pandera.pandas as pandera

    theirs = pandera.DataFrameSchema.from_yaml(to_yaml(first[1]))
    frame = week(1, **columns).to_pandas()
    if agree:
        theirs.validate(frame, lazy=True)
    else:
        with pytest.raises(pandera.errors.SchemaErrors):
            theirs.validate(frame, lazy=True)
    report = judge(tmp_path, first, week(1, **columns)).report
    assert any(not check.passed for check in report.checks) is not agree


def test_the_file_lies_beside_the_spec_and_is_none(
    tmp_path: Path, first: tuple[Validation, TableSchema]
) -> None:
    settings = settings_in(tmp_path).model_copy(update={"models": tmp_path / "models"})
    file = store_schema(first[1], "small", "snapshot 1", settings)
    assert file == settings.models / "small.schema.yaml" == find_schema("small", settings)
    assert read_schema(file) == first[1]
    assert load_specs(settings=settings) == ([], [])


def test_where_the_models_cannot_be_written_the_lake_keeps_the_file(
    tmp_path: Path, first: tuple[Validation, TableSchema], caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_in(tmp_path).model_copy(update={"models": tmp_path / "models"})
    settings.models.write_text("a file where the folder should be")
    file = store_schema(first[1], "small", "snapshot 1", settings)
    assert file == settings.lake / "schemas" / "small.schema.yaml" == find_schema("small", settings)
    assert str(file) in caplog.text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("columns: [", "cannot be read"),
        ("name: x", "it contains no columns"),
        (
            "columns: {temp: {dtype: float64, str_length: {min_value: 3}}}",
            "columns.temp.str_length: is not enforced",
        ),
        ("columns: {temp: {dtype: float64, less_than_or_equal_to: high}}", "high"),
        ("columns: {temp: {nullable: true}}", "dtype"),
        ("columns: {}\nevermodel: {max_age: soon}", "max_age"),
        ("columns: {}\nunique: [a]", "unique: is not enforced"),
    ],
)
def test_a_schema_file_with_a_mistake_is_refused_with_its_place(
    tmp_path: Path, text: str, reason: str
) -> None:
    file = tmp_path / "small.schema.yaml"
    file.write_text(text)
    with pytest.raises(SpecError, match=r"small\.schema\.yaml") as caught:
        read_schema(file)
    assert reason in caught.value.problem


def test_ages_are_kept_in_the_file(first: tuple[Validation, TableSchema]) -> None:
    assert first[1].snapshot.max_age == timedelta(days=1)
    assert first[1].columns["carrier"].categories == ("AA", "B6", "UA", "WN")


def test_the_command_writes_the_schema_once_and_anew_only_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, snapshots = tmp_path / "models", tmp_path / "lake" / "snapshots" / "small"
    for folder in (models, snapshots):
        folder.mkdir(parents=True)
    monkeypatch.setenv("EVERMODEL_MODELS", str(models))
    monkeypatch.setenv("EVERMODEL_LAKE", str(tmp_path / "lake"))
    (models / "small.yaml").write_text(yaml.safe_dump(small_spec("x.parquet").model_dump(mode="json")))
    command = ["data", "schema", "small"]
    assert "no snapshot" in str(CliRunner().invoke(app, command).exception)

    write_rows(snapshots / "one.parquet", week(0))
    assert CliRunner().invoke(app, command).exit_code == 0
    file = models / "small.schema.yaml"
    edited = (
        file.read_text()
        .replace("isin: [AA, B6", "isin: [AA, XX, B6")
        .replace("rows:", "max_age: 9d\n  rows:")
    )
    file.write_text(edited)
    assert CliRunner().invoke(app, command).exit_code == 0
    assert file.read_text() == edited
    file.write_text(edited.replace("isin", "is_in"))
    assert "columns.carrier.is_in" in CliRunner().invoke(app, ["check"]).output
    file.write_text(edited)

    assert CliRunner().invoke(app, [*command, "--refresh"]).exit_code == 0
    schema = read_schema(file)
    assert schema.columns["carrier"].categories == ("AA", "B6", "UA", "WN")
    assert schema.snapshot.max_age == timedelta(days=9)
