"""Every DAG file can be imported; `astro dev parse` runs this in the image, pytest runs it anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DAGS = ROOT / "dags"
EXCEPTIONS = ROOT / ".astro" / "dag_integrity_exceptions.txt"


def files_to_check() -> list[Path]:
    """Return the DAG files, without those listed as exceptions (one path from the project's folder a line)."""
    excepted = {line.strip() for line in EXCEPTIONS.read_text(encoding="utf-8").splitlines()}
    return [path for path in sorted(DAGS.glob("*.py")) if str(path.relative_to(ROOT)) not in excepted]


@pytest.mark.parametrize("path", files_to_check(), ids=lambda path: path.name)
def test_a_dag_file_can_be_imported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file raises nothing when Airflow reads it."""
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv(
        "EVERMODEL_MODELS", os.environ.get("EVERMODEL_MODELS", str(ROOT / "include" / "models"))
    )
    assert DagBag(str(path)).import_errors == {}
