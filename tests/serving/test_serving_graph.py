"""The graph beside a model: it answers, and a damaged one never does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evermodel.core.errors import ModelFormatError
from evermodel.modeling.model_store import load_files, load_model
from evermodel.modeling.onnx.export_if_equal import FOLDER
from evermodel.modeling.onnx.runtime import ENCODING_FILE, GRAPH_FILE
from evermodel.modeling.scoring.loaded_version import read_served
from support.serving_models import World


@pytest.fixture
def files(world: World, tmp_path: Path) -> Path:
    made = world.publish(1, candidate=1)
    load_model(world.client, f"models:/{world.name}/{made.version}", tmp_path / "model")
    return tmp_path / "model"


def test_a_damaged_graph_is_refused(files: Path) -> None:
    graph = files / FOLDER / GRAPH_FILE
    graph.write_bytes(graph.read_bytes()[:100])

    with pytest.raises(ModelFormatError, match="the graph cannot be read"):
        load_files(files)


def test_a_graph_that_answers_the_example_differently_is_refused(
    world: World, files: Path, tmp_path: Path
) -> None:
    other = world.publish(2, candidate=1)
    load_model(world.client, f"models:/{world.name}/{other.version}", tmp_path / "other")
    for name in (GRAPH_FILE, ENCODING_FILE):
        shutil.copy(tmp_path / "other" / FOLDER / name, files / FOLDER / name)

    with pytest.raises(ModelFormatError, match="the graph's answers to the stored example differ"):
        read_served(world.spec, "1", files)


def test_without_onnx_runtime_the_pipeline_answers(
    world: World, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    assert load_files(files).fast is None
    served = read_served(world.spec, "1", files)
    assert json.loads(json.dumps(served.example)) == served.example  # the API's description shows it
