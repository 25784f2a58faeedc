"""The script that trains changed models on a pull request: which ones, and each with the code of its side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from support.paths import PROJECT, load_script

# In the place of `evermodel train`: says which code and which specs it was started with.
PROGRAM = f"""#!{sys.executable}
import json, os, pathlib, sys
from evermodel import NAME
spec = pathlib.Path(os.environ["EVERMODEL_MODELS"], sys.argv[2] + ".yaml").read_text().strip()
as_of = sys.argv[sys.argv.index("--as-of") + 1]
with open(os.environ["CALLS"], "a") as calls:
    print(json.dumps([NAME, spec, as_of]), file=calls)
decision = dict(candidate="c", verdict="better", reason="", metric="auc", challenger=[0.7], champion=None, rows=9, gates=[])
print(json.dumps(dict(outcome="deployed", decision=decision)))
"""


@pytest.fixture
def script() -> ModuleType:
    return load_script(PROJECT / ".ci" / "try_models.py")


@pytest.fixture
def commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Commit files, named with their text, in a repository that is the working folder; `base` is its first commit."""
    repository = tmp_path / "repository"
    repository.mkdir()
    monkeypatch.chdir(repository)
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "test")

    def git(*words: str) -> None:
        subprocess.run(["git", *words], check=True, capture_output=True)

    def write(**files: str) -> None:
        for name, text in files.items():
            file = Path(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        git("add", ".")
        git("commit", "-m", "change")

    git("init", "-q")
    write(
        **{
            "include/models/flights.yaml": "old spec",
            "include/models/flights.schema.yaml": "old",
            "include/models/taxis.yaml": "taxis",
            "include/evermodel/__init__.py": "NAME = 'old code'",
            "requirements.txt": "a==1",
            "README.md": "read",
        }
    )
    git("tag", "base")
    return write


@pytest.mark.parametrize(
    ("file", "models"),
    [
        ("README.md", []),
        ("include/models/flights.yaml", ["flights"]),
        ("include/models/flights.schema.yaml", ["flights"]),
        ("include/models/ships.yaml", ["ships"]),
        ("include/models/model-spec.schema.json", []),
        ("include/evermodel/__init__.py", ["flights", "taxis"]),
        ("requirements.txt", ["flights", "taxis"]),
        ("requirements-production.txt", ["flights", "taxis"]),
    ],
)
def test_a_changed_spec_is_tried_and_every_model_when_what_trains_them_changed(
    commit: Callable[..., None], script: ModuleType, file: str, models: list[str]
) -> None:
    commit(**{file: "changed"})
    assert script.changed_models("base") == models


def test_a_removed_model_is_not_tried(commit: Callable[..., None], script: ModuleType) -> None:
    Path("include/models/taxis.yaml").unlink()
    commit()
    assert script.changed_models("base") == []


def test_the_base_is_trained_with_its_own_spec_and_code(
    commit: Callable[..., None], script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(
        **{
            "include/models/ships.yaml": "ships",
            "include/models/taxis.yaml": "new spec",
            "include/evermodel/__init__.py": "NAME = 'new code'",
        }
    )
    program = tmp_path / "bin" / "evermodel"
    program.parent.mkdir()
    program.write_text(PROGRAM, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    out = tmp_path / "report.md"
    words = ["try_models.py", "ships", "taxis", "--base", "base", "--as-of", "2013-03-18", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)

    assert script.main() == 0

    calls = [json.loads(line) for line in (tmp_path / "calls").read_text(encoding="utf-8").splitlines()]
    assert calls == [
        ["new code", "ships", "2013-03-18"],
        ["old code", "taxis", "2013-03-11"],
        ["new code", "new spec", "2013-03-18"],
    ]
    assert "with its own spec and code, but with today's libraries" in out.read_text(encoding="utf-8")
    trees = subprocess.run(["git", "worktree", "list"], check=True, capture_output=True, text=True).stdout
    assert len(trees.splitlines()) == 1, "nothing is left behind"


def test_the_workflow_starts_for_what_the_script_looks_at(script: ModuleType) -> None:
    flow = yaml.safe_load((PROJECT / ".github" / "workflows" / "models.yml").read_text(encoding="utf-8"))
    watched = {
        path.removesuffix("/**") for path in flow[True]["pull_request"]["paths"]
    }  # `on` is YAML's true
    assert watched == {str(script.MODELS), *script.PIPELINE}
