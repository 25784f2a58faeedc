from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.cli.diagnostics import basics
from evermodel.cli.diagnostics.basics import check_clock, check_serving
from evermodel.cli.diagnostics.examine import all_checks, examine, load_checks
from evermodel.cli.diagnostics.remote import check_remote
from evermodel.cli.diagnostics.specs import check_specs
from evermodel.cli.diagnostics.tracking import check_tracking
from evermodel.cli.local_stack.ports import free_port
from evermodel.core.diagnostics import Finding
from evermodel.core.errors import EvermodelError
from evermodel.core.settings import Settings
from support.airflow_runs import claim_airflow_home
from support.flights import World
from support.paths import PROJECT

claim_airflow_home()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    environment = {
        "EVERMODEL_HOME": str(tmp_path / "home"),
        "EVERMODEL_MODELS": str(tmp_path / "models"),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
    }
    (tmp_path / "models").mkdir()
    return Settings.from_environment(environment)


class Answers(BaseHTTPRequestHandler):
    """Answers every GET with the status, the text and the date that its server was given."""

    def do_GET(self) -> None:
        status, text, date = self.server.answer  # type: ignore[attr-defined]
        self.send_response_only(status)
        if date:
            self.send_header("Date", date)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: Any) -> None:
        """Stay quiet."""


@pytest.fixture
def server() -> Iterator[Any]:
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    made.answer, made.url = (200, "{}", ""), f"http://127.0.0.1:{made.server_address[1]}"
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def levels(findings: Any) -> list[tuple[str, str]]:
    found = list(findings)
    assert all(finding.advice for finding in found if finding.level != "green")
    return [(finding.name, finding.level) for finding in found]


def test_the_tested_versions_are_those_of_the_pinned_requirements() -> None:
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    assert {name: pinned[name] for name in basics.TESTED} == basics.TESTED


def test_packages_of_another_version_are_told_with_the_one_that_is_needed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the extra `used` everything is there, of `unused` one package is not.
    used, unused = ["httpx>=99; extra == 'used'"], ["rich>=99; extra == 'unused'", "none; extra == 'unused'"]
    monkeypatch.setattr(basics, "requires", lambda name: ["pandas>=2.3,<3", "nowhere>=1", *used, *unused])
    real = basics._installed
    monkeypatch.setattr(basics, "_installed", lambda name: "3.1.0" if name == "pandas" else real(name))
    found = {finding.name: finding for finding in basics.check_versions(settings)}
    assert found["packages"].level == "red"
    assert found["packages"].said == (
        f"httpx {real('httpx')} is installed, >=99 is required; nowhere is missing; "
        "pandas 3.1.0 is installed, <3,>=2.3 is required"
    )
    assert (found["versions"].level, found["versions"].said) == ("yellow", "pandas 3.1.0 (tested: 2.3.3)")


def test_specs_are_green_yellow_without_any_and_red_when_broken(settings: Settings) -> None:
    assert levels(check_specs(settings)) == [("specs", "yellow")]
    shipped = (PROJECT / "include" / "models" / "flights.yaml").read_text()
    (settings.models / "flights.yaml").write_text(shipped)
    assert levels(check_specs(settings)) == [("specs", "green")]
    (settings.models / "flights.yaml").write_text(shipped.replace("floor:", "flor:"))
    (finding,) = check_specs(settings)
    assert finding.level == "red"
    assert "gate.flor: unknown field; did you mean floor?" in finding.said


def test_the_lake_is_red_when_it_cannot_be_written_and_yellow_when_space_runs_out(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert levels(basics.check_lake(settings)) == [("lake", "green"), ("home", "green")]
    monkeypatch.setattr(basics, "_LITTLE", 1 << 60)
    assert levels(basics.check_lake(settings)) == [("lake", "yellow"), ("home", "yellow")]
    settings.home.write_text("a file where a folder should be")
    assert levels(basics.check_lake(settings)) == [("lake", "red"), ("home", "red")]


def test_the_remote_takes_a_file_or_says_why_not(settings: Settings) -> None:
    assert levels(check_remote(settings)) == [("DVC remote", "green")]
    assert len(list(Path(settings.dvc_remote).rglob("*"))) > 0
    Path(settings.dvc_remote).rename(settings.home / "away")
    Path(settings.dvc_remote).write_text("no folder")
    assert levels(check_remote(settings)) == [("DVC remote", "red")]


def test_mlflow_is_written_to_without_leaving_more_each_time(settings: Settings, mlflow_server: str) -> None:
    away = list(check_tracking(settings))
    assert levels(away) == [("MLflow", "red")]
    assert settings.tracking_uri in away[0].said
    there = settings.model_copy(update={"tracking_uri": mlflow_server})
    for _ in range(2):
        assert levels(check_tracking(there)) == [
            *((name, "green") for name in ("MLflow", "MLflow writes", "model registry", "audit log"))
        ]
    from evermodel.registry.tracking import connect, experiment_id

    client = connect(mlflow_server)
    assert len(client.search_runs([experiment_id(client, "evermodel-doctor")])) == 1


def test_a_server_of_another_version_is_yellow(settings: Settings, server: Any) -> None:
    server.answer = (200, "1.2.3", "")
    first = next(iter(check_tracking(settings.model_copy(update={"tracking_uri": server.url}))))
    assert (first.level, "runs 1.2.3, the client is" in first.said) == ("yellow", True)


@pytest.mark.parametrize(("seconds", "level"), [(0, "green"), (100, "yellow"), (-1000, "red")])
def test_a_clock_that_is_off_is_told(settings: Settings, server: Any, seconds: int, level: str) -> None:
    server.answer = (200, "OK", format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True))
    there = settings.model_copy(update={"tracking_uri": server.url})
    assert levels(check_clock(there)) == [("clock", level)]


def test_serving_is_ready_or_says_which_model_is_not(settings: Settings, server: Any) -> None:
    assert levels(check_serving(settings)) == [("serving", "yellow")]
    both = settings.model_copy(update={"serving_urls": (server.url, f"http://127.0.0.1:{free_port()}")})
    assert [level for _, level in levels(check_serving(both))] == ["green", "red"]
    server.answer = (503, '{"reasons": {"flights": "no champion"}}', "")
    finding = next(iter(check_serving(both)))
    assert (finding.level, "no champion" in finding.said) == ("red", True)


def test_what_hangs_or_breaks_is_red_and_hides_nothing(settings: Settings) -> None:
    ended = threading.Event()

    def hangs(_: Settings) -> list[Finding]:
        ended.wait(60)
        return []

    def breaks(_: Settings) -> list[Finding]:
        raise ZeroDivisionError("by zero")

    def works(_: Settings) -> list[Finding]:
        return [Finding("works", "green", "yes")]

    began = time.monotonic()
    found = dict(examine(settings, {"hangs": hangs, "breaks": breaks, "works": works}, seconds=1))
    ended.set()
    assert time.monotonic() - began < 10
    assert {name: finding.level for name, (finding,) in found.items()} == {
        "hangs": "red",
        "breaks": "red",
        "works": "green",
    }
    assert "ZeroDivisionError: by zero" in found["breaks"][0].said


def test_a_check_that_cannot_be_imported_says_so(settings: Settings) -> None:
    broken = EntryPoint("weather", "evermodel.cli.diagnostics.weather:check_weather", "evermodel.doctor")
    found = dict(examine(settings, load_checks([broken])))
    (finding,) = found["weather"]
    assert (finding.level, "No module named 'evermodel.cli.diagnostics.weather'" in finding.said) == (
        "red",
        True,
    )


@pytest.mark.slow
def test_checks_run_side_by_side_have_nothing_left_to_import_of_packages_that_can_block_each_other() -> None:
    code = (
        "import sys; from evermodel.cli.diagnostics.examine import all_checks, load_checks;"
        "checks = load_checks(all_checks().values());"
        "print(len(checks), *[m in sys.modules for m in "
        "('mlflow', 'dvc.repo', 'airflow.sdk.configuration', 'airflow.providers.slack.hooks.slack')])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.stdout.split("\n")[-2] == f"{len(all_checks())} True True True True", done.stderr


def test_the_command_exits_1_when_something_is_red_and_knows_the_checks_of_other_layers(world: World) -> None:
    words = ("doctor", "--only", "specs", "--only", "mlflow", "--json")
    fine = CliRunner().invoke(app, words)
    told = json.loads(fine.stdout)
    assert (fine.exit_code, told["ok"]) == (0, True)
    mlflow = ["MLflow", "MLflow writes", "model registry", "audit log"]
    assert [check["name"] for check in told["checks"]] == ["specs", *mlflow]
    os.environ["MLFLOW_TRACKING_URI"] = (
        f"http://127.0.0.1:{free_port()}"  # the world's own value comes back after it
    )
    red = CliRunner().invoke(app, words[:-1])
    assert red.exit_code == 1
    assert "✓ specs" in red.stdout
    assert "✗ MLflow" in red.stdout
    assert "What to do: start it" in red.stdout
    unknown = CliRunner().invoke(app, ["doctor", "--only", "weather"])
    assert isinstance(unknown.exception, EvermodelError)
    assert "Airflow, Slack" in unknown.exception.advice
