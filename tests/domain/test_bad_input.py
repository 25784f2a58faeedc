"""Dirty data in files: each kind of it is told with what, where and what to do, or comes through as it should."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evermodel.core.errors import EmptyWindowError, SourceError
from evermodel.data.dtypes import feature_frame
from evermodel.data.snapshots.dvc import SnapshotStore
from evermodel.data.snapshots.snapshot import read_snapshot, take_snapshot
from evermodel.data.sources import read_window
from evermodel.spec import ModelSpec
from support.small_model import between, moment, settings_in, small_rows, small_spec, write_rows


@pytest.fixture(autouse=True)
def without_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SnapshotStore, "track", lambda self, file: "")


def refusal(spec: ModelSpec) -> str:
    with pytest.raises(SourceError) as caught:
        read_window(spec, between(0, 10), with_label=True)
    assert caught.value.advice
    return str(caught.value)


def csv_file(file: Path, change: Any = None, encoding: str = "utf-8") -> Path:
    lines = small_rows().drop_columns("note").to_pandas().to_csv(index=False).splitlines()
    if change is not None:
        change(lines)
    file.write_bytes("\n".join(lines).encode(encoding))
    return file


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("r00040,2024-01-06 00:00:00+00:00,5.0,0,AA,0,extra", "Found: 7"),
        ("r00040,2024-01-06 00:00:00+00:00", "Found: 2"),
    ],
    ids=["too long", "too short"],
)
def test_a_ragged_csv_is_told_with_its_line(tmp_path: Path, row: str, found: str) -> None:
    file = csv_file(tmp_path / "rows.csv", lambda lines: lines.__setitem__(41, row))
    message = refusal(small_spec(file))
    assert "CSV Error on Line: 42" in message
    assert found in message
    assert "every line must have as many fields as the header" in message


def test_a_csv_in_another_encoding_is_refused_until_its_encoding_is_named(tmp_path: Path) -> None:
    def swiss(lines: list[str]) -> None:
        lines[41] = "r00040,2024-01-06 00:00:00+00:00,5.0,0,Zürich,0"

    file = csv_file(tmp_path / "latin.csv", swiss, "latin-1")
    message = refusal(small_spec(file))
    assert "CSV Error on Line: 42" in message
    assert "source.encoding" in message
    for encoding in ("latin-1", "utf-16"):
        file = csv_file(tmp_path / "rows.csv", swiss, encoding)
        spec = small_spec(file, source={"path": str(file), "encoding": encoding})
        rows = read_window(spec, between(5, 6), with_label=True)
        assert (rows.num_rows, rows["carrier"][0].as_py()) == (8, "Zürich")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_is_seen_in_the_header(tmp_path: Path, delimiter: str) -> None:
    file = tmp_path / "rows.csv"
    small_rows().to_pandas().to_csv(file, sep=delimiter, index=False)
    assert read_window(small_spec(file), between(2, 3), with_label=True).num_rows == 8
    small_rows().to_pandas().to_csv(f"{file}.gz", sep=delimiter, index=False)
    assert read_window(small_spec(f"{file}.gz"), between(2, 3), with_label=True).num_rows == 8


@pytest.mark.parametrize("name", ["temp", "Temp"])
def test_duplicate_column_names_are_refused_and_not_numbered(tmp_path: Path, name: str) -> None:
    table = small_rows()
    twice = table.append_column(name, table["wind"])
    pq.write_table(twice, tmp_path / "rows.parquet")
    twice.to_pandas().to_csv(tmp_path / "rows.csv", index=False)
    for file in ("rows.parquet", "rows.csv"):
        message = refusal(small_spec(tmp_path / file))
        assert "has several columns named temp" in message
        assert "rename or remove all but one" in message
    # Twice what nobody asks for harms nobody, and neither do names inside of a nested column.
    pq.write_table(table.append_column("note", table["wind"]), tmp_path / "rows.parquet")
    assert read_window(small_spec(tmp_path / "rows.parquet"), between(2, 3), with_label=True).num_rows == 8
    nested = pa.array([{"temp": 1, "wind": {"temp": [2]}}] * 80)
    pq.write_table(table.append_column("inner", nested), tmp_path / "rows.parquet")
    assert read_window(small_spec(tmp_path / "rows.parquet"), between(2, 3), with_label=True).num_rows == 8


def test_mixed_types_in_a_csv_column_reach_validation_as_they_are(tmp_path: Path) -> None:
    def warm(lines: list[str]) -> None:
        lines[41] = "r00040,2024-01-06 00:00:00+00:00,warm,0,AA,0"

    spec = small_spec(csv_file(tmp_path / "rows.csv", warm))
    rows = read_window(spec, between(5, 6), with_label=True)
    assert rows["temp"].to_pylist()[:2] == ["warm", "6.0"]
    with pytest.raises(SourceError, match="column temp is declared numeric but contains other values"):
        feature_frame(spec, rows)


def test_files_whose_columns_have_other_types_are_told(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.parquet", small_rows(days=1))
    write_rows(tmp_path / "b.parquet", small_rows(days=1, temp=["warm"] * 8))
    message = refusal(small_spec(tmp_path / "*.parquet"))
    assert "temp" in message
    assert "warm" in message or "VARCHAR" in message


def test_a_renamed_column_is_told_with_its_likely_new_name(tmp_path: Path) -> None:
    table = small_rows().rename_columns(["id", "at", "temp_c", "wind", "carrier", "late", "note"])
    assert "lacks the columns temp (did you mean temp_c?)" in refusal(
        small_spec(write_rows(tmp_path / "rows.parquet", table))
    )


def test_a_time_that_became_a_number_is_refused(tmp_path: Path) -> None:
    table = small_rows(at=[1_704_067_200 + n for n in range(80)])
    message = refusal(small_spec(write_rows(tmp_path / "rows.parquet", table)))
    assert "the time column at of" in message
    assert "holds BIGINT, which is not a time" in message
    assert "to_timestamp(at)" in message


def test_mixed_time_zones_mean_the_same_moments(tmp_path: Path) -> None:
    offsets = [0, 2, -5, None]

    def written(n: int) -> str:
        hours = offsets[n % 4]
        if hours is None:
            return f"{moment(n / 8):%Y-%m-%d %H:%M:%S}"
        return f"{moment(n / 8) + timedelta(hours=hours):%Y-%m-%dT%H:%M:%S}{hours:+03d}:00"

    table = small_rows(at=[written(n) for n in range(80)])
    table.to_pandas().to_csv(tmp_path / "rows.csv", index=False)
    write_rows(tmp_path / "rows.parquet", table)
    for file in ("rows.csv", "rows.parquet"):
        rows = read_window(small_spec(tmp_path / file), between(2, 3), with_label=True)
        assert rows["at"].to_pylist() == [moment(2 + n / 8) for n in range(8)]


def test_a_column_that_mostly_holds_times_without_zone_keeps_the_offset_of_the_others(tmp_path: Path) -> None:
    def late_offset(lines: list[str]) -> None:
        for n in range(1, len(lines)):
            lines[n] = lines[n].replace("+00:00", "")
        lines[80] = lines[80].replace("2024-01-10 21:00:00", "2024-01-10T23:00:00+02:00")

    spec = small_spec(csv_file(tmp_path / "rows.csv", late_offset))
    assert read_window(spec, between(9, 10), with_label=True)["at"].to_pylist()[-1] == moment(9 + 7 / 8)


def test_rows_of_the_future_are_in_no_snapshot(tmp_path: Path) -> None:
    times = [moment(n / 8) for n in range(79)] + [moment(40_000)]
    spec = small_spec(write_rows(tmp_path / "rows.parquet", small_rows(at=times)))
    taken = take_snapshot(spec, moment(11), settings_in(tmp_path))
    assert read_snapshot(taken.path, settings_in(tmp_path))["at"].to_pylist()[-1] == moment(78 / 8)


def test_infinities_nulls_and_many_categories_come_through_for_validation_to_judge(tmp_path: Path) -> None:
    table = small_rows(
        days=10,
        per_day=1000,
        temp=[float("inf"), float("-inf"), float("nan"), None] * 2500,
        wind=pa.nulls(10_000),
        carrier=[f"category {n}" for n in range(10_000)],
    )
    spec = small_spec(write_rows(tmp_path / "rows.parquet", table))
    taken = take_snapshot(spec, moment(8), settings_in(tmp_path))
    rows = read_snapshot(taken.path, settings_in(tmp_path))
    assert (taken.rows, rows["wind"].null_count, len(rows["carrier"].unique())) == (6000, 6000, 6000)
    assert rows["temp"].to_pylist()[:2] == [float("inf"), float("-inf")]
    frame = feature_frame(spec, rows)
    assert frame["wind"].isna().all()
    assert frame["temp"].dtype == "float64"


def test_an_empty_interval_is_told_with_its_dates(tmp_path: Path) -> None:
    spec = small_spec(write_rows(tmp_path / "rows.parquet"))
    with pytest.raises(EmptyWindowError, match="no row in 2024-02-03 00:00 to 2024-02-09 00:00 UTC"):
        take_snapshot(spec, moment(40), settings_in(tmp_path))
    empty = small_spec(write_rows(tmp_path / "empty.parquet", small_rows(days=0)))
    assert read_window(empty, between(0, 9), with_label=True).num_rows == 0
    (tmp_path / "empty.csv").write_text("")
    assert "lacks the columns id, at" in refusal(small_spec(tmp_path / "empty.csv"))
    pd.DataFrame(columns=small_rows().column_names).to_csv(tmp_path / "header.csv", index=False)
    assert read_window(small_spec(tmp_path / "header.csv"), between(0, 9), with_label=True).num_rows == 0


def test_rows_that_are_there_twice_come_in_the_same_order_every_time(tmp_path: Path) -> None:
    twice = small_rows(id=["r"] * 80, at=[moment(1)] * 80, temp=[float(n) for n in range(80)])
    orders = []
    for step in (1, 7, 13):
        shuffled = twice.take([(n * step) % 80 for n in range(80)])
        spec = small_spec(write_rows(tmp_path / "rows.parquet", shuffled))
        orders.append(read_window(spec, between(0, 2), with_label=True)["temp"].to_pylist())
    assert orders[0] == orders[1] == orders[2]
