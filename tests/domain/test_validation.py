"""Each check of a snapshot passes on good data, fails on its own kind of bad data, and says what it found."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pydantic import ValidationError as FieldErrors

from evermodel.core.errors import PermanentError, SourceError, ValidationError
from evermodel.data.validation import ValidationReport, validate
from evermodel.data.validation.infer import infer_schema
from evermodel.data.validation.profile import SnapshotProfile
from evermodel.data.validation.schema_file import read_schema, to_yaml
from support.small_model import small_rows, small_spec, write_rows

RULES: dict[str, Any] = {"min_rows": 50, "ranges": {"temp": [0, 6], "wind": [None, 4]}}
NAN, INF = float("nan"), float("inf")


def first(values: list[Any], usual: Any = 1) -> list[Any]:
    """These values, and then the usual one, 80 in all."""
    return values + [usual] * (80 - len(values))


def report_of(folder: Path, rules: dict[str, Any], days: int = 10, **columns: Any) -> ValidationReport:
    file = write_rows(folder / "snapshot.parquet", small_rows(days=days, **columns))
    return validate(small_spec("unused", validation={**RULES, **rules}), file).report


def broken(report: ValidationReport) -> dict[str, tuple[str, str]]:
    return {check.name: (check.found, check.allowed) for check in report.checks if not check.passed}


def test_good_data_passes_every_check_and_all_are_listed(tmp_path: Path) -> None:
    report = report_of(tmp_path, {})
    assert report.verdict == "passed"
    assert report.rows == 80
    assert {check.name for check in report.checks} == {
        "row count",
        "duplicate id",
        "both classes of late",
        *(f"nulls in {name}" for name in ("temp", "wind", "carrier")),
        *(f"infinite values in {name}" for name in ("temp", "wind")),
        *(f"values of {name} that are not numbers" for name in ("temp", "wind")),
        "values of temp outside 0.0 to 6.0",
        "values of wind outside -inf to 4.0",
        "variants of known values of carrier",
    }
    report.require()
    assert json.loads(json.dumps(report.to_json()))["model"] == "small"


# Each row: the rules, the columns, and the one check that fails with what it found and allows.
BAD: dict[str, tuple[dict[str, Any], dict[str, Any], str, str, str]] = {
    "too few rows": ({"min_rows": 81}, {}, "row count", "80", "at least 81"),
    "an id twice": ({}, {"id": [f"r{n // 2}" for n in range(80)]}, "duplicate id", "50.00%", "at most 0.00%"),
    "ids missing": ({}, {"id": [None] * 20 + [f"r{n}" for n in range(60)]}, "duplicate id", "25.00%", "at most 0.00%"),
    "all negative": ({}, {"late": [0] * 80}, "both classes of late", "0 positive and 80 negative rows", "at least 0.5% of each"),
    "all positive": ({"min_class_share": 0}, {"late": [1] * 80}, "both classes of late", "80 positive and 0 negative rows", "at least 0.0% of each"),
    "rare class": ({"min_class_share": 0.1}, {"late": first([1] * 7, 0)}, "both classes of late", "7 positive and 73 negative rows", "at least 10.0% of each"),
    "nulls": ({}, {"wind": first([None] * 41)}, "nulls in wind", "51.25%", "at most 50.00%"),
    "not-a-number": ({}, {"temp": first([NAN] * 41)}, "nulls in temp", "51.25%", "at most 50.00%"),
    "null categories": ({"max_null_share_by_column": {"carrier": 0.1}}, {"carrier": first([None] * 9, "AA")}, "nulls in carrier", "11.25%", "at most 10.00%"),
    "below": ({}, {"temp": first([-0.001, -5])}, "values of temp outside 0.0 to 6.0", "2 rows", "none"),
    "above": ({}, {"wind": first([5])}, "values of wind outside -inf to 4.0", "1 rows", "none"),
    "infinite": ({"ranges": {}}, {"temp": first([INF, -INF])}, "infinite values in temp", "2 rows", "none"),
    "text": ({}, {"temp": first(["calm"], "1.5")}, "values of temp that are not numbers", "1 rows", "none"),
    "text outside": ({}, {"temp": first(["7"], "1.5")}, "values of temp outside 0.0 to 6.0", "1 rows", "none"),
}  # fmt: skip


@pytest.mark.parametrize(("rules", "columns", "name", "found", "allowed"), BAD.values(), ids=BAD.keys())
def test_bad_data_fails_its_own_check_and_no_other(
    tmp_path: Path, rules: dict[str, Any], columns: dict[str, Any], name: str, found: str, allowed: str
) -> None:
    report = report_of(tmp_path, rules, **columns)
    assert broken(report) == {name: (found, allowed)}


# The same data, one step better: what is just allowed.
@pytest.mark.parametrize(
    ("rules", "columns"),
    [
        ({"min_rows": 80}, {}),
        ({"max_duplicate_share": 0.5}, {"id": [f"r{n // 2}" for n in range(80)]}),
        ({"min_class_share": 0.1}, {"late": first([1] * 8, 0)}),
        ({}, {"wind": first([None] * 40)}),
        ({}, {"temp": first([NAN] * 20 + [None] * 20)}),
        ({"max_null_share_by_column": {"carrier": 0.1}}, {"carrier": first([None] * 8, "AA")}),
        ({"max_null_share_by_column": {"wind": 1.0}}, {"wind": pa.nulls(80, pa.float64())}),
        ({}, {"temp": first([0, 6.0]), "wind": first([4, -1e9])}),
        ({}, {"temp": first(["6"], "1e0")}),
        ({"ranges": {"temp": [None, None]}}, {"temp": first([1e9])}),
    ],
)
def test_what_is_just_allowed_passes(tmp_path: Path, rules: dict[str, Any], columns: dict[str, Any]) -> None:
    assert broken(report_of(tmp_path, rules, **columns)) == {}


def test_an_empty_snapshot_fails_on_its_rows_alone(tmp_path: Path) -> None:
    assert broken(report_of(tmp_path, {}, days=0)) == {"row count": ("0", "at least 50")}


def test_the_error_lists_every_fatal_check_with_found_allowed_and_examples(tmp_path: Path) -> None:
    fatal = {"min_rows": 100, "severity": {"range.temp": "fail", "infinite": "fail"}}
    report = report_of(tmp_path, fatal, late=[1] * 80, temp=first([7.0, INF]))
    with pytest.raises(ValidationError) as caught:
        report.require("http://mlflow/report")
    assert caught.value.problem.splitlines() == [
        f"model small: the snapshot failed 4 of {len(report.checks)} checks:",
        "  - row count: found 80, allowed at least 100",
        "  - both classes of late: found 80 positive and 0 negative rows, allowed at least 0.5% of each",
        "  - infinite values in temp: found 1 rows, allowed none (such as 'inf' in row r00001)",
        "  - values of temp outside 0.0 to 6.0: found 2 rows, allowed none (such as '7.0' in row r00000; 'inf' in row r00001)",
    ]
    assert "`validation` section" in caught.value.advice
    assert caught.value.advice.endswith("http://mlflow/report")
    assert isinstance(caught.value, PermanentError)


def test_the_error_stays_short_when_everything_is_wrong(tmp_path: Path) -> None:
    names = [f"n{n}" for n in range(30)]
    spec = small_spec("unused", features={"numeric": names}, validation={"min_rows": 1, "max_null_share": 0})
    table = small_rows(**{name: pa.nulls(80, pa.float64()) for name in names})
    report = validate(spec, write_rows(tmp_path / "snapshot.parquet", table)).report
    assert len(report.failures) == 30
    with pytest.raises(ValidationError, match="and 22 more") as caught:
        report.require()
    assert len(str(caught.value)) < 1500


def test_bad_rows_are_set_aside_up_to_a_limit_and_fail_above(tmp_path: Path) -> None:
    few, many = (report_of(tmp_path, {}, temp=first([INF] * n)) for n in (4, 5))
    assert (few.verdict, few.set_aside) == ("quarantined", 4)
    assert (many.verdict, many.set_aside) == ("failed", 5)
    (check,) = many.failures
    assert (check.name, check.found) == ("quarantined rows", "5 of 80 rows (6.25%)")
    assert check.examples[0] == "infinite values in temp: 5 rows, 'inf' in row r00000"


@pytest.mark.parametrize(
    ("severity", "verdict"),
    [("off", "passed"), ("warn", "warned"), ("quarantine", "quarantined"), ("fail", "failed")],
)
def test_the_spec_says_how_much_a_check_matters(tmp_path: Path, severity: str, verdict: str) -> None:
    report = report_of(
        tmp_path, {"severity": {"range": "off", "range.temp": severity}}, temp=first([7.0]), wind=first([9])
    )
    assert report.verdict == verdict
    assert "values of wind outside -inf to 4.0" not in {check.name for check in report.checks}


@pytest.mark.parametrize("key", ["label", "label.late"])
def test_a_severity_for_the_label_counts_by_kind_and_by_column(tmp_path: Path, key: str) -> None:
    report = report_of(tmp_path, {"severity": {key: "warn"}}, late=[0] * 80)
    assert [check.name for check in report.warnings] == ["both classes of late"]


def test_an_off_without_quotes_is_what_yaml_makes_of_it() -> None:
    spec = small_spec("unused", validation=yaml.safe_load("severity: {range: off, label: warn}"))
    assert spec.validation.severity == {"range": "off", "label": "warn"}


@pytest.mark.parametrize(
    ("severity", "reason"),
    [
        ({"rnage": "warn"}, "rnage is not a check"),
        ({"leakage": "quarantine"}, "leakage identifies no rows"),
        ({"range.nope": "warn"}, "nope is not a column of this model"),
        ({"range": "loud"}, "Input should be"),
    ],
)
def test_a_severity_that_means_nothing_is_refused(severity: dict[str, str], reason: str) -> None:
    with pytest.raises(FieldErrors, match=reason):
        small_spec("unused", validation={"severity": severity})


def test_duplicates_that_are_set_aside_all_go(tmp_path: Path) -> None:
    ids = [f"r{max(n, 1)}" for n in range(80)]
    report = report_of(tmp_path, {"severity": {"duplicate_id": "quarantine"}}, id=ids)
    assert (report.verdict, report.set_aside) == ("quarantined", 2)


def test_a_missing_column_fails_by_its_name(tmp_path: Path) -> None:
    assert broken(report_of(tmp_path, {"ranges": {}}, wind=None)) == {
        "columns": ("no wind", "every column of the spec")
    }


def test_a_file_that_was_cut_off_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "snapshot.parquet")
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(SourceError, match=r"snapshot\.parquet cannot be read"):
        validate(small_spec("unused"), file)


def test_column_names_with_quotes_and_spaces_are_no_trouble(tmp_path: Path) -> None:
    odd = 'wind "speed" (km/h)'
    table = small_rows().rename_columns(["id", "at", "temp", odd, "carrier", "late", "note"])
    spec = small_spec(
        "unused",
        features={"numeric": ["temp", odd], "categorical": ["carrier"]},
        validation={"min_rows": 1, "ranges": {odd: [1, 9]}, "max_quarantine_share": 0.2},
    )
    report = validate(spec, write_rows(tmp_path / "snapshot.parquet", table)).report
    assert broken(report) == {f"values of {odd} outside 1.0 to 9.0": ("16 rows", "none")}


N = 2000
ODD: dict[str, dict[str, Any]] = {
    "nulls without a type": {"temp": pa.nulls(N)},
    "not-a-number only": {"temp": [NAN] * N},
    "the largest floats": {"temp": [1.7e308 * (-1) ** (n % 3) for n in range(N)]},
    "large beside their spread": {"temp": [1.7e9 + n % 7 / 10 for n in range(N)]},
    "decimals": {"temp": pa.array([Decimal(n % 77) for n in range(N)], pa.decimal128(12, 2))},
    "small unsigned numbers": {"temp": pa.array([n % 9 for n in range(N)], pa.uint8())},
    "ten thousand categories": {"carrier": [f"c{n * 7 % 1999}" for n in range(N)]},
    "categories that are numbers": {"carrier": [n % 5 for n in range(N)]},
    "a dictionary": {"carrier": pa.array(["abc"[n % 3] for n in range(N)]).dictionary_encode()},
    "signs of all kinds": {
        "carrier": ['it\'s "x"\n\t ü 😀' if n % 3 else "'; DROP TABLE x" for n in range(N)]
    },
    "blanks": {"carrier": ["" if n % 3 else " " for n in range(N)]},
    "no category at all": {"carrier": pa.nulls(N, pa.string())},
}


@pytest.mark.parametrize("columns", ODD.values(), ids=ODD.keys())
def test_odd_columns_pass_the_schema_that_was_inferred_from_them(
    tmp_path: Path, columns: dict[str, Any]
) -> None:
    file = write_rows(tmp_path / "snapshot.parquet", small_rows(days=250, **columns))
    spec = small_spec(
        "unused", validation={"min_rows": 1, "max_null_share": 1.0, "severity": {"id_like": "off"}}
    )
    first = validate(spec, file)
    written = to_yaml(infer_schema(spec, first.profile))
    (tmp_path / "s.yaml").write_text(written)
    again = validate(
        spec,
        file,
        read_schema(tmp_path / "s.yaml"),
        SnapshotProfile.from_json(json.loads(json.dumps(first.profile.to_json()))),
    )
    assert [check.line() for check in again.report.checks if not check.passed] == []


def test_means_keep_their_digits_far_from_zero(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "s.parquet", small_rows(days=250, temp=[1e12 + n % 7 for n in range(N)]))
    temp = validate(small_spec("unused"), file).profile.columns["temp"]
    assert temp.mean == pytest.approx(1e12 + 3, abs=0.01)
    assert temp.sd == pytest.approx(2.0, abs=0.01)


def test_validating_loads_neither_pandas_nor_pyarrow_nor_pandera(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "snapshot.parquet", small_rows(days=250, temp=[9.0] * 5 + [1.0] * (N - 5)))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small_spec("x.parquet").model_dump(mode="json")))
    program = (
        "import sys; from pathlib import Path; from evermodel.spec import load_spec; from evermodel.data.validation import validate\n"
        f"report = validate(load_spec(Path({str(tmp_path / 'small.yaml')!r})), Path({str(file)!r})).report\n"
        "print(report.verdict, sorted({'pandas', 'pyarrow', 'pandera', 'mlflow', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "passed []\n"
