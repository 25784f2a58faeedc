from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from evermodel.core.environment import git_commit


def test_the_environment_says_it_where_there_is_no_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERMODEL_COMMIT", "")
    assert git_commit(tmp_path) == "unknown"
    monkeypatch.setenv("EVERMODEL_COMMIT", "0123abc\n")
    assert git_commit(tmp_path) == "0123abc"


def test_the_repository_is_asked_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVERMODEL_COMMIT", raising=False)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    (tmp_path / "spec.yaml").write_text("name: a\n")
    subprocess.run([*git, "add", "spec.yaml"], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "first"], check=True)
    commit = git_commit(tmp_path)
    assert len(commit) == 40
    (tmp_path / "spec.yaml").write_text("name: b\n")
    assert git_commit(tmp_path) == f"{commit}-dirty"
