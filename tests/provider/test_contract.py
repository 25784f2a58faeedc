"""What every operator and sensor of the provider keeps, however many there are."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.serialization.serialized_objects import DagSerialization

import evermodel_provider.operators
import evermodel_provider.results
import evermodel_provider.sensors
from evermodel_provider.operators.request import RetrainRequestOperator
from support.paths import PROJECT

HEAVY = (
    "mlflow",
    "pandas",
    "numpy",
    "sklearn",
    "scipy",
    "evidently",
    "duckdb",
    "pyarrow",
    "matplotlib",
    "dvc",
)
MODULES = [
    f"{package.__name__}.{module.name}"
    for package in (evermodel_provider.operators, evermodel_provider.sensors)
    for module in pkgutil.iter_modules(package.__path__)
]
CLASSES = [
    found
    for module in MODULES
    for found in vars(importlib.import_module(module)).values()
    if inspect.isclass(found) and issubclass(found, BaseOperator) and found.__module__ == module
]
every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
# Not templated, and read when the DAG is parsed.
PLAIN = {"ship": ["register"], "keep": ["report"], "window": "training"}


def own_parameters(kind: type) -> dict[str, inspect.Parameter]:
    """Return the arguments that this package gives a class, its bases in the package included."""
    found: dict[str, inspect.Parameter] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("evermodel_provider"):
            found |= inspect.signature(base.__init__).parameters  # type: ignore[misc]
    return {name: found[name] for name in found if name not in ("self", "args", "kwargs", "context")}


def result_of(kind: Any) -> Any:
    """Return the annotation of what a class returns, as text."""
    method = getattr(kind, "run_step", kind.execute)
    return inspect.get_annotations(inspect.unwrap(method)).get("return", "")


def documented(kind: type) -> set[str]:
    texts = [base.__doc__ or "" for base in kind.__mro__ if base.__module__.startswith("evermodel_provider")]
    return set(re.findall(r":param (\w+):", "\n".join(texts)))


def jinja(kind: type) -> dict[str, Any]:
    return {name: PLAIN.get(name, f"{{{{ params.{name} }}}}") for name in own_parameters(kind)}


@pytest.fixture
def no_input_or_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"the constructor reads or calls something: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    for name in ("open", "read_text", "read_bytes", "exists", "glob", "mkdir"):
        monkeypatch.setattr(Path, name, refuse)
    for name in ("evermodel_provider.operators.base", "evermodel_provider.sensors.data"):
        monkeypatch.setattr(f"{name}.load_spec", refuse)


def test_the_classes_are_found() -> None:
    assert {"ApproveOperator", "TrainOperator", "NewDataSensor"} <= {kind.__name__ for kind in CLASSES}


@every_class
def test_says_what_it_does_and_documents_every_argument(kind: type) -> None:
    assert (kind.__doc__ or "").strip().split("\n")[0].endswith((".", ":")), "begin with a sentence"
    assert documented(kind) == set(own_parameters(kind))


@every_class
def test_documents_as_templated_what_is_templated(kind: Any) -> None:
    texts = "\n".join(base.__doc__ or "" for base in kind.__mro__ if "evermodel" in base.__module__)
    told = {name for name, text in re.findall(r":param (\w+):([^\n]*)", texts) if "(templated)" in text}
    assert told == set(kind.template_fields) - {"subject", "body"}


@every_class
def test_docstring_and_guide_name_the_type_that_it_returns(kind: type) -> None:
    returned = str(result_of(kind))
    guide = (PROJECT / "docs" / "operators.md").read_text(encoding="utf-8")
    rows = [line for line in guide.splitlines() if re.match(rf"\| (`\w+`, )*`{kind.__name__}`", line)]
    for name in re.findall(r"\w+Result", returned):
        assert hasattr(evermodel_provider.results, name)
        assert f"`{name}`" in (kind.__doc__ or "")
        assert [row for row in rows if f"`{name}`" in row]
    assert "dict" not in returned, "name the keys in evermodel_provider.results"


@every_class
@pytest.mark.usefixtures("no_input_or_output")
def test_the_constructor_only_assigns(kind: Any) -> None:
    arguments = jinja(kind)
    with DAG("jinja", schedule=None):
        task = kind(task_id="task", **arguments)

    assert {name: getattr(task, name) for name in arguments} == arguments
    assert all(hasattr(task, field) for field in task.template_fields)


@every_class
@pytest.mark.usefixtures("no_input_or_output")
def test_takes_the_output_of_another_task_for_each_templated_argument(kind: Any) -> None:
    fields = [name for name in own_parameters(kind) if name in kind.template_fields]
    with DAG("outputs", schedule=None):
        first = RetrainRequestOperator(task_id="first", model="flights")
        outputs = {name: first.output[name] for name in fields}
        task = kind(task_id="task", **{**jinja(kind), **outputs})

    assert {name: getattr(task, name) for name in fields} == outputs
    assert task.upstream_task_ids == ({"first"} if fields else set())


@every_class
def test_travels_to_the_scheduler_and_back(kind: Any) -> None:
    with DAG("serialised", schedule=None) as dag:
        kind(task_id="task", **jinja(kind))

    stored = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    task = DagSerialization.from_dict(stored).task_dict["task"]

    assert task.task_type == kind.__name__
    assert set(task.template_fields) == set(kind.template_fields)
    assert re.fullmatch("#([0-9a-fA-F]{3}){1,2}", task.ui_color)


@pytest.mark.slow
def test_no_module_loads_a_heavy_library() -> None:
    probe = (
        "import importlib, json, sys; loaded = {}\n"
        f"for name in {MODULES}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded[name] = [heavy for heavy in {HEAVY} if heavy in sys.modules]\n"
        "print(json.dumps(loaded))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {name: [] for name in MODULES}
