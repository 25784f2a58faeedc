from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from evermodel.cli.local_stack.ports import free_port
from evermodel.core.settings import Settings
from evermodel_provider.doctor import airflow as airflow_checks
from evermodel_provider.doctor.airflow import check_airflow
from evermodel_provider.doctor.slack import check_slack
from support.paths import PROJECT
from support.slack_server import FakeSlack

HEALTH = {name: {"status": "healthy"} for name in ("metadatabase", "scheduler", "triggerer", "dag_processor")}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv(
        "_AIRFLOW_PROCESS_CONTEXT", "client"
    )  # or the doctor would set it, for the tests after this one
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "flights.yaml").write_text(
        (PROJECT / "include" / "models" / "flights.yaml").read_text()
    )
    return Settings.from_environment(
        {"EVERMODEL_HOME": str(tmp_path / "home"), "EVERMODEL_MODELS": str(tmp_path / "models")}
    )


def test_slack_is_yellow_without_a_connection(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SLACK_API_DEFAULT", raising=False)
    (finding,) = check_slack(settings)
    assert (finding.level, str(settings.outbox) in finding.said) == ("yellow", True)


@pytest.mark.parametrize(
    ("scopes", "level", "said"),
    [
        (
            {"chat:write", "files:write", "channels:history"},
            "green",
            "evermodel in Loopback, with chat:write",
        ),
        (
            {"chat:write", "files:write"},
            "yellow",
            "without channels:history (no repeated message after a crash)",
        ),
        ({"files:write"}, "red", "without chat:write (messages), channels:history"),
    ],
)
def test_slacks_scopes_are_read_from_its_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, scopes: set[str], level: str, said: str
) -> None:
    with FakeSlack(scopes=frozenset(scopes)) as slack:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", slack.connection_json())
        (finding,) = check_slack(settings)
        assert slack.calls == ["auth.test"]
    assert (finding.level, said in finding.said) == (level, True), finding
    assert slack.token not in str(finding)


def test_a_wrong_token_and_a_slack_that_is_away_are_red_and_the_token_is_not_shown(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeSlack() as slack:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_API_DEFAULT", slack.connection_json("xoxb-secret-1"))
        (wrong,) = check_slack(settings)
    (away,) = check_slack(settings)
    assert (wrong.level, away.level) == ("red", "red")
    assert "bot token" in wrong.advice
    assert "cannot be reached" in away.said
    assert "xoxb-secret-1" not in f"{wrong}{away}"


class Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        health = self.server.health  # type: ignore[attr-defined]
        body = json.dumps({"version": "3.3.2"} if self.path.endswith("/version") else health).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Stay quiet."""


def airflow(settings: Settings) -> dict[str, str]:
    found = list(check_airflow(settings))
    assert all(finding.advice for finding in found if finding.level != "green")
    return {finding.name: finding.level for finding in found}


def test_airflow_is_asked_for_folder_api_and_processes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{tmp_path}/none.db")
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    monkeypatch.delenv("EVERMODEL_AIRFLOW_URL", raising=False)
    alone = settings.model_copy(update={"airflow_url": f"http://127.0.0.1:{free_port()}"})
    assert airflow(alone) == {
        "Airflow": "green",
        "DAG folder": "yellow",
        "Airflow API": "yellow",
        "Airflow database": "yellow",
    }
    monkeypatch.setenv("EVERMODEL_AIRFLOW_URL", alone.airflow_url)
    assert airflow(alone)["Airflow API"] == "red"

    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(PROJECT / "dags"))
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.health = HEALTH
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    up = settings.model_copy(update={"airflow_url": f"http://127.0.0.1:{server.server_address[1]}"})
    assert {"DAG folder": "green", "Airflow API": "green", "Airflow processes": "green"}.items() <= airflow(
        up
    ).items()
    server.health = {**HEALTH, "scheduler": {"status": "unhealthy"}}
    assert airflow(up)["Airflow processes"] == "red"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("printed", "name", "level", "said"),
    [
        ("No data found", "import errors", "green", "no DAG file fails to import"),
        ('warning\n[{"filepath": "bad.py", "error": "x"}]', "import errors", "red", "1: bad.py"),
        ("", "Airflow database", "red", "sqlite:///"),
    ],
)
def test_import_errors_come_from_airflows_own_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, name: str, level: str, said: str
) -> None:
    (tmp_path / "airflow.db").touch()
    program = tmp_path / "airflow-stand-in"
    program.write_text(f"#!{sys.executable}\nprint({printed!r})\n")
    program.chmod(0o755)
    monkeypatch.setattr(airflow_checks.sys, "executable", str(program))
    finding = airflow_checks._import_errors(f"sqlite:///{tmp_path}/airflow.db")
    assert (finding.name, finding.level, said in finding.said) == (name, level, True), finding
