"""`evermodel data`: which version was trained on what, and that very content back, byte for byte."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from evermodel.cli import app
from evermodel.core.errors import PermanentError, SnapshotStoreError
from evermodel.core.settings import Settings
from evermodel.data.snapshots.snapshot import Snapshot, take_snapshot
from evermodel.data.sources.partitions import folder_of
from evermodel.registry.tracking import connect
from support.small_model import moment, settings_in, small_spec, write_rows


@dataclass
class House:
    """A model with two versions, each trained on a snapshot of its own; the second one is the champion."""

    model: str
    settings: Settings
    client: Any
    taken: list[Snapshot]
    content: list[bytes]

    def file(self, number: int) -> Path:
        return self.settings.lake / self.taken[number].path

    def moved(self, folder: Path) -> Settings:
        """The same remote and registry, seen from a machine whose lake is empty."""
        return self.settings.model_copy(update={"home": folder, "lake": folder / "lake"})


@pytest.fixture
def house(mlflow_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    model = f"small_{uuid.uuid4().hex[:8]}"
    settings = settings_in(tmp_path).model_copy(update={"tracking_uri": mlflow_store})
    monkeypatch.setenv("EVERMODEL_HOME", str(settings.home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)
    spec = small_spec(write_rows(tmp_path / "rows.parquet"), name=model)
    taken = [take_snapshot(spec, moment(day), settings) for day in (8, 9)]
    client = connect(mlflow_store)
    client.create_registered_model(model)
    run_info = client.create_run(client.create_experiment(model)).info
    for snapshot, day in zip(taken, (8, 9), strict=True):
        tags = {
            "evermodel.snapshot": snapshot.path,
            "evermodel.snapshot_md5": snapshot.md5,
            "evermodel.as_of": moment(day).isoformat(),
        }
        client.create_model_version(model, run_info.artifact_uri, run_info.run_id, tags=tags)
    client.set_registered_model_alias(model, "champion", "2")
    return House(model, settings, client, taken, [(settings.lake / s.path).read_bytes() for s in taken])


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["data", *words])


def test_the_list_names_every_snapshot_with_its_versions(house: House) -> None:
    house.file(0).unlink()
    lines = {line["path"]: line for line in json.loads(run("list", house.model, "--json").stdout)}
    first, second = (lines[snapshot.path] for snapshot in house.taken)
    assert (first["versions"], first["here"], first["rows"]) == (["1"], False, None)
    assert (second["versions"], second["here"], second["rows"], second["as_of"]) == (
        ["2"],
        True,
        48,
        ["2024-01-10"],
    )
    assert second["md5"] == house.taken[1].md5
    said = run("list", house.model).stdout
    assert f"in the remote: {house.settings.dvc_remote}" in said
    assert "versions: 2 (as of 2024-01-10)" in said


def test_the_lake_is_listed_also_while_the_registry_is_away(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    done = run("list", house.model)
    assert done.exit_code == 0
    assert house.taken[0].path in done.stdout
    assert "versions are unknown" in done.stderr
    assert "no snapshot of none_such" in run("list", "none_such").stdout


def test_a_checkout_brings_back_the_bytes_that_a_version_was_trained_on(house: House, tmp_path: Path) -> None:
    shutil.rmtree(house.settings.lake)
    done = run("checkout", house.model, "1")
    assert done.exit_code == 0, done.output
    assert house.taken[0].md5 in done.stdout
    assert house.file(0).read_bytes() == house.content[0]
    assert not house.file(1).exists()
    (tmp_path / "copies").mkdir()
    for to, copy in ((tmp_path / "copies", house.file(1).name), (tmp_path / "new" / "data.parquet", "")):
        assert run("checkout", house.model, "champion", "--to", str(to)).exit_code == 0
        assert (to / copy).read_bytes() == house.content[1]


def test_what_is_damaged_here_is_brought_again(house: House) -> None:
    md5 = house.taken[0].md5
    cached = house.settings.lake / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    for damaged in ([house.file(0)], [house.file(0), cached]):
        for file in damaged:
            file.chmod(0o644)
            file.write_bytes(b"PAR1 something else")
        assert run("checkout", house.model, "1").exit_code == 0
        assert house.file(0).read_bytes() == house.content[0]


def test_a_remote_that_is_damaged_or_lost_is_no_success(house: House) -> None:
    from evermodel.registry.training_data import checkout

    md5 = house.taken[0].md5
    remote = Path(house.settings.dvc_remote) / "files" / "md5" / md5[:2] / md5[2:]
    shutil.rmtree(house.settings.lake)
    remote.chmod(0o644)
    remote.write_bytes(b"something else")
    with pytest.raises(SnapshotStoreError):
        checkout(house.client, house.model, "1", house.settings)
    assert not house.file(0).exists()
    remote.unlink(missing_ok=True)  # DVC has removed what is damaged in a folder
    with pytest.raises(SnapshotStoreError, match="DVC cannot fetch it"):
        checkout(house.client, house.model, "1", house.settings)


def test_a_version_that_is_none_or_names_no_data_is_told(house: House) -> None:
    from evermodel.registry.training_data import checkout

    first = house.client.get_model_version(house.model, "1")
    house.client.create_model_version(house.model, first.source, first.run_id)
    for version in ("9", "previous"):
        with pytest.raises(PermanentError, match=f"no version or alias {version}") as caught:
            checkout(house.client, house.model, version, house.settings)
        assert "versions with a snapshot: 1, 2" in caught.value.advice
    with pytest.raises(PermanentError, match="lacks lineage"):
        checkout(house.client, house.model, "3", house.settings)


def test_kept_days_can_be_forgotten(house: House) -> None:
    folder = folder_of("small", house.settings.lake) / "key"
    folder.mkdir(parents=True)
    (folder / "2024-01-01.parquet").touch()
    assert "1 days of small removed" in run("forget", "small").stdout
    assert not folder.exists()
    assert house.file(0).exists()
