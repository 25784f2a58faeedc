"""Tables by day in the lake: each row counts once, whoever writes at the same time, is killed, or comes again."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from evermodel.core.atomic import replacing
from evermodel.core.errors import NewerFormatError, SpecError, StorageError, StorageUnavailableError
from evermodel.core.storage import StoragePath
from evermodel.data import day_table
from evermodel.data.delta_log import Change, TableState
from support.day_tables import DAY, appended, ids, kinds, opened, replaced, rows, table_of, written
from support.object_stores import new_s3_bucket, s3_environment
from support.paths import PROJECT
from support.small_model import moment


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoragePath:
    if request.param == "folder":
        return tmp_path / "the lake"
    endpoint = request.getfixturevalue("s3_endpoint")
    for name, value in s3_environment(endpoint).items():
        monkeypatch.setenv(name, value)
    return new_s3_bucket(endpoint) / "lake"


def test_a_day_that_is_written_again_replaces_its_own_source_s_rows_in_one_commit(lake: StoragePath) -> None:
    table = table_of(lake)
    replaced(table, "a", "b")
    replaced(table, "x", day=date(2024, 1, 4))
    online = written(table, rows("o"), "online")
    appended(table, online)
    version = opened(table).version()
    replaced(table, "a", "c")
    assert ids(lake) == ["a", "c", "o", "x"]
    assert opened(table).version() == version + 1
    assert [(file.day.day, file.source) for file in table.files()] == [
        (3, "batch"),
        (3, "online"),
        (4, "batch"),
    ]
    assert [file.day.day for file in table.files(date(2024, 1, 4), date(2024, 1, 9))] == [4]


def test_an_append_that_is_repeated_counts_once_even_after_its_file_is_compacted(lake: StoragePath) -> None:
    table = table_of(lake)
    file = written(table, rows("a"), "online")
    appended(table, file)
    appended(table, file)
    assert (ids(lake), opened(table).transaction_version("host")) == (["a"], 1)
    table.replace(written(table, rows("a"), "online"), rows("a").schema)
    appended(table, file)
    assert ids(lake) == ["a"]
    appended(table, written(table, rows("b"), "online"), number=2)
    assert ids(lake) == ["a", "b"]
    assert [note.name for note in (table.root / "_pending").glob("*")] == []


def test_columns_come_and_go_and_a_type_that_changes_is_an_error(
    lake: StoragePath, caplog: pytest.LogCaptureFixture
) -> None:
    table = table_of(lake)
    replaced(table, "a")
    wider = rows("b", wind=1.5)
    appended(table, written(table, wider, "online"))
    replaced(table, "c", day=date(2024, 1, 4))
    assert table.columns().names == ["prediction_id", "event_time", "date", "source", "wind"]
    found = opened(table).to_pyarrow_table(columns=["prediction_id", "wind", "date", "source"])
    assert found.sort_by("prediction_id").to_pylist() == [
        {"prediction_id": "a", "wind": None, "date": DAY, "source": "batch"},
        {"prediction_id": "b", "wind": 1.5, "date": DAY, "source": "online"},
        {"prediction_id": "c", "wind": None, "date": date(2024, 1, 4), "source": "batch"},
    ]
    text = rows("d", wind="strong")
    with pytest.raises(SpecError, match="column wind is double in the table and string in the new rows"):
        table.replace(written(table, text), text.schema)
    other = written(table, rows("e"), "online")
    table.announce(other.entry(table.root), kinds(rows("e").schema), "host", 3)
    appended(table, written(table, text, "online"), number=2)
    assert "event=log_file_refused" in caplog.text
    assert [note.name for note in (table.root / "_pending").glob("*")] == ["host-000000002.refused"]
    assert ids(lake) == ["a", "b", "c", "e"]


def test_a_plain_folder_reads_as_it_is_and_is_taken_over_without_a_copy(lake: StoragePath) -> None:
    table = table_of(lake)
    folder = table.root / "date=2024-01-03"
    plain = {
        "batch": rows("a", temp=1.0),
        "online-17-0123": rows("o", "p"),
        ".online-9-4567": rows("half"),
    }
    for name, content in plain.items():
        with replacing(folder / f"{name}.parquet") as temporary:
            pq.write_table(content, temporary)
    with replacing(table.root / "date=2024-01-05" / "batch.parquet") as temporary:
        temporary.write_bytes(b"PAR1 half")
    before = [file.path for file in table.files()]
    assert [file.day.day for file in table.files(date(2024, 1, 4), date(2024, 1, 9))] == [5]
    replaced(table, "x", day=date(2024, 1, 4))
    assert [file.path for file in table.files() if "source=" not in str(file.path)] == before
    assert table.columns().names[:4] == ["prediction_id", "event_time", "temp", "date"]
    added = pa.table(opened(table).get_add_actions(flatten=True)).to_pylist()
    counted = {action["path"]: action["num_records"] for action in added}
    assert counted["date=2024-01-03/online-17-0123.parquet"] == 2
    replaced(table, "z")
    replaced(table, "y", day=date(2024, 1, 5))
    assert ids(lake) == ["o", "p", "x", "y", "z"]


def test_engines_know_rows_and_bounds_of_each_file(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    content = rows("b", "a")
    late = content.set_column(
        1, "event_time", pa.array([moment(2.5), moment(2.5000001)], pa.timestamp("us", tz="UTC"))
    )
    table.replace(written(table, late), late.schema)
    (action,) = pa.table(opened(table).get_add_actions(flatten=True)).to_pylist()
    assert action["num_records"] == 2
    assert (action["min.prediction_id"], action["max.prediction_id"]) == ("a", "b")
    assert action["min.event_time"] <= moment(2.5)
    assert action["max.event_time"] >= late["event_time"][1].as_py()
    assert (action["max.event_time"] - moment(2.5)).total_seconds() < 0.02


@pytest.mark.slow
def test_four_writers_at_once_lose_and_double_nothing(lake: StoragePath) -> None:
    table, commits = table_of(lake), 3

    def write(writer: int) -> None:
        for number in range(1, commits + 1):
            name = f"{writer}-{number}"
            wider = rows(name, **{f"feature_{writer}": 0.5})
            appended(table, written(table, wider, "online"), f"host{writer}", number)
            replaced(table, "same", f"b-{name}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    found = Counter(ids(lake))
    assert set(found.values()) == {1}
    assert {f"{writer}-{number}" for writer in range(4) for number in range(1, commits + 1)} < set(found)
    assert len([name for name in found if name.startswith("b-")]) == 1
    assert opened(table).to_pyarrow_dataset().count_rows() == 4 * commits + 2


def test_writers_that_are_always_faster_are_an_error_to_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(tmp_path)
    replaced(table, "a")
    monkeypatch.setattr(day_table, "_TRIES", 2)
    monkeypatch.setattr(day_table, "_LONGEST_WAIT", 0.0)
    commit = day_table.write_version

    def outrun(state: TableState, change: Change) -> None:
        other = Change(
            [written(table, rows("other")).entry(table.root)], state.files, {"batch/2024-01-03": 1}
        )
        commit(TableState(state.root, DeltaTable(str(state.root))), other)
        commit(state, change)

    monkeypatch.setattr(day_table, "write_version", outrun)
    with pytest.raises(StorageUnavailableError, match="during each of 2 attempts"):
        replaced(table, "b")


def test_a_commit_whose_answer_was_lost_is_not_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deltalake.exceptions import CommitFailedError

    table, commit, left = table_of(tmp_path), day_table.write_version, [True, True]
    replaced(table, "a")

    def cut(state: TableState, change: Change) -> None:
        commit(state, change)
        if left:
            left.pop()
            raise CommitFailedError("cut")

    monkeypatch.setattr(day_table, "write_version", cut)
    replaced(table, "b")
    appended(table, written(table, rows("o"), "online"))
    assert (ids(tmp_path), left) == (["b", "o"], [])
    assert DeltaTable(str(table.root)).version() == 3


def test_a_table_with_features_of_another_program_and_a_damaged_log_are_named(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    replaced(table, "a")
    entry = table.root / "_delta_log" / "00000000000000000002.json"
    entry.write_text(
        '{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["invented"],"writerFeatures":["invented"]}}\n'
    )
    with pytest.raises((NewerFormatError, StorageUnavailableError), match="invented"):
        replaced(table, "b")


def test_without_deltalake_files_are_announced_and_whoever_reads_next_commits_them(
    lake: StoragePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(lake)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "deltalake", None)
        for number in (1, 2):
            file = written(table, rows(f"o-{number}"), "online")
            table.announce(file.entry(table.root), kinds(rows("o").schema), "thin", number)
    assert not table.exists()
    assert ids(lake) == ["o-1", "o-2"]
    assert opened(table).version() == 1
    assert list((table.root / "_pending").glob("*")) == []


def test_a_process_forked_from_one_that_uses_a_table_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evermodel.core.storage import client

    table = table_of(tmp_path)
    replaced(table, "a")
    monkeypatch.setattr(client, "_used_in", {1})
    with pytest.raises(StorageError, match="forked from one that already uses a table"):
        table.files()


def test_duckdb_counts_what_deltalake_counts(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    replaced(table, "a", "b")
    replaced(table, "a", "c", "d")
    with duckdb.connect() as database:
        database.register("log", DeltaTable(str(table.root)).to_pyarrow_dataset())
        found = database.sql("SELECT prediction_id, source, date FROM log ORDER BY ALL").fetchall()
    assert found == [(name, "batch", DAY) for name in "acd"]


KILLED = """
import os, random, signal, sys, time
from datetime import date
from pathlib import Path

import deltalake, deltalake.transaction, pyarrow.parquet
from support.day_tables import appended, replaced, rows, table_of, written
from evermodel.data.table_file import TableFile

lake, kills = Path(sys.argv[1]), int(sys.argv[2])
table, done = table_of(lake), lake / "done"


def work(begun):
    while True:
        number = int(done.read_text()) + 1 if done.exists() else 1
        replaced(table, "batch-3")
        content = rows(f"online-{number}")
        file = TableFile.new(table.root, date(2024, 1, 3), "online", f"online-{number}.parquet")
        file.path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(content, file.path)
        appended(table, file, number=number)
        temporary = done.with_suffix(".tmp")
        temporary.write_text(str(number))
        temporary.replace(done)
        os.write(begun, b".")


lake.mkdir()
draw = random.Random(7)
for _ in range(kills):
    told, begun = os.pipe()
    child = os.fork()  # which costs less than the imports of a new process
    if child == 0:
        work(begun)
    os.read(told, 1)
    time.sleep(draw.uniform(0.0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.mark.slow
def test_killed_at_random_instants_every_row_is_there_once(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    path = f"{PROJECT}:{PROJECT / 'tests'}"
    subprocess.run(
        [sys.executable, "-c", KILLED, str(lake), "8"], check=True, env={"PYTHONPATH": path}, timeout=120
    )
    table, number = table_of(lake), int((lake / "done").read_text())
    found = Counter(ids(lake))
    assert set(found.values()) == {1}
    online = {name for name in found if name.startswith("online")}
    assert {f"online-{n}" for n in range(1, number + 1)} <= online
    assert online <= {f"online-{n}" for n in range(1, number + 2)}
    assert number > 3
    assert "batch-3" in found
    replaced(table, "again")
    assert Counter(ids(lake))["again"] == 1
