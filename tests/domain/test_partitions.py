"""A rolling window asks the source only for days that are new or may still change, and gives the same snapshot."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import source_functions
from evermodel.core.errors import LakeFullError, SnapshotStoreError, SourceUnavailableError, TransientError
from evermodel.core.settings import Settings
from evermodel.data.parquet import write_by_content
from evermodel.data.snapshots import snapshot
from evermodel.data.snapshots.dvc import SnapshotStore
from evermodel.data.snapshots.snapshot import take_snapshot
from evermodel.data.sources.partitions import Partitions, folder_of
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window
from support.small_model import between, moment, settings_in, small_rows, small_spec, write_rows


@pytest.fixture(autouse=True)
def without_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SnapshotStore, "track", lambda self, file: "")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


def python_spec(function: str = "table", **source: Any) -> ModelSpec:
    return small_spec("", source={"kind": "python", "function": f"source_functions:{function}", **source})


def asked(spec: ModelSpec, settings: Settings, window: Window, now: datetime) -> tuple[list[Any], list[str]]:
    """What the source was asked for, and the ids that came."""
    source_functions.calls.clear()
    with Partitions(spec, settings.lake, now).tables(window) as tables:
        ids = [name for table in tables for name in table["id"].to_pylist()]
    return list(source_functions.calls), ids


def ids(start: float, end: float) -> list[str]:
    return [f"r{n:05d}" for n in range(int(start * 8), int(end * 8))]


def test_a_day_that_is_settled_is_read_once(settings: Settings) -> None:
    spec = python_spec(late="2d")
    assert asked(spec, settings, between(0, 6), moment(6)) == ([(moment(0), moment(6))], ids(0, 6))
    # Days 4 and 5 had not ended two days ago, so they are read again; days 0 to 3 were kept.
    assert asked(spec, settings, between(1, 8), moment(8)) == ([(moment(4), moment(8))], ids(1, 8))
    assert asked(spec, settings, between(1, 8), moment(20)) == ([(moment(6), moment(8))], ids(1, 8))
    assert asked(spec, settings, between(1, 8), moment(20)) == ([], ids(1, 8))


def test_only_whole_days_are_kept(settings: Settings) -> None:
    spec = python_spec()
    asked(spec, settings, between(0.5, 3.25), moment(20))
    calls, found = asked(spec, settings, between(0.5, 3.25), moment(20))
    assert calls == [(moment(0.5), moment(1)), (moment(3), moment(3.25))]
    assert found == ids(0.5, 3.25)


def test_what_arrives_late_is_in_the_next_snapshot(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = python_spec(late="3d")
    monkeypatch.setattr(source_functions, "small_rows", lambda: small_rows().slice(0, 44))
    assert asked(spec, settings, between(4, 6), moment(6))[1] == ids(4, 5.5)
    monkeypatch.setattr(source_functions, "small_rows", small_rows)
    assert asked(spec, settings, between(4, 6), moment(7))[1] == ids(4, 6)


def test_a_snapshot_of_kept_days_has_the_bytes_of_one_that_was_read_whole(tmp_path: Path) -> None:
    spec = python_spec()
    rolling, fresh = settings_in(tmp_path / "rolling"), settings_in(tmp_path / "fresh")
    for day in (8, 8.5, 9, 10):
        rolled = take_snapshot(spec, moment(day), rolling)
    source_functions.calls.clear()
    assert take_snapshot(spec, moment(10), rolling) == rolled
    assert source_functions.calls == []
    assert take_snapshot(spec, moment(10), fresh) == rolled
    from_files = small_spec(write_rows(tmp_path / "rows.parquet"))
    assert take_snapshot(from_files, moment(10), fresh).digest == rolled.digest


def test_files_are_read_in_place_unless_the_spec_says_how_late_they_may_be(tmp_path: Path) -> None:
    settings, file = settings_in(tmp_path), write_rows(tmp_path / "rows.parquet")
    first = take_snapshot(small_spec(file), moment(8), settings)
    assert not folder_of("small", settings.lake).exists()
    kept = small_spec(file, source={"path": str(file), "late": "1d"})
    assert take_snapshot(kept, moment(8), settings).digest == first.digest
    file.unlink()
    assert take_snapshot(kept, moment(8), settings).digest == first.digest


def test_another_query_another_column_or_type_reads_everything_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = [(moment(0), moment(4))]
    asked(python_spec(), settings, between(0, 4), moment(20))
    assert asked(python_spec(arguments={"wind": 3}), settings, between(0, 4), moment(20))[0] == everything
    fewer = small_spec(
        "", source=python_spec().source.model_dump(mode="json"), features={"numeric": ["temp", "wind"]}
    )
    assert asked(fewer, settings, between(0, 4), moment(20))[0] == everything
    # What changes only when it is looked, not what is there, is no other source.
    patient = python_spec(late="9d", step="3d", complete={"min_rows": 5})
    assert asked(patient, settings, between(0, 4), moment(20))[0] == []
    monkeypatch.setattr(source_functions, "small_rows", lambda: small_rows(wind=[0.5] * 80))
    calls, found = asked(python_spec(), settings, between(0, 5), moment(20))
    assert calls == [(moment(4), moment(5)), (moment(0), moment(5))]
    assert found == ids(0, 5)


def test_a_kept_day_that_is_damaged_is_read_again(settings: Settings) -> None:
    spec = python_spec()
    asked(spec, settings, between(0, 4), moment(20))
    days = sorted(Partitions(spec, settings.lake).folder.glob("*.parquet"))
    assert [day.stem for day in days] == ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"]
    days[1].write_bytes(days[1].read_bytes()[:100])
    assert asked(spec, settings, between(0, 4), moment(20)) == ([(moment(1), moment(2))], ids(0, 4))
    content = bytearray(days[2].read_bytes())
    content[60] ^= 0xFF
    days[2].write_bytes(content)
    with pytest.raises(SnapshotStoreError, match=r"2024-01-03\.parquet is damaged") as caught:
        asked(spec, settings, between(0, 4), moment(20))
    assert isinstance(caught.value, TransientError)
    assert asked(spec, settings, between(0, 4), moment(20)) == ([(moment(2), moment(3))], ids(0, 4))


def test_a_source_that_dies_half_way_leaves_nothing_that_looks_whole(settings: Settings) -> None:
    with pytest.raises(SourceUnavailableError, match="connection reset by peer"):
        take_snapshot(python_spec("breaks_off"), moment(8), settings)
    left = [file for file in settings.lake.rglob("*") if file.is_file()]
    assert left == []


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow past a size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("late", [None, "1d"], ids=["in place", "kept days"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, late: str | None) -> None:
    rows = small_rows(per_day=3000, temp=[float(n * 7919 % 30_011) for n in range(30_000)])
    file = write_rows(tmp_path / "rows.parquet", rows)
    spec = small_spec(file, source={"path": str(file), "late": late})
    settings = settings_in(tmp_path)
    with largest_file(4000), pytest.raises(LakeFullError) as caught:
        take_snapshot(spec, moment(8), settings)
    assert "no space is left in" in caught.value.problem
    assert "free some space" in caught.value.advice
    assert [left for left in settings.lake.rglob("*") if left.is_file()] == []
    assert take_snapshot(spec, moment(8), settings).rows == 18_000


@pytest.mark.parametrize("late", [None, "1d"], ids=["in place", "kept days"])
def test_rows_go_into_a_snapshot_a_bounded_number_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str | None
) -> None:
    # How much memory ten million rows take is measured by the benchmark `data`.
    file = tmp_path / "rows.parquet"
    with duckdb.connect() as duck:
        duck.execute(
            "COPY (SELECT i AS id, TIMESTAMPTZ '2024-01-02 00:00:00+00' + to_seconds(i * 7919 % 500000) AS at, "
            "i * 1.0 AS temp, i AS wind, 'AA' AS carrier, i % 2 AS late "
            f"FROM range(450000) AS r(i)) TO '{file}'"
        )
    sizes: list[int] = []

    def counted(tables: Iterator[pa.Table], *rest: Any) -> Any:
        def each() -> Iterator[pa.Table]:
            for table in tables:
                sizes.append(table.num_rows)
                yield table

        return write_by_content(each(), *rest)

    monkeypatch.setattr(snapshot, "write_by_content", counted)
    spec = small_spec(file, source={"path": str(file), "late": late})
    taken = take_snapshot(spec, moment(8), settings_in(tmp_path))
    written = pq.ParquetFile(tmp_path / "home" / "lake" / taken.path).metadata
    assert (taken.rows, max(sizes) <= 100_000) == (450_000, True)
    assert [written.row_group(n).num_rows for n in range(written.num_row_groups)] == [100_000] * 4 + [50_000]
    # What a scan needs to leave out row groups: sorted by time, with the lowest and highest of each.
    assert [column.column_index for column in written.row_group(0).sorting_columns] == [1, 0]
    times = [written.row_group(n).column(1).statistics for n in range(5)]
    assert all(a.max <= b.min for a, b in itertools.pairwise(times))
    assert {written.row_group(0).column(n).compression for n in range(6)} == {"ZSTD"}


def test_what_killed_processes_left_is_swept_away_after_days(settings: Settings) -> None:
    spec = python_spec()
    left = [
        settings.lake / ".evermodel-killed" / "spilled",
        settings.lake / "snapshots" / "small" / ".killed.tmp",
        Partitions(spec, settings.lake).folder / ".killed" / "half.parquet",
    ]
    for age, there in ((86_400, True), (3 * 86_400, False)):
        for file in left:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            for path in (file, file.parent):
                os.utime(path, (time.time() - age, time.time() - age))
        take_snapshot(spec, moment(8), settings)
        assert [file.exists() for file in left] == [there] * 3


def test_fields_of_later_releases_change_no_key_until_they_are_set() -> None:
    plain = small_spec("", source={"path": "orders.parquet"}).source
    named = small_spec("", source={"path": "orders.parquet", "upstream": "shop"}).source
    earlier = {"complete", "encoding", "kind", "late", "path", "query", "tables", "text"}
    assert plain.content.keys() == earlier
    assert plain.content == named.content
