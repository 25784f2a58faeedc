"""What may take longer than two seconds says so on stderr, and stdout holds the answer alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.cli.local_stack.ports import free_port
from support.backtest_history import history, spec_of
from support.flights import flights_world
from support.paths import SAMPLE


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown while a command works."""
    words: list[str] = []

    @contextmanager
    def show(name: str) -> Iterator[Callable[[str], None]]:
        words.append(name)
        yield words.append

    monkeypatch.setattr("evermodel.cli.output.waiting", show)
    monkeypatch.setattr("evermodel.cli.output.step", show)
    return words


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model whose MLflow server does not answer."""
    world = flights_world(tmp_path, f"http://127.0.0.1:{free_port()}", "flights")
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    return world.name


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("status flights", "reading MLflow"),
        ("status", "reading MLflow"),
        ("data list flights", "reading MLflow"),
        ("rollout status flights", "reading MLflow"),
        ("rollout advance flights", "evaluating the rollout"),
        ("rollout start flights 2 --reason why", "starting version 2"),
        ("rollout stop flights --reason why", "stopping the rollout"),
        (f"data schema flights --refresh --snapshot {SAMPLE}", "read the snapshot"),
    ],
)
def test_a_command_that_asks_others_says_so(away: str, told: list[str], words: str, shown: str) -> None:
    CliRunner().invoke(app, words.split())
    assert told == [shown]


def test_the_doctor_names_each_check_while_it_runs(away: str, told: list[str]) -> None:
    result = CliRunner().invoke(app, ["doctor", "--only", "specs", "--only", "lake", "--json"])
    assert told == ["loading the checks", "checking specs", "checking lake"]
    assert {one["name"] for one in json.loads(result.stdout)["checks"]} >= {"lake"}


@pytest.mark.slow
def test_a_backtest_tells_of_what_it_reads_and_writes(tmp_path: Path) -> None:
    pq.write_table(history(weeks=6), tmp_path / "rows.parquet")
    file = tmp_path / "turning.yaml"
    file.write_text(yaml.safe_dump(spec_of(tmp_path / "rows.parquet").canonical()))
    options = ["--policies", "never", "--work", str(tmp_path / "work"), "--json"]
    result = CliRunner().invoke(app, ["backtest", str(file), *options])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["digest"]
    assert "✓ read the history" in result.stderr
    assert "✓ write the report" in result.stderr
