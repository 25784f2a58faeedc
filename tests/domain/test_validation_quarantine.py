"""Bad rows go aside with their reasons, the rest is the run's snapshot, and every run keeps its report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from evermodel.core.errors import ValidationError
from evermodel.data.validation import validate
from evermodel.data.validation.quarantine import REASON, clean_snapshot, quarantine, reasons_in
from evermodel.pipelines.validate import PAGE_FILE, PROFILE_FILE, REPORT_FILE, SCHEMA_FILE
from evermodel.registry.tracking import read_json
from support.flights import World
from support.small_model import small_rows, small_spec, write_rows

NAN, INF = float("nan"), float("inf")


def test_each_row_goes_to_one_side_with_all_its_reasons(tmp_path: Path) -> None:
    temp = [INF, 900.0, NAN, None] + [1.0] * 76
    wind = [3, 99] + [3] * 78
    file = write_rows(tmp_path / "snapshot.parquet", small_rows(temp=temp, wind=wind))
    spec = small_spec("unused", validation={"min_rows": 1, "ranges": {"temp": [0, 60], "wind": [0, 50]}})
    found = validate(spec, file)
    assert found.report.set_aside == 2

    held = tmp_path / "aside.parquet"
    assert [quarantine(file, found.rules, held) for _ in range(2)] == [2, 2]
    first, second = (clean_snapshot(file, found.rules, ("at", "id")) for _ in range(2))

    assert first == second
    aside = pq.read_table(held)
    assert dict(zip(aside["id"].to_pylist(), aside[REASON].to_pylist(), strict=True)) == {
        "r00000": "infinite values in temp; values of temp outside 0.0 to 60.0",
        "r00001": "values of temp outside 0.0 to 60.0; values of wind outside 0.0 to 50.0",
    }
    assert {(found.rows, found.ids) for found in reasons_in(held, "at", "id")} == {
        (1, ("r00000",)),
        (1, ("r00001",)),
    }
    before, clean = pq.read_table(file), pq.read_table(first[0])
    assert repr(clean.to_pylist()) == repr(before.slice(2).to_pylist())  # not-a-number equals nothing
    assert clean.schema.equals(before.schema)
    assert (first[0].name != file.name, first[1]) == (True, 78)
    assert not list(tmp_path.glob("*.tmp"))


def break_rows(world: World, every: int) -> None:
    """Make every so many of the source's temperatures what a broken sensor says."""
    file = Path(world.spec.source.path)
    table = pq.read_table(file)
    bad = pa.array([n % every == 0 for n in range(table.num_rows)])
    column = table.column_names.index("temp")
    broken = pc.if_else(bad, 9999.0, table["temp"])
    file.unlink()  # it is a link to the sample
    pq.write_table(table.set_column(column, "temp", broken), file)


def test_a_run_goes_on_without_the_rows_set_aside_and_names_what_it_trained_on(world: World) -> None:
    first = world.retrain("2013-03-11")
    assert first.validate(first.extract()).report.verdict == "passed"
    break_rows(world, 50)

    version = world.client.get_model_version(world.name, world.champion("2013-03-25"))

    run = world.retrain("2013-03-25").mlflow_run()
    tags = run.data.tags
    kept = pq.read_table(world.settings.lake / tags["evermodel.snapshot"])
    (path,) = re.findall(r"path='([^']+)'", tags["evermodel.snapshot_extracted"])
    extracted = pq.read_table(world.settings.lake / path)
    aside = pq.read_table(world.settings.lake / tags["evermodel.quarantine"])
    assert tags["evermodel.validation"] == "quarantined"
    assert kept.num_rows + aside.num_rows == extracted.num_rows
    assert set(aside["temp"].to_pylist()) == {9999.0}
    assert version.tags["evermodel.snapshot"] == tags["evermodel.snapshot"]
    assert version.tags["evermodel.snapshot_md5"] == tags["evermodel.snapshot_md5"]
    assert read_json(world.client, run.info.run_id, REPORT_FILE)["set_aside"] == aside.num_rows
    profile = read_json(world.client, run.info.run_id, PROFILE_FILE)
    assert profile["rows"] == kept.num_rows
    assert profile["columns"]["temp"]["high"] < 100


def test_a_run_that_fails_says_why_with_examples_and_keeps_its_report(world: World) -> None:
    first = world.retrain("2013-03-11")
    first.validate(first.extract())
    break_rows(world, 2)

    second = world.retrain("2013-03-25")
    with pytest.raises(ValidationError, match=r"9999\.0' in row") as caught:
        second.validate(second.extract())

    run = second.mlflow_run()
    files = {file.path for file in world.client.list_artifacts(run.info.run_id)}
    assert run.data.tags["evermodel.validation"] == "failed"
    assert {REPORT_FILE, PAGE_FILE} <= files
    assert PROFILE_FILE not in files
    assert PAGE_FILE in caught.value.advice
    # The next one is held against the last good run, not against this one.
    third = world.retrain("2013-04-08")
    with pytest.raises(ValidationError):
        third.validate(third.extract())
    report = read_json(world.client, third.mlflow_run().info.run_id, REPORT_FILE)
    assert "2013-03-11" in report["against"]


def test_the_first_good_run_writes_the_schema_file_beside_the_spec_and_passes_again(world: World) -> None:
    retrain = world.retrain("2013-03-11")
    snapshot = retrain.extract()
    first, second = (retrain.validate(snapshot) for _ in range(2))

    file = world.settings.models / f"{world.name}.schema.yaml"
    files = {f.path for f in world.client.list_artifacts(retrain.mlflow_run().info.run_id)}
    assert first.report.schema == second.report.schema == str(file)
    assert first.snapshot == second.snapshot == snapshot
    assert (first.report.verdict, second.report.verdict) == ("passed", "passed")
    assert len(second.report.checks) > len(first.report.checks)
    assert {REPORT_FILE, PAGE_FILE, PROFILE_FILE, SCHEMA_FILE} <= files
    assert json.dumps(second.report.to_json())
    # What was as of an earlier day is not held against it.
    earlier = world.retrain("2013-03-04")
    assert earlier.validate(earlier.extract()).report.against == ""
