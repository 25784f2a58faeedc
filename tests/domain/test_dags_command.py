"""`evermodel dags write`: what it writes, what it leaves alone, and what it says."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.core.errors import PermanentError
from support.paths import PROJECT


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / 'the "models"'
    folder.mkdir()
    shutil.copy(PROJECT / "include" / "models" / "flights.yaml", folder)
    monkeypatch.setenv("EVERMODEL_MODELS", str(folder))
    return folder


def write(*words: object) -> str:
    done = CliRunner().invoke(app, ["dags", "write", *map(str, words)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_two_files_that_airflow_reads_and_the_next_step(models: Path, tmp_path: Path) -> None:
    (models / "other.yaml").write_text("name: other\n")
    told = write(tmp_path / "dags")

    files = {file.name: file.read_text() for file in (tmp_path / "dags").iterdir()}
    assert set(files) == {"evermodel_dags.py", "evermodel_broken_specs.py"}
    for text in files.values():
        compile(text, "file", "exec")
        assert {"airflow", "dag"} <= set(text.lower().replace("_", " ").split()), "Airflow's safe mode"
    assert f"build_dags({json.dumps(str(models))}))" in files["evermodel_dags.py"]
    assert f"{tmp_path}/dags/evermodel_dags.py: written" in told
    assert f"Models in {models}: flights; broken specs: 1" in told
    assert "airflow dags unpause retrain_flights" in told


def test_again_it_changes_nothing(models: Path, tmp_path: Path) -> None:
    write(tmp_path)
    before = (tmp_path / "evermodel_dags.py").stat().st_mtime_ns
    assert set(json.loads(write(tmp_path, "--json"))["files"].values()) == {"unchanged"}
    assert (tmp_path / "evermodel_dags.py").stat().st_mtime_ns == before


def test_other_content_is_kept_and_no_file_is_written(models: Path, tmp_path: Path) -> None:
    mine = tmp_path / "evermodel_broken_specs.py"
    mine.write_text("# mine\n")
    with pytest.raises(PermanentError, match="has other content"):
        write(tmp_path)
    assert (mine.read_text(), (tmp_path / "evermodel_dags.py").exists()) == ("# mine\n", False)
    assert "evermodel_broken_specs.py: overwritten" in write(tmp_path, "--force")


def test_what_is_missing_is_named(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PermanentError, match="/nowhere: no such folder"):
        write(tmp_path, "--models", "/nowhere")
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho No module named airflow >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(PermanentError, match="No module named airflow") as refused:
        write()
    assert refused.value.advice == "name it: evermodel dags write FOLDER"
