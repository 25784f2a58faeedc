"""Settings come from the environment alone, and reading specs loads none of the heavy libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from evermodel.core.errors import SettingsError
from evermodel.core.settings import DEFAULT_TRACKING_URI, Settings
from support.paths import PROJECT

HEAVY = ("pandas", "numpy", "mlflow", "sklearn", "evidently", "duckdb", "pyarrow", "airflow", "dvc", "scipy")


def test_an_empty_environment_gives_places_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment({})
    home = Path.home() / "airflow" / "evermodel"
    assert (settings.home, settings.lake, settings.outbox) == (home, home / "lake", home / "outbox")
    assert settings.models == Path.home() / "airflow" / "include" / "models"
    assert settings.dvc_remote == str(home / "dvc-remote")
    assert settings.tracking_uri == DEFAULT_TRACKING_URI


def test_in_a_checkout_its_own_specs_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "include" / "models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    without = Settings.from_environment({"AIRFLOW_HOME": str(tmp_path / "nowhere")})
    assert without.models == tmp_path / "include" / "models"
    (tmp_path / "home" / "include" / "models").mkdir(parents=True)
    with_home = Settings.from_environment({"AIRFLOW_HOME": str(tmp_path / "home")})
    assert with_home.models == tmp_path / "home" / "include" / "models"


@pytest.mark.parametrize("name", ["EVERMODEL_HOME", "EVERMODEL_MODELS"])
@pytest.mark.parametrize("url", ["s3://ada:secret@bucket/lake", "s3:/bucket/lake", "file:///data/lake"])
def test_a_folder_that_is_set_to_a_url_is_an_error_and_no_folder_of_that_name(name: str, url: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name} is .*bucket/lake|{name} is file:///data/lake") as told:
        Settings.from_environment({name: url})
    assert "secret" not in str(told.value)
    assert told.value.advice == f"set {name} to the path of a folder"


def test_beside_a_lake_in_a_bucket_the_rest_stays_at_home(tmp_path: Path) -> None:
    settings = Settings.from_environment(
        {"EVERMODEL_LAKE": "s3://bucket/lake/", "EVERMODEL_HOME": str(tmp_path)}
    )
    assert str(settings.lake) == "s3://bucket/lake"
    assert settings.dvc_remote == "s3://bucket/lake/dvc"
    assert settings.state == tmp_path / "state"


def test_a_folder_may_have_a_colon_in_its_name(tmp_path: Path) -> None:
    assert Settings.from_environment({"EVERMODEL_LAKE": f"{tmp_path}/a:/b"}).lake == tmp_path / "a:" / "b"


def test_every_place_can_be_set_and_everything_else_follows_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/people/me")
    settings = Settings.from_environment(
        {
            "EVERMODEL_HOME": "~/ever",
            "EVERMODEL_MODELS": "models",
            "EVERMODEL_DVC_REMOTE": "s3://bucket/dvc",
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "EVERMODEL_AIRFLOW_URL": "https://airflow.example/",
        }
    )
    assert settings.home == Path("/people/me/ever")
    assert settings.lake == Path("/people/me/ever/lake")
    assert settings.models == tmp_path / "models"
    assert settings.dvc_remote == "s3://bucket/dvc"
    assert settings.tracking_uri == "http://mlflow:5000"
    assert settings.airflow_url == "https://airflow.example"
    assert settings.evidently_workspace == Path("/people/me/ever/evidently")
    assert Settings.from_environment({"EVERMODEL_LAKE": "/lake"}).lake == Path("/lake")
    found = Settings.from_environment({"EVERMODEL_EVIDENTLY_WORKSPACE": "/shared/evidently"})
    assert found.evidently_workspace == Path("/shared/evidently")
    found = Settings.from_environment({"EVERMODEL_LAKE": "s3://bucket/lake"})
    assert str(found.evidently_workspace) == "s3://bucket/lake/evidently"


def test_settings_are_frozen_and_know_no_other_field() -> None:
    settings = Settings.from_environment({})
    with pytest.raises(ValidationError, match="frozen"):
        settings.tracking_uri = "http://elsewhere"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        Settings(**settings.model_dump(), **{"tracking_url": "http://elsewhere"})


def test_reading_specs_settings_and_errors_loads_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "import evermodel.spec, evermodel.core.settings, evermodel.core.errors\n"
        "specs, problems = evermodel.spec.load_specs()\n"
        "assert [s.name for s in specs] == ['flights', 'flights_history'] and not problems, (specs, problems)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    models = str(PROJECT / "include" / "models")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"EVERMODEL_MODELS": models},
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
