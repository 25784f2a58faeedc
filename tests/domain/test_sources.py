"""A source gives exactly the rows of a window, in UTC and in order, or an error that says what to do."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.csv as pcsv
import pytest

from evermodel.core.errors import SourceError
from evermodel.data.sources import arrival, read_labels, read_window
from evermodel.data.sources.readiness import predictions_ready, source_ready
from evermodel.spec.window import Window
from support.small_model import between, moment, small_rows, small_spec, write_rows


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.parquet")


def ids(first: int, last: int) -> list[str]:
    return [f"r{n:05d}" for n in range(first, last)]


def refusal(path: Path | str, **sections: Any) -> str:
    with pytest.raises(SourceError) as caught:
        read_window(small_spec(path, **sections), between(0, 1), with_label=True)
    assert caught.value.advice
    assert "model small" in caught.value.problem
    return str(caught.value)


def test_a_window_holds_its_start_and_not_its_end(file: Path) -> None:
    table = read_window(small_spec(file), between(2, 3), with_label=True)
    assert table["id"].to_pylist() == ids(16, 24)
    assert table["at"][0].as_py() == moment(2)
    assert table.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert read_window(small_spec(file), between(50, 60), with_label=True).num_rows == 0
    assert read_window(small_spec(file), between(3, 2), with_label=True).num_rows == 0


def test_only_the_declared_columns_are_read_and_the_label_only_when_wanted(file: Path) -> None:
    spec = small_spec(file)
    scoring = read_window(spec, between(0, 1), with_label=False)
    assert scoring.column_names == ["id", "at", "temp", "wind", "carrier"]
    assert read_window(spec, between(0, 1), with_label=True).column_names == [*scoring.column_names, "late"]
    labels = read_labels(spec, between(0, 1))
    assert (labels.column_names, labels["late"].to_pylist()) == (["id", "at", "late"], [0, 1] * 4)


def test_scoring_works_before_the_label_column_exists(tmp_path: Path) -> None:
    spec = small_spec(write_rows(tmp_path / "rows.parquet", small_rows(late=None)))
    assert read_window(spec, between(0, 1), with_label=False).num_rows == 8
    with pytest.raises(SourceError, match="lacks the columns late"):
        read_window(spec, between(0, 1), with_label=True)


def test_rows_come_in_the_order_of_time_then_id_however_the_file_is_sorted(tmp_path: Path) -> None:
    ordered = small_rows(days=4, at=[moment(n // 4) for n in range(32)])
    shuffled = ordered.take([(n * 13) % 32 for n in range(32)])
    spec = small_spec(write_rows(tmp_path / "rows.parquet", shuffled))
    assert read_window(spec, between(0, 9), with_label=True)["id"].to_pylist() == ids(0, 32)


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York", "Asia/Kolkata"])
def test_times_without_a_zone_are_utc_and_those_with_one_are_converted(
    tmp_path: Path, zone: str | None
) -> None:
    times = pa.array([moment(n / 8).replace(tzinfo=None) for n in range(80)], pa.timestamp("ns", tz=zone))
    spec = small_spec(write_rows(tmp_path / "rows.parquet", small_rows(at=times)))
    table = read_window(spec, between(2, 3), with_label=True)
    assert table["id"].to_pylist() == ids(16, 24)
    assert table["at"].to_pylist() == [moment(2 + n / 8) for n in range(8)]


def test_the_zone_of_the_machine_changes_nothing(tmp_path: Path) -> None:
    naive = [moment(n / 8).replace(tzinfo=None) for n in range(80)]
    write_rows(tmp_path / "rows.parquet", small_rows(at=naive))
    code = (
        "from evermodel.data.sources import arrival, read_window\n"
        "from support.small_model import between, small_spec\n"
        f"spec = small_spec({str(tmp_path / 'rows.parquet')!r})\n"
        "print(*read_window(spec, between(2, 3), with_label=True)['id'].to_pylist())\n"
        "state = arrival(spec, between(2, 3))\n"
        "print(state.rows, state.newest.isoformat())\n"
    )
    tests = str(Path(__file__).parents[1])
    env = {"TZ": "America/New_York", "PYTHONPATH": tests}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.splitlines() == [" ".join(ids(16, 24)), f"8 {moment(9 + 7 / 8).isoformat()}"]


def test_csv_and_parquet_give_the_same_rows(tmp_path: Path, file: Path) -> None:
    table = small_rows()
    written = [stamp.strftime("%Y-%m-%d %H:%M:%S") for stamp in table["at"].to_pylist()]
    pcsv.write_csv(table.set_column(1, "at", [written]), tmp_path / "rows.csv")
    window = between(1, 2.5)
    from_csv = read_window(small_spec(tmp_path / "rows.csv"), window, with_label=True)
    assert from_csv.to_pylist() == read_window(small_spec(file), window, with_label=True).to_pylist()


def test_a_pattern_reads_every_file_and_a_quote_in_a_path_is_no_trouble(tmp_path: Path) -> None:
    folder = tmp_path / "o'hare"
    folder.mkdir()
    write_rows(folder / "a.parquet", small_rows(days=1))
    write_rows(folder / "b.parquet", small_rows(days=3).slice(8))
    assert read_window(small_spec(folder / "*.parquet"), between(0, 9), with_label=True)[
        "id"
    ].to_pylist() == ids(0, 24)
    assert read_window(small_spec(folder / "a.parquet"), between(0, 9), with_label=True).num_rows == 8


def test_a_query_sees_the_files_as_source(tmp_path: Path) -> None:
    raw = small_rows().rename_columns(["id", "at", "temp", "wind", "carrier", "delay_minutes", "note"])
    query = (
        "SELECT * EXCLUDE (temp), temp * 10 AS temp, (delay_minutes > 0)::INT AS late "
        "FROM source WHERE carrier = 'BB'"
    )
    spec = small_spec(
        "unused", source={"path": str(write_rows(tmp_path / "raw.parquet", raw)), "query": query}
    )
    table = read_window(spec, between(0, 1), with_label=True)
    assert table.select(["id", "temp", "late"]).to_pylist() == [
        {"id": "r00000", "temp": 0.0, "late": 0},
        {"id": "r00003", "temp": 30.0, "late": 1},
        {"id": "r00006", "temp": 60.0, "late": 0},
    ]


def test_a_missing_file_names_the_file_and_the_export(tmp_path: Path) -> None:
    message = refusal(tmp_path / "gone.parquet")
    assert f"{tmp_path}/gone.parquet does not exist" in message
    assert "source.path" in message
    assert "No files found" in refusal(tmp_path / "*.parquet")


def test_an_unset_environment_variable_is_named() -> None:
    message = refusal("${EVERMODEL_NOT_SET}/rows.parquet")
    assert "EVERMODEL_NOT_SET, which is not set" in message
    assert "set EVERMODEL_NOT_SET for Airflow" in message


def test_a_missing_column_names_the_nearest_one_and_all_there_are(file: Path) -> None:
    message = refusal(file, features={"numeric": ["tempp", "altitude"], "categorical": ["carrier"]})
    assert "lacks the columns tempp (did you mean temp?), altitude" in message
    assert "it has: id, at, temp, wind, carrier, late, note" in message


@pytest.mark.parametrize("keep", [0, 3, 200, -20])
def test_a_truncated_file_is_a_source_error(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])
    message = refusal(file)
    assert f"{file} cannot be read" in message
    assert "check that the file is complete" in message


@pytest.mark.parametrize(
    "query", ["SELEC * FROM source", "SELECT * FROM sauce", "SELECT *, tempp FROM source", "SELECT 1;;("]
)
def test_a_query_that_is_wrong_is_a_source_error(file: Path, query: str) -> None:
    message = refusal(file, source={"path": str(file), "query": query})
    assert "`source.query` is valid DuckDB SQL over the table `source`" in message


def test_a_value_that_breaks_while_the_rows_are_read_is_a_source_error(file: Path) -> None:
    query = "SELECT * EXCLUDE (temp), carrier::DOUBLE AS temp FROM source"
    assert "Could not convert string" in refusal(file, source={"path": str(file), "query": query})
    assert "cannot be read" in refusal(write_rows(file, small_rows(at=["soon"] * 80)))


def test_arrival_counts_a_window_and_names_the_newest_event(file: Path) -> None:
    newest = moment(9 + 7 / 8)
    for window, rows in ((between(2, 3), 8), (between(9, 12), 8), (between(20, 30), 0)):
        state = arrival(small_spec(file), window)
        assert (state.rows, state.newest) == (rows, newest)
    state = arrival(small_spec(write_rows(file, small_rows(days=0))), between(0, 1))
    assert (state.rows, state.newest) == (0, None)


def test_a_window_is_ready_when_its_last_day_has_rows(file: Path) -> None:
    spec = small_spec(file)
    assert source_ready(spec, between(3, 10)).ready
    assert source_ready(spec, between(3, 10.5)).ready
    late = source_ready(spec, between(3, 11))
    assert not late.ready
    assert late.found.startswith("0 rows in 2024-01-11 00:00 to 2024-01-12 00:00 UTC; ")
    assert "newest row at 2024-01-10 21:00 UTC" in late.found
    assert "no row" in source_ready(small_spec(write_rows(file, small_rows(0))), between(0, 1)).found


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [SourceError("half a file", "wait")]

    def reading(*given: Any) -> Any:
        if errors:
            raise errors.pop()
        return arrival(*given)

    monkeypatch.setattr("evermodel.data.sources.readiness.arrival", reading)
    assert source_ready(small_spec(file), between(3, 10)).ready
    errors += [SourceError("half a file", "wait")] * 2
    with pytest.raises(SourceError, match="half a file"):
        source_ready(small_spec(file), between(3, 10))


def complete(file: Path, **wanted: Any) -> Any:
    return small_spec(file, source={"path": str(file), "complete": wanted})


def test_complete_data_has_enough_rows(file: Path) -> None:
    assert source_ready(complete(file, min_rows=8), between(3, 10)).ready
    few = source_ready(complete(file, min_rows=10), between(3, 10))
    assert (few.ready, few.missing) == (False, "2 of 10 rows in 2024-01-10 00:00 to 2024-01-11 00:00 UTC")
    assert source_ready(complete(file, min_rows=0), between(3, 20)).ready


def test_complete_data_reaches_near_enough_to_the_end(file: Path) -> None:
    assert source_ready(complete(file, newest_within="3h"), between(3, 10)).ready
    early = source_ready(complete(file, newest_within="2h"), between(3, 10))
    assert (early.ready, early.missing) == (False, "a row at 2024-01-10 22:00 UTC or later")


def test_a_marker_says_that_data_is_complete_before_the_source_is_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    spec = complete(file, marker=f"{tmp_path}/{{day:%Y-%m-%d}}/_SUCCESS")
    waiting = source_ready(spec, between(3, 10))
    assert not waiting.ready
    assert waiting.missing == f"the marker {tmp_path}/2024-01-10/_SUCCESS"
    (tmp_path / "2024-01-10").mkdir()
    (tmp_path / "2024-01-10" / "_SUCCESS").touch()
    write_rows(file)
    assert source_ready(spec, between(3, 10)).ready
    assert not source_ready(spec, between(3, 9)).ready


def test_a_marker_may_lie_in_any_file_system() -> None:
    fsspec.filesystem("memory").pipe("/in/2024-01-10/_SUCCESS", b"")
    spec = complete(Path("gone.parquet"), marker="memory://in/{day:%Y-%m-%d}/*")
    assert source_ready(spec, between(3, 9)).missing == "the marker memory://in/2024-01-09/*"
    with pytest.raises(SourceError, match=r"gone\.parquet does not exist"):
        source_ready(spec, between(3, 10))
    nowhere = complete(Path("gone.parquet"), marker="nosuch://in/_SUCCESS")
    with pytest.raises(SourceError, match="Protocol not known: nosuch"):
        source_ready(nowhere, between(3, 10))


def test_an_event_in_the_future_neither_counts_as_the_newest_nor_hides(tmp_path: Path) -> None:
    times = [moment(n / 8) for n in range(79)] + [moment(36_500)]
    file = write_rows(tmp_path / "rows.parquet", small_rows(at=times))
    found = source_ready(complete(file, newest_within="2d"), between(3, 14), now=moment(14))
    assert not found.ready
    assert "newest row at 2024-01-10 18:00 UTC" in found.found
    assert "1 rows are in the future" in found.found


def test_files_are_read_through_any_fsspec_url(tmp_path: Path, file: Path) -> None:
    fsspec.filesystem("memory").pipe("/lake/rows/a.parquet", file.read_bytes())
    expected = read_window(small_spec(file), between(2, 3), with_label=True)
    for url in ("memory://lake/rows/*.parquet", "memory://lake/rows/a.parquet", f"file://{file}"):
        assert read_window(small_spec(url), between(2, 3), with_label=True) == expected
    assert "No files found" in refusal("memory://lake/none/*.parquet")
    assert "install the fsspec file system for nosuch://" in refusal("nosuch://lake/rows.parquet")


def test_predictions_are_ready_when_the_last_day_has_a_finished_file(tmp_path: Path) -> None:
    spec = small_spec("unused")
    folder = tmp_path / "predictions" / "small" / "date=2024-01-03"
    folder.mkdir(parents=True)
    write_rows(folder / ".batch.parquet.abc.tmp")
    write_rows(folder / ".online-1.parquet")
    assert not predictions_ready(spec, tmp_path, between(0, 3)).ready
    write_rows(folder / "batch.parquet", small_rows(0))
    nothing = predictions_ready(spec, tmp_path, between(0, 3))
    assert (nothing.ready, nothing.missing[:26]) == (False, "predictions of 2024-01-03 ")
    write_rows(folder / "online-1.parquet")
    assert predictions_ready(spec, tmp_path, between(0, 3)).ready
    assert not predictions_ready(spec, tmp_path, between(0, 4)).ready
    assert not predictions_ready(spec, tmp_path, between(0, 2)).ready
    (folder / "online-2.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(SourceError, match=r"online-2\.parquet cannot be read"):
        predictions_ready(spec, tmp_path, between(0, 3))


def test_a_window_in_another_zone_means_the_same_rows(file: Path) -> None:
    zone = timezone(timedelta(hours=-5))
    window = between(2, 3)
    moved = Window(window.start.astimezone(zone), window.end.astimezone(zone))
    assert read_window(small_spec(file), moved, with_label=True)["id"].to_pylist() == ids(16, 24)
