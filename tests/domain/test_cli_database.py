"""`evermodel db`, the doctor's check of the database, and run keys of promotions on the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.cli.diagnostics.database import check_database
from evermodel.core.database.database import Database
from evermodel.core.database.lease import leased
from evermodel.core.database.schema import SCHEMA, open_database
from evermodel.core.errors import PromotionError
from evermodel.core.settings import Settings
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.serving_heartbeats import ServingReport
from evermodel.registry.serving_reports import ServingReports
from support.registry_shelf import Shelf


def test_db_upgrade_makes_the_tables_and_db_status_shows_them_and_the_leases(database: str) -> None:
    run = CliRunner()
    before = run.invoke(app, ["db", "status"])
    assert (before.exit_code, "schema not made yet" in before.output) == (0, True)

    assert run.invoke(app, ["db", "upgrade"]).output.strip() == f"{database}: schema {SCHEMA}"

    with leased(open_database(database), "model/churn"):
        state = json.loads(run.invoke(app, ["db", "status", "--json"]).output)
    assert (state["schema"], list(state["leases"])) == (SCHEMA, ["model/churn"])
    with Database(database).writing() as connection:
        connection.execute(text("UPDATE evermodel_schema SET version_num = '2.0'"))
    assert run.invoke(app, ["db", "status"]).exit_code == 1


def _checked(url: str) -> tuple[str, str]:
    settings = Settings.from_environment({"EVERMODEL_DATABASE": url})
    (finding,) = check_database(settings)
    assert finding.advice or finding.level == "green"
    return finding.level, finding.said


def test_the_doctor_looks_at_the_schema_and_makes_nothing(database: str) -> None:
    file = Path(database.removeprefix("sqlite:///"))
    assert _checked(database) == ("green", f"{database}: the tables are made at first use")
    assert not file.exists()
    open_database(database)
    assert _checked(database) == ("green", f"{database}: schema {SCHEMA}")
    with Database(database).writing() as connection:
        connection.execute(text("UPDATE evermodel_schema SET version_num = '2.0'"))
    assert _checked(database)[0] == "red"
    level, said = _checked("postgresql://ada:secret@127.0.0.1:1/x?connect_timeout=2")
    assert (level, "does not answer" in said, "secret" in said) == ("red", True, False)


def test_the_doctor_tells_that_serving_reports_elsewhere(database: str) -> None:
    variables = {"EVERMODEL_DATABASE": database, "EVERMODEL_SERVING_URLS": "http://127.0.0.1:1"}
    settings = Settings.from_environment(variables)
    assert [finding.level for finding in check_database(settings)] == ["green"], "nothing is made"
    open_database(database)
    _, finding = check_database(settings)
    assert (finding.level, "no serving process has reported" in finding.said) == ("yellow", True)
    at = datetime.now(UTC).isoformat()
    ServingReports.of(settings).write(ServingReport("churn", "h-1-a", "prod", "h", 1, at, at, "1"))
    assert [finding.level for finding in check_database(settings)] == ["green"]


def test_the_doctor_tells_where_one_file_is_not_enough(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        (tmp_path / "mounts").write_text("a / ext4 rw 0 0\nb /mnt nfs4 rw 0 0\n")
        patch.setattr("evermodel.cli.diagnostics.database._MOUNTS", tmp_path / "mounts")
        assert _checked("sqlite:////mnt/evermodel.db")[0] == "red"
        assert _checked(database)[0] == "green"
    with monkeypatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
        assert "tasks of CeleryExecutor run on other machines" in _checked(database)[1]
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert "each pod has its own" in _checked(database)[1]


def test_a_rollback_with_a_run_key_takes_place_once(
    mlflow_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERMODEL_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)
    shelf = Shelf(mlflow_store)
    for version, before in (("1", None), ("2", "1"), ("3", "2")):
        shelf.register(f"key {version}")
        shelf.promote(version, before, f"key {version}")
    words = ["rollback", shelf.name, "--reason", "worse", "--run-key", "ticket 7", "--json"]

    answers = [json.loads(CliRunner().invoke(app, words).stdout) for _ in range(2)]

    assert answers[0] == answers[1]
    assert (answers[0]["version"], answers[0]["run_key"]) == ("2", "ticket 7")
    assert len(ModelRegistry(shelf.client).read(shelf.name).promotions) == 4


def test_a_run_key_belongs_to_a_promotion_at_once() -> None:
    words = ["promote", "m", "1", "--approve", "--reason", "x", "--run-key", "k"]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, PromotionError)
    assert "--run-key cannot be combined with --approve" in done.exception.problem
