"""The whole loop with the lake in a bucket: half of it on one machine, half on another, and no folder between them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.core.settings import Settings
from evermodel.core.storage import BucketPath, path_in, readable
from evermodel.data.snapshots.dvc import file_md5
from evermodel.modeling.scoring.day import score_day
from evermodel.pipelines.drift import DriftRun
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tracking import find_run
from evermodel.spec.window import parse_moment
from support.flights import FAST, World, flights_world
from support.object_stores import new_s3_bucket, s3_environment
from support.prediction_logs import log_files

pytest.importorskip("dvc_s3", reason="the extra s3 is not installed")
pytestmark = pytest.mark.integration
TRAILING = {"kind": "trailing", "span": "3d"}
FIRST, SECOND, DAY = "2013-03-11", "2013-03-18", "2013-03-25"


@pytest.fixture(scope="module")
def machines(
    s3_endpoint: str, mlflow_store: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, World]]:
    """Two machines with one registry and one bucket; the first has trained two versions and scored two weeks."""
    lake = new_s3_bucket(s3_endpoint) / "lake"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_environment(s3_endpoint).items():
            patch.setenv(name, value)
        here = _on_bucket(flights_world(tmp_path_factory.mktemp("here"), mlflow_store), lake)
        here.change(source={"late": "1d"}, candidates=[FAST], drift={"reference": TRAILING})
        here.champion(FIRST)
        here.champion(SECOND)
        for day in range(10):
            score_day(here.spec, parse_moment(DAY) - timedelta(days=day), here.client, here.settings)
        there = _on_bucket(flights_world(tmp_path_factory.mktemp("there"), mlflow_store, here.name), lake)
        shutil.copy(here.spec_file, there.spec_file)  # as git does
        for name, value in there.environment.items():
            patch.setenv(name, value)
        yield here, there


def _on_bucket(world: World, lake: BucketPath) -> World:
    settings = world.settings.model_copy(update={"lake": lake, "dvc_remote": f"{lake}/dvc"})
    places = {"EVERMODEL_LAKE": str(lake), "EVERMODEL_DVC_REMOTE": f"{lake}/dvc"}
    return replace(world, settings=settings, environment={**world.environment, **places})


def _run(*arguments: str) -> Any:
    told = CliRunner().invoke(app, [*arguments, "--json"])
    assert told.exit_code == 0, told.output
    return json.loads(told.stdout)


def _paths(lake: BucketPath, folder: str) -> list[str]:
    return sorted(path_in(lake, file) for file in (lake / folder).rglob("*"))


def test_what_is_shared_is_in_the_bucket_and_nothing_on_the_machines_disk(
    machines: tuple[World, World],
) -> None:
    here, _ = machines
    lake = here.settings.lake
    assert isinstance(lake, BucketPath)
    days = [file.parent.parent.name for file in log_files(lake, here.name)]
    assert days == [f"date=2013-03-{day}" for day in range(15, 25)]
    assert len(_paths(lake, f"partitions/{here.name}")) > 40
    pointers = _paths(lake, "snapshots")
    assert [Path(path).suffix for path in pointers] == [".dvc", ".dvc"]
    contents = _paths(lake, "dvc/files/md5")
    assert len(contents) == 2
    assert list(here.settings.home.rglob("*.parquet")) == []
    assert not (here.folder / "lake").exists()


def test_another_machine_judges_and_a_folder_with_the_same_objects_gives_the_same_verdict(
    machines: tuple[World, World], tmp_path: Path
) -> None:
    here, there = machines
    moment = parse_moment(DAY)
    found = DriftRun(there.spec, moment, there.client, there.settings).judge()
    lake = there.settings.lake
    assert isinstance(lake, BucketPath)
    assert (found.version, found.window_rows > 100) == ("2", True)
    assert found.performance.rows > 0
    assert len(log_files(lake, here.name, "labels")) == 1
    assert f"promises/{here.name}/version=2.parquet" in _paths(lake, "promises")
    assert len(_paths(lake, f"profiles/{here.name}")) >= 3
    for file in lake.rglob("*"):
        if not path_in(lake, file).startswith(("profiles", "promises", "labels")):
            target = tmp_path / "lake" / path_in(lake, file)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.download(target)
    folder = there.settings.model_copy(
        update={"lake": tmp_path / "lake", "dvc_remote": str(tmp_path / "lake" / "dvc")}
    )
    assert DriftRun(there.spec, moment, there.client, folder).judge() == found


def test_another_machine_rolls_back_reproduces_and_restores(
    machines: tuple[World, World], tmp_path: Path
) -> None:
    _, there = machines
    _run("rollback", there.name, "--reason", "test")
    assert ModelRegistry(there.client).read(there.name).champion == "1"
    found = _run("reproduce", there.name, "2")
    assert (found["identical"], found["rows"] > 100, found["snapshot_from"]) == (True, True, "dvc")
    md5 = there.client.get_model_version(there.name, "1").tags["evermodel.snapshot_md5"]
    restored = _run("data", "checkout", there.name, "champion", "--to", str(tmp_path / "rows.parquet"))
    assert (restored["md5"], file_md5(tmp_path / "rows.parquet")) == (md5, md5)
    lines = _run("data", "list", there.name)
    assert [(line["versions"], line["here"]) for line in lines] == [(["1"], True), (["2"], True)]
    assert lines[0]["rows"] > 1000
    assert _run("data", "schema", there.name, "--refresh")["columns"] > 5


def test_dvc_alone_brings_a_snapshot_to_a_machine_that_has_only_the_pointer(
    machines: tuple[World, World], tmp_path: Path
) -> None:
    from dvc.repo import Repo

    here, _ = machines
    tags = here.client.get_model_version(here.name, "2").tags
    run = find_run(here.client, here.name, tags["evermodel.run_key"], kind="retrain")
    assert run is not None
    name = f"{Path(tags['evermodel.snapshot']).name}.dvc"
    pointer = Path(here.client.download_artifacts(run.info.run_id, name, str(tmp_path)))
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        with repo.config.edit() as config:
            config["core"]["remote"] = "lake"
            config["remote"]["lake"] = {"url": here.settings.dvc_remote}
        repo.pull()
    file = tmp_path / pointer.name.removesuffix(".dvc")
    assert file_md5(file) == tags["evermodel.snapshot_md5"]


def test_doctor_checks_the_bucket(machines: tuple[World, World], monkeypatch: pytest.MonkeyPatch) -> None:
    from evermodel.cli.diagnostics.basics import check_lake
    from evermodel.cli.diagnostics.remote import check_remote

    _, there = machines
    lake, home = check_lake(there.settings)
    assert (lake.level, home.level) == ("green", "green")
    assert "conditional writes hold" in lake.said
    assert [found.level for found in check_remote(there.settings)] == ["green"]
    assert isinstance(there.settings.lake, BucketPath)
    assert list((there.settings.lake / ".doctor").glob("*")) == []
    missing = there.settings.model_copy(update={"lake": BucketPath("s3", "nobody-made-this-one")})
    assert "there is no bucket" in next(check_lake(missing)).said
    monkeypatch.setattr(BucketPath, "create", BucketPath.write_bytes)
    assert "ignores the conditions" in next(check_lake(there.settings)).said


def test_a_day_of_the_log_is_read_by_its_columns(machines: tuple[World, World]) -> None:
    here, _ = machines
    assert isinstance(here.settings.lake, BucketPath)
    file = log_files(here.settings.lake, here.name)[-1]
    assert pq.ParquetFile(readable(file)).metadata.num_rows > 10


def test_settings_of_the_environment_name_the_bucket(machines: tuple[World, World]) -> None:
    _, there = machines
    assert Settings.from_environment().lake == there.settings.lake
