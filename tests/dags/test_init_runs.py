"""A drafted spec is picked up by the retrain DAG as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sklearn.datasets import load_breast_cancer
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.registry.registry import ModelRegistry
from support.airflow_runs import retrain
from support.flights import World

pytestmark = pytest.mark.integration


def test_the_retrain_dag_runs_a_drafted_spec_unchanged(
    world: World, tmp_path: Path, without_evidence: None
) -> None:
    file, name = tmp_path / "tumours.parquet", f"tumours_{world.name}"
    load_breast_cancer(as_frame=True).frame.to_parquet(file)
    drafted = CliRunner().invoke(app, ["init", str(file), "--label", "target", "--name", name, "--shuffle"])
    assert drafted.exit_code == 0, drafted.output
    as_of = re.findall(r"--as-of (\d{4}-\d\d-\d\d)", drafted.output)[-1]

    done = retrain(World(name, world.folder, world.settings, world.environment), as_of)

    assert (done.state, done.xcom("report")["outcome"]) == ("success", "deployed")
    assert str(ModelRegistry(world.client).champion(name).version) == "1"
