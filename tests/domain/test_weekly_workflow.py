"""The weekly workflow: which exit codes turn it red, and that its state is kept whatever happens."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from evermodel.cli.exit_codes import DONE, FAILED, NO, NO_CHAMPION
from support.paths import PROJECT


@pytest.fixture(scope="module")
def steps() -> list[dict[str, Any]]:
    flow = yaml.safe_load((PROJECT / ".github" / "workflows" / "weekly.yml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = flow["jobs"]["retrain"]["steps"]
    return found


@pytest.mark.parametrize(
    ("score", "drift", "train", "red"),
    [
        (DONE, DONE, DONE, False),
        (NO_CHAMPION, NO_CHAMPION, DONE, False),
        (DONE, DONE, NO, False),
        (FAILED, DONE, DONE, True),
        (DONE, FAILED, DONE, True),
        (DONE, DONE, FAILED, True),
        (DONE, DONE, NO_CHAMPION, True),
    ],
)
def test_only_an_answer_is_no_failure_and_every_command_has_its_turn(
    steps: list[dict[str, Any]], tmp_path: Path, score: int, drift: int, train: int, red: bool
) -> None:
    program = tmp_path / ".venv" / "bin" / "evermodel"
    program.parent.mkdir(parents=True)
    codes = f"score) exit {score} ;; drift) exit {drift} ;; train) exit {train} ;;"
    program.write_text(f'#!/bin/sh\necho "$1 $2" >> calls\ncase "$1" in {codes} esac\n', encoding="utf-8")
    program.chmod(0o755)
    models = tmp_path / "include" / "models"
    models.mkdir(parents=True)
    for name in ("flights.yaml", "flights.schema.yaml"):
        (models / name).touch()
    (script,) = [step["run"] for step in steps if "evermodel train" in step.get("run", "")]

    done = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, check=False)

    assert (done.returncode != 0) is red
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert calls == ["score flights", "drift flights", "train flights"]


def test_what_was_kept_is_kept_again_also_after_a_failure(steps: list[dict[str, Any]]) -> None:
    (restore,) = [step for step in steps if step.get("uses", "").startswith("actions/cache/restore@")]
    save = steps[-1]
    assert save["uses"].startswith("actions/cache/save@")
    assert save["if"].startswith("always()")
    assert save["with"]["path"] == restore["with"]["path"]
    assert "run_attempt" in restore["with"]["key"], "a cache cannot be written twice under one key"
