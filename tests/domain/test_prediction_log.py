"""The prediction log: one file a day from batch scoring, those of serving beside it, read by window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evermodel.core.errors import SourceError
from evermodel.data.prediction_log import files_of, log_folder, log_schema, read_log, write_plain_day
from support.small_model import between, moment, small_spec

SPEC = small_spec("unused")


def predictions(day: int, count: int = 4, source: str = "batch") -> pa.Table:
    columns: dict[str, Any] = {
        "prediction_id": [f"{source}-{day}-{n}" for n in range(count)],
        "event_time": [moment(day + n / count) for n in range(count)],
        "model_version": ["3"] * count,
        "score": [n / count for n in range(count)],
        "predicted": pa.nulls(count, pa.string()),
        "source": [source] * count,
        "request_id": pa.nulls(count, pa.string()),
        "temp": [1.5] * count,
        "wind": [None] * count,
        "carrier": ["AA"] * count,
    }
    return pa.table(columns, schema=log_schema(SPEC))


def written(lake: Path, *days: int) -> list[Path]:
    return [write_plain_day(SPEC, lake, f"{moment(day):%Y-%m-%d}", predictions(day)) for day in days]


def ids(lake: Path, start: float, end: float) -> list[str]:
    found: list[str] = read_log(SPEC, lake, between(start, end))["prediction_id"].to_pylist()
    return found


def test_the_columns_say_who_answered_what_when_and_from_which_features() -> None:
    assert [(field.name, str(field.type)) for field in log_schema(SPEC)] == [
        ("prediction_id", "string"),
        ("event_time", "timestamp[us, tz=UTC]"),
        ("model_version", "string"),
        ("score", "double"),
        ("predicted", "string"),
        ("source", "string"),
        ("request_id", "string"),
        ("temp", "double"),
        ("wind", "double"),
        ("carrier", "string"),
    ]


def test_a_day_is_a_folder_and_reads_back_as_it_was_written(tmp_path: Path) -> None:
    (file,) = written(tmp_path, 2)
    assert file == tmp_path / "predictions" / "small" / "date=2024-01-03" / "batch.parquet"
    assert read_log(SPEC, tmp_path, between(2, 3)).equals(predictions(2))


def test_a_window_is_half_open_over_midnights(tmp_path: Path) -> None:
    written(tmp_path, 1, 2, 3)
    assert ids(tmp_path, 2, 3) == [f"batch-2-{n}" for n in range(4)]
    assert ids(tmp_path, 1.75, 2.25) == ["batch-1-3", "batch-2-0"]
    assert ids(tmp_path, 1, 4) == [f"batch-{day}-{n}" for day in (1, 2, 3) for n in range(4)]
    assert ids(tmp_path, 3, 3) == ids(tmp_path, 7, 9) == []
    assert [file.parent.name for file in files_of(SPEC, tmp_path, between(1, 3))] == [
        "date=2024-01-02",
        "date=2024-01-03",
    ]


def test_writing_a_day_again_replaces_its_file_and_no_other(tmp_path: Path) -> None:
    first, second = written(tmp_path, 1, 2)
    before = first.read_bytes()
    write_plain_day(SPEC, tmp_path, "2024-01-03", predictions(2, count=2))
    assert ids(tmp_path, 2, 3) == ["batch-2-0", "batch-2-1"]
    assert first.read_bytes() == before
    assert sorted(file.name for file in second.parent.iterdir()) == ["batch.parquet"]


def test_files_of_serving_beside_the_batch_file_are_read_and_unfinished_ones_are_not(tmp_path: Path) -> None:
    (batch,) = written(tmp_path, 2)
    pq.write_table(predictions(2, 2, "online"), batch.with_name("online-17-abc.parquet"))
    batch.with_name(".online-17-def.parquet.0123.tmp").write_bytes(b"PAR1 half")
    batch.with_name(".batch.parquet").write_bytes(b"PAR1 half")
    table = read_log(SPEC, tmp_path, between(2, 3))
    assert table["source"].to_pylist() == ["batch"] * 4 + ["online"] * 2
    written(tmp_path, 2)
    assert len(ids(tmp_path, 2, 3)) == 6


def test_a_feature_that_is_new_reads_as_null_and_one_that_is_gone_is_left_out(tmp_path: Path) -> None:
    written(tmp_path, 2)
    later = small_spec("unused", features={"numeric": ["temp", "rain"], "categorical": ["dest"]})
    table = read_log(later, tmp_path, between(2, 3))
    assert table.schema == log_schema(later)
    assert (table["rain"].null_count, table["dest"].null_count) == (4, 4)
    assert table["temp"].to_pylist() == [1.5] * 4


def test_an_empty_log_reads_as_an_empty_table(tmp_path: Path) -> None:
    table = read_log(SPEC, tmp_path, between(0, 30))
    assert (table.num_rows, table.schema) == (0, log_schema(SPEC))


@pytest.mark.parametrize("keep", [0, 100, -10])
def test_a_damaged_file_is_named_with_the_way_to_mend_it(tmp_path: Path, keep: int) -> None:
    good, bad = written(tmp_path, 1, 2)
    bad.write_bytes(bad.read_bytes()[:keep])
    with pytest.raises(SourceError, match="DAG score_small") as caught:
        read_log(SPEC, tmp_path, between(1, 3))
    assert str(bad) in caught.value.problem
    assert str(good) not in caught.value.problem
    written(tmp_path, 2)
    assert len(ids(tmp_path, 1, 3)) == 8


def test_models_do_not_share_a_folder(tmp_path: Path) -> None:
    written(tmp_path, 2)
    other = small_spec("unused", name="other")
    assert read_log(other, tmp_path, between(0, 9)).num_rows == 0
    assert log_folder(other, tmp_path) != log_folder(SPEC, tmp_path)


def test_a_day_without_rows_is_a_file_of_the_logs_schema(tmp_path: Path) -> None:
    file = write_plain_day(SPEC, tmp_path, "2024-01-03", log_schema(SPEC).empty_table())

    assert pq.read_table(file, partitioning=None).equals(log_schema(SPEC).empty_table())
