"""A snapshot is named by its content, holds nothing that was not known yet, and is there whole or not at all."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from evermodel.core.errors import EmptyWindowError, SourceError
from evermodel.core.settings import Settings
from evermodel.data.snapshots.dvc import SnapshotStore
from evermodel.data.snapshots.snapshot import read_snapshot, take_snapshot
from evermodel.spec import ModelSpec
from support.small_model import between, moment, settings_in, small_rows, small_spec, write_rows


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return small_spec(write_rows(tmp_path / "rows.parquet"))


@pytest.fixture
def without_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out DVC, which has tests of its own, where many snapshots are taken."""
    monkeypatch.setattr(SnapshotStore, "track", lambda self, file: "")


def files_in(settings: Settings) -> list[str]:
    return sorted(file.name for file in (settings.lake / "snapshots" / "small").iterdir())


def test_a_snapshot_holds_the_window_and_says_so(spec: ModelSpec, settings: Settings) -> None:
    taken = take_snapshot(spec, moment(8), settings)
    table = read_snapshot(taken.path, settings)
    # Six days that end one day, the delay of the label, before the moment.
    assert taken.window == between(1, 7)
    assert (taken.rows, table.num_rows) == (48, 48)
    assert table.column_names == spec.columns
    assert (table["at"][0].as_py(), table["at"][-1].as_py()) == (moment(1), moment(7 - 1 / 8))
    assert table.schema.field("late").type == pa.int8()
    assert taken.to_json()["path"] == taken.path


def test_the_name_is_the_content_and_the_same_data_gives_the_same_bytes(
    spec: ModelSpec, settings: Settings
) -> None:
    first = take_snapshot(spec, moment(8), settings)
    file = settings.lake / first.path
    content = file.read_bytes()
    assert first.digest == file.stem == hashlib.sha256(content).hexdigest()[:16]
    assert first.md5 == hashlib.md5(content).hexdigest()
    write_rows(Path(spec.source.path), small_rows().take(list(reversed(range(80)))))
    assert take_snapshot(spec, moment(8), settings) == first
    assert file.read_bytes() == content
    assert files_in(settings) == [file.name, f"{file.name}.dvc"]
    write_rows(Path(spec.source.path), small_rows(wind=[9] * 80))
    other = take_snapshot(spec, moment(8), settings)
    assert (other.digest != first.digest, other.md5 != first.md5) == (True, True)
    assert file.read_bytes() == content


@pytest.mark.usefixtures("without_dvc")
@pytest.mark.parametrize("error", [OSError("unplugged"), KeyboardInterrupt()])
def test_an_interrupted_writer_leaves_no_file(
    spec: ModelSpec, settings: Settings, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    class Interrupted(pq.ParquetWriter):  # type: ignore[misc]
        def close(self) -> None:
            super().close()
            raise error

    with monkeypatch.context() as broken:
        broken.setattr(pq, "ParquetWriter", Interrupted)
        with pytest.raises(type(error)):
            take_snapshot(spec, moment(8), settings)
    assert files_in(settings) == []
    assert take_snapshot(spec, moment(8), settings).rows == 48


@pytest.mark.usefixtures("without_dvc")
def test_a_snapshot_that_was_damaged_is_written_again(spec: ModelSpec, settings: Settings) -> None:
    taken = take_snapshot(spec, moment(8), settings)
    (settings.lake / taken.path).write_bytes(b"damaged")
    assert take_snapshot(spec, moment(8), settings) == taken
    assert read_snapshot(taken.path, settings).num_rows == 48


@pytest.mark.usefixtures("without_dvc")
@pytest.mark.parametrize(
    "label",
    [
        [n % 2 for n in range(80)],
        [n % 2 == 1 for n in range(80)],
        [float(n % 2) for n in range(80)],
        [str(n % 2) for n in range(80)],
        pa.array([n % 2 for n in range(80)], pa.uint64()),
    ],
    ids=["0/1", "boolean", "float", "text", "unsigned"],
)
def test_a_label_of_two_values_becomes_0_and_1(settings: Settings, tmp_path: Path, label: Any) -> None:
    spec = small_spec(write_rows(tmp_path / "rows.parquet", small_rows(late=label)))
    taken = take_snapshot(spec, moment(8), settings)
    assert read_snapshot(taken.path, settings)["late"].to_pylist() == [0, 1] * 24


@pytest.mark.usefixtures("without_dvc")
@pytest.mark.parametrize(
    ("label", "found"),
    [
        ([n % 3 for n in range(80)], "2"),
        ([0.5] * 80, "0.5"),
        (["yes", "no"] * 40, "'yes'"),
        ([float("nan"), 1.0] * 40, "nan"),
        ([moment(0)] * 80, "2024"),
        ([-1, 1] * 40, "-1"),
    ],
    ids=["three", "half", "words", "nan", "times", "minus one"],
)
def test_any_other_label_is_refused_with_what_it_holds(
    settings: Settings, tmp_path: Path, label: Any, found: str
) -> None:
    spec = small_spec(write_rows(tmp_path / "rows.parquet", small_rows(late=label)))
    with pytest.raises(SourceError, match="the label late is not 0/1 or true/false; it holds") as caught:
        take_snapshot(spec, moment(8), settings)
    assert found in caught.value.problem
    assert "source.query" in caught.value.advice
    assert not (settings.lake / "snapshots").exists()


@pytest.mark.usefixtures("without_dvc")
def test_rows_without_a_label_are_left_out(settings: Settings, tmp_path: Path) -> None:
    labels = [None if n % 4 == 0 else n % 2 for n in range(80)]
    spec = small_spec(write_rows(tmp_path / "rows.parquet", small_rows(late=labels)))
    taken = take_snapshot(spec, moment(8), settings)
    assert taken.rows == 36
    assert read_snapshot(taken.path, settings)["late"].null_count == 0


def test_an_empty_window_is_told_with_its_dates(spec: ModelSpec, settings: Settings) -> None:
    with pytest.raises(EmptyWindowError, match="no row in 2024-02-03 00:00 to 2024-02-09 00:00 UTC"):
        take_snapshot(spec, moment(40), settings)
    assert not (settings.lake / "snapshots").exists()


@pytest.mark.usefixtures("without_dvc")
def test_a_window_where_no_label_is_known_yet_is_empty_too(settings: Settings, tmp_path: Path) -> None:
    spec = small_spec(write_rows(tmp_path / "rows.parquet", small_rows(late=pa.nulls(80, pa.int8()))))
    with pytest.raises(EmptyWindowError, match="no labeled row"):
        take_snapshot(spec, moment(8), settings)


@pytest.mark.usefixtures("without_dvc")
def test_an_interval_of_a_snapshot_is_half_open(spec: ModelSpec, settings: Settings) -> None:
    taken = take_snapshot(spec, moment(8), settings)
    part = read_snapshot(taken.path, settings, between(2, 3), "at")
    assert (part["at"][0].as_py(), part["at"][-1].as_py()) == (moment(2), moment(3 - 1 / 8))
    assert read_snapshot(taken.path, settings, between(7, 9), "at").num_rows == 0


@example_settings(max_examples=25, deadline=None, derandomize=True)
@given(
    hours=st.integers(0, 24 * 14),
    delay=st.integers(0, 72),
    total=st.tuples(st.integers(1, 60), st.integers(1, 30), st.integers(1, 30)),
)
def test_nothing_later_than_what_was_known_is_ever_in_a_snapshot(
    tmp_path_factory: pytest.TempPathFactory, hours: int, delay: int, total: tuple[int, int, int]
) -> None:
    folder = tmp_path_factory.mktemp("snapshots")
    as_of = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
    spec = small_spec(
        write_rows(folder / "rows.parquet"),
        label={"column": "late", "delay": f"{delay}h"},
        split=dict(zip(("train", "validation", "test"), (f"{part}h" for part in total), strict=True)),
    )
    end, length = as_of - timedelta(hours=delay), timedelta(hours=sum(total))
    expected = [t for t in small_rows()["at"].to_pylist() if end - length <= t < end]
    with patch.object(SnapshotStore, "track", return_value=""):
        if not expected:
            with pytest.raises(EmptyWindowError):
                take_snapshot(spec, as_of, settings_in(folder))
            return
        taken = take_snapshot(spec, as_of, settings_in(folder))
    times = read_snapshot(taken.path, settings_in(folder))["at"].to_pylist()
    assert times == expected
    assert times[-1] < taken.window.end <= as_of - spec.label.delay
