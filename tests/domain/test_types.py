"""Types that see: what MLflow's client does not have is an error to mypy, and what the types say is true of MLflow."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import mlflow
import pytest
from mlflow import entities
from mlflow.entities import model_registry
from mlflow.store.entities import PagedList
from mypy import api

from evermodel.registry import client as views

_ROOT = Path(__file__).parents[2]
_SNIPPET = """
from evermodel.registry.tracking import connect

client = connect("http://mlflow")
client.no_such_method(1)
client.get_run("run").no_such_attribute
client.set_tag("run", "key", "value", "one too many")
"""


def _mypy(snippet: str, folder: Path) -> list[str]:
    file = folder / "snippet.py"
    file.write_text(snippet, encoding="utf-8")
    config = ["--config-file", str(_ROOT / "pyproject.toml"), "--cache-dir", str(_ROOT / ".mypy_cache")]
    out, err, _ = api.run([*config, "--no-error-summary", str(file)])
    assert not err, err
    return [line.split("snippet.py:", 1)[1] for line in out.splitlines()]


def test_mypy_sees_what_mlflows_client_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_ROOT)  # the paths of the configuration are relative

    errors = _mypy(_SNIPPET, tmp_path)

    assert errors == [
        '5: error: "MlflowClient" has no attribute "no_such_method"  [attr-defined]',
        '6: error: "Run" has no attribute "no_such_attribute"  [attr-defined]',
        '7: error: Too many arguments for "set_tag" of "MlflowClient"  [call-arg]',
    ]


def test_annotations_take_mlflows_types_from_the_registry() -> None:
    views_of_mlflow = "|".join(name for name, found in vars(views).items() if inspect.isclass(found))
    untyped = re.compile(rf"from mlflow[.\w]* import .*\b({views_of_mlflow})\b")
    assert not [
        f"{file.relative_to(_ROOT)}: {match[0]}"
        for folder in ("include", "plugins", "dags")
        for file in (_ROOT / folder).rglob("*.py")
        for match in untyped.finditer(file.read_text(encoding="utf-8"))
    ]


_METHODS = [
    name for name, found in vars(views.MlflowClient).items() if inspect.isfunction(found) and name[0] != "_"
]


@pytest.mark.parametrize("name", _METHODS)
def test_mlflow_takes_the_arguments_that_the_client_type_declares(name: str) -> None:
    declared = inspect.signature(getattr(views.MlflowClient, name)).parameters
    real = inspect.signature(getattr(mlflow.MlflowClient, name)).parameters

    positional = [p.name for p in declared.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert list(real)[: len(positional)] == positional
    assert set(declared) <= set(real)
    assert all(p.default is not p.empty for p in real.values() if p.name not in declared)


@pytest.mark.parametrize(
    ("view", "real"),
    [
        (views.Run, entities.Run),
        (views.RunInfo, entities.RunInfo),
        (views.RunData, entities.RunData),
        (views.Experiment, entities.Experiment),
        (views.FileInfo, entities.FileInfo),
        (views.LoggedModel, entities.LoggedModel),
        (views.ModelVersion, model_registry.ModelVersion),
        (views.RegisteredModel, model_registry.RegisteredModel),
        (views.PagedList, PagedList),
    ],
)
def test_mlflows_entities_have_the_attributes_that_the_types_declare(view: type, real: type) -> None:
    known = {*dir(real), *inspect.signature(real).parameters}

    assert set(view.__annotations__) <= known
