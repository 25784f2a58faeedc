"""The two wheels, and an Airflow with the provider and the core alone: all of it imports, what is missing is named."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from support.distributions import build_wheels, environment_of, needed_by, pyproject
from support.paths import PROJECT

pytestmark = pytest.mark.integration
MODELS = PROJECT / "include" / "models"
PROBE = f"""
import importlib, json, pkgutil, warnings
from unittest.mock import MagicMock

warnings.simplefilter("ignore")
import evermodel_provider
from evermodel.cli import app

for module in pkgutil.walk_packages(evermodel_provider.__path__, "evermodel_provider."):
    importlib.import_module(module.name)
dags = evermodel_provider.build_dags({str(MODELS)!r})
errors = {{}}
for dag in dags.values():
    for task in dag.tasks:
        if type(task).__name__ == "MappedOperator":
            continue
        task.as_of = "2013-06-03T00:00:00+00:00"
        try:
            task.execute(MagicMock())
        except BaseException as error:
            errors[f"{{dag.dag_id}}.{{task.task_id}}"] = [type(error).__name__, str(error)]
print(json.dumps([sorted(dags), errors]))
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return build_wheels(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="module")
def thin(tmp_path_factory: pytest.TempPathFactory, wheels: list[Path]) -> Path:
    """Return the programs of an environment with what the provider requires, and nothing else."""
    home = tmp_path_factory.mktemp("thin")
    programs = environment_of(needed_by("airflow-provider-evermodel"), home / "venv")
    (packages,) = (home / "venv").glob("lib/python*/site-packages")
    for wheel in wheels:
        zipfile.ZipFile(wheel).extractall(packages)
    return programs


def run(programs: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EVERMODEL_", "AIRFLOW", "MLFLOW_"))}
    home = programs.parents[1]
    environment = {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "EVERMODEL_HOME": str(home / "evermodel"),
        "EVERMODEL_MODELS": str(MODELS),
        "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db",
    }
    return subprocess.run(
        [programs / "python", *words], cwd=home, env=kept | environment, capture_output=True, text=True
    )


def test_the_provider_adds_few_distributions_to_airflow() -> None:
    added = needed_by("airflow-provider-evermodel") - needed_by("apache-airflow")
    assert {"airflow-provider-evermodel", "evermodel"} <= added
    assert len(added) <= 12, sorted(added)


def test_everything_imports_and_a_task_without_its_library_names_the_extra(thin: Path) -> None:
    done = run(thin, "-c", PROBE)
    assert done.returncode == 0, done.stderr
    dags, errors = json.loads(done.stdout.splitlines()[-1])
    assert {"retrain_flights", "drift_flights", "evermodel_messages"} <= set(dags)
    imports = {
        task: error for task, error in errors.items() if error[0] in ("ImportError", "ModuleNotFoundError")
    }
    assert imports == {}
    steps = (
        "retrain_flights.new_data",
        "retrain_flights.extract",
        "drift_flights.verdict",
        "evermodel_guard.guard",
    )
    for task in steps:
        kind, said = errors[task]
        assert kind == "AirflowFailException", task
        assert "is not installed in this environment" in said
        assert 'pip install "evermodel[train]"' in said


def test_check_doctor_and_commands_name_the_extras(thin: Path) -> None:
    check = run(thin, "-m", "evermodel.cli", "check")
    assert check.returncode == 1
    assert "model flights: tracking of snapshots needs dvc" in check.stderr
    assert 'What to do: pip install "evermodel[train,dvc]"' in check.stderr
    assert run(thin, "-m", "evermodel.cli", "check", "--files-only").returncode == 0
    doctor = run(thin, "-m", "evermodel.cli", "doctor", "--json", "--only", "specs", "--only", "dvc remote")
    found = {check["name"]: check for check in json.loads(doctor.stdout)["checks"]}
    assert found["extras"]["advice"] == 'pip install "evermodel[train,dvc]"'
    assert found["DVC remote"]["advice"] == 'pip install "evermodel[dvc]"'
    serve = run(thin, "-m", "evermodel.cli", "serve", "flights")
    assert serve.returncode == 1
    assert 'What to do: pip install "evermodel[serve]"' in serve.stderr
    assert "Traceback" not in check.stderr + doctor.stderr + serve.stderr


def test_a_source_distribution_has_its_tests_and_makes_the_same_wheel(
    wheels: list[Path], tmp_path: Path
) -> None:
    made = build_wheels(tmp_path, from_sdist=True)
    assert [file.name for file in made] == [file.name for file in wheels]
    for file, direct in zip(made, wheels, strict=True):
        assert file.read_bytes() == direct.read_bytes(), file.name
    (source,) = tmp_path.glob("evermodel-*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tests/conftest.py", "tests/data/flights_sample.parquet", "docs/README.md", "Makefile"} <= names


def test_the_page_of_each_distribution_renders_on_an_index(wheels: list[Path]) -> None:
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            facts = Parser().parsestr(archive.read(name).decode())
        assert facts["Description-Content-Type"] == "text/markdown"
        links = re.findall(r"\]\(([^)]+)\)", str(facts.get_payload()))
        assert links
        assert [link for link in links if not link.startswith("https://")] == []


def test_the_provider_requires_the_core_of_its_own_release() -> None:
    from evermodel import __version__
    from evermodel_provider import __version__ as provider

    assert provider == __version__
    assert f"evermodel=={__version__}" in pyproject("airflow-provider-evermodel")["dependencies"]
