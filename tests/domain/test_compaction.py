"""Upkeep of the prediction log: fewer files with the same rows, days that expire, and litter that is deleted."""

from __future__ import annotations

import json
import os
import time
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.data import compaction
from evermodel.data.compaction import Upkeep, compact
from evermodel.data.day_table import DayTable
from evermodel.data.table_file import TableFile
from support.day_tables import DAY, appended, ids, replaced, rows, table_of, written
from support.prediction_logs import log_rows

TODAY = DAY + timedelta(days=2)


def served(table: DayTable, *names: str, day: date = DAY, **more: object) -> None:
    for name in names:
        appended(table, written(table, rows(name, **more), "online", day), name)


def test_files_of_a_day_are_joined_by_source_and_columns_that_differ_stay(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    replaced(table, "a")
    served(table, "o", "p")
    served(table, "q", wind=1.5)
    served(table, "today", "too", day=TODAY)
    before = log_rows(tmp_path, "m").sort_by("prediction_id")
    assert compact(table, TODAY) == Upkeep(joined=3, made=1, expired=0, deleted=0)
    files = [(file.day, file.source) for file in table.files()]
    assert files == [(DAY, "batch"), (DAY, "online"), (TODAY, "online"), (TODAY, "online")]
    after = log_rows(tmp_path, "m").select(before.column_names).sort_by("prediction_id")
    assert after.to_pylist() == before.to_pylist()
    last = DeltaTable(str(table.root)).history(1)[0]
    assert compact(table, TODAY) == Upkeep(0, 0, 0, 0)
    assert DeltaTable(str(table.root)).to_pyarrow_dataset().count_rows() == 6
    assert last["operation"] in ("WRITE", "VACUUM END")


def test_days_that_are_not_kept_go_and_litter_is_deleted_after_a_week(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    replaced(table, "old")
    replaced(table, "young", day=TODAY)
    orphans = [written(table, rows("never committed")) for _ in range(2)]
    os.utime(orphans[0].path, (time.time() - 8 * 86_400,) * 2)
    assert compact(table, TODAY, keep=timedelta(days=1)) == Upkeep(0, 0, expired=1, deleted=1)
    assert [orphan.path.exists() for orphan in orphans] == [False, True]
    assert ids(tmp_path) == ["young"]


def test_a_day_that_is_scored_while_it_is_joined_stays_as_it_was_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(tmp_path)
    served(table, "o", "p")
    write = compaction.write_file

    def slowly(schema: pa.Schema, target: Path, tables: object) -> None:
        write(schema, target, tables)  # type: ignore[arg-type]
        if target.parent.name == "source=online":
            fresh = TableFile.new(table.root, DAY, "online")
            write(schema, fresh.path, [rows("fresh")])
            table.replace(fresh, rows("fresh").schema)

    monkeypatch.setattr(compaction, "write_file", slowly)
    assert compact(table, TODAY) == Upkeep(0, 0, 0, 0)
    assert ids(tmp_path) == ["fresh"]


def test_without_a_table_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert compact(table_of(tmp_path), TODAY) == Upkeep(0, 0, 0, 0)


def test_the_command_says_what_it_did_to_each_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / "models"
    models.mkdir()
    spec = Path(__file__).parents[2] / "include" / "models" / "flights.yaml"
    (models / "flights.yaml").write_text(spec.read_text())
    for name, value in {"LAKE": tmp_path, "MODELS": models, "HOME": tmp_path / "home"}.items():
        monkeypatch.setenv(f"EVERMODEL_{name}", str(value))
    table = DayTable(tmp_path / "predictions" / "flights")
    served(table, "o", "p")
    told = CliRunner().invoke(app, ["data", "compact", "flights", "--keep-days", "100000", "--json"])
    assert told.exit_code == 0, told.output
    none = {"joined": 0, "made": 0, "expired": 0, "deleted": 0}
    assert json.loads(told.stdout) == {
        "predictions": {**none, "joined": 2, "made": 1},
        "shadow": none,
        "labels": none,
    }
    assert len(table.files()) == 1
