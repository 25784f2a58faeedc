from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import run
from benchmarks.outcome import Outcome

PROJECT = Path(__file__).parents[1]


def _run(*names: str, scale: str = "small") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.run", *names]
    return subprocess.run(
        command, cwd=PROJECT, env={**os.environ, "SCALE": scale}, capture_output=True, text=True, timeout=240
    )


@pytest.mark.slow
def test_the_last_line_is_the_result_for_machines() -> None:
    done = _run("gate")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result) == {"benchmark", "peer", "ratios", "figures", "machine"}
    assert result["benchmark"] == "gate"
    assert result["figures"]["stated_error"] == 0.025
    assert 0 <= result["figures"]["worst_type_one_error"] < 0.2
    assert result["figures"]["bootstrap_seconds"] > 0


@pytest.mark.slow
def test_stated_rates_are_measured_where_rows_belong_together() -> None:
    done = _run("honesty")

    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])["figures"]
    assert figures["cells"] >= 80
    assert figures["cells_exceeded"] <= 12  # of few trials; of the full run, 9
    assert figures["worst_power_deficit"] <= 0.3


@pytest.mark.slow
def test_the_calibration_of_drift_is_measured_beside_evidently() -> None:
    done = _run("calibration")

    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])["figures"]
    assert figures["stated_rate"] == 0.01
    assert figures["worst_significant_rate"] <= 0.15  # of few trials
    assert figures["cells_above_beyond_chance"] == 0
    assert figures["evidently_worst_false_alarm_rate"] > 0.9
    assert figures["worst_power_deficit"] <= 0.3
    assert figures["mean_power_gain"] > 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["nope"], "there is no benchmark nope; there are: "), (["gate", "drift"], "name one benchmark")],
)
def test_a_wrong_name_is_refused_with_those_that_exist(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(arguments) == 2
    assert reason in capsys.readouterr().err


def test_a_benchmark_without_a_module_is_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "NAMES", ("gate", "later"))

    assert run.main(["later"]) == 2
    assert capsys.readouterr().err == "the benchmark later does not exist yet; there are: gate\n"


def test_an_unknown_scale_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCALE", "tiny")

    assert run.main(["gate"]) == 2
    assert "full, small" in capsys.readouterr().err


def test_columns_of_the_table_are_aligned() -> None:
    outcome = Outcome("peer", {}, {}, ("a", "bb"), [("long", "x")], ("note",))

    assert outcome.table() == "a     bb\n----  --\nlong  x\nnote"
