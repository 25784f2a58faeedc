"""Types that see: what client and table do not have is an error to mypy, and MLflow has what the types declare."""

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
_SOURCES = [file for folder in ("include", "plugins", "dags") for file in (_ROOT / folder).rglob("*.py")]
_SNIPPET = """
import duckdb

from evermodel.core.settings import Settings
from evermodel.data.snapshots.snapshot import read_snapshot
from evermodel.registry.tracking import connect

client = connect("http://mlflow")
client.no_such_method(1)
client.get_run("run").no_such_attribute
client.set_tag("run", "key", "value", "one too many")

table = read_snapshot("path", Settings.from_environment())
table.no_such_method()
table.schema.no_such_method()
table["column"].no_such_method()
table.to_batches()[0].no_such_method()
duckdb.connect().no_such_method()
"""


def _mypy(snippet: str, folder: Path) -> list[str]:
    file = folder / "snippet.py"
    file.write_text(snippet, encoding="utf-8")
    config = ["--config-file", str(_ROOT / "pyproject.toml"), "--cache-dir", str(_ROOT / ".mypy_cache")]
    out, err, _ = api.run([*config, "--no-error-summary", str(file)])
    assert not err, err
    return [line.split("snippet.py:", 1)[1] for line in out.splitlines()]


@pytest.mark.slow
def test_mypy_sees_what_client_and_table_do_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_ROOT)  # the paths of the configuration are relative

    errors = _mypy(_SNIPPET, tmp_path)

    assert errors == [
        '9: error: "MlflowClient" has no attribute "no_such_method"  [attr-defined]',
        '10: error: "Run" has no attribute "no_such_attribute"  [attr-defined]',
        '11: error: Too many arguments for "set_tag" of "MlflowClient"  [call-arg]',
        '14: error: "Table" has no attribute "no_such_method"  [attr-defined]',
        '15: error: "Schema" has no attribute "no_such_method"  [attr-defined]',
        '16: error: "ChunkedArray[Any]" has no attribute "no_such_method"  [attr-defined]',
        '17: error: "RecordBatch" has no attribute "no_such_method"  [attr-defined]',
        '18: error: "DuckDBPyConnection" has no attribute "no_such_method"  [attr-defined]',
    ]


def test_annotations_take_mlflows_types_from_the_registry() -> None:
    views_of_mlflow = "|".join(name for name, found in vars(views).items() if inspect.isclass(found))
    untyped = re.compile(rf"from mlflow[.\w]* import .*\b({views_of_mlflow})\b")
    assert not [
        f"{file.relative_to(_ROOT)}: {match[0]}"
        for file in _SOURCES
        for match in untyped.finditer(file.read_text(encoding="utf-8"))
    ]


_METHODS = [
    name for name, found in vars(views.MlflowClient).items() if inspect.isfunction(found) and name[0] != "_"
]


def test_the_client_type_has_no_method_that_nobody_calls() -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in _SOURCES)
    assert not [name for name in _METHODS if f".{name}(" not in code]


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
        (views.MetricPoint, entities.Metric),
        (views.ModelVersion, model_registry.ModelVersion),
        (views.RegisteredModel, model_registry.RegisteredModel),
        (views.PagedList, PagedList),
    ],
)
def test_mlflows_entities_have_the_attributes_that_the_types_declare(view: type, real: type) -> None:
    known = {*dir(real), *inspect.signature(real).parameters}

    assert set(view.__annotations__) <= known
