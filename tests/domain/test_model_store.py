from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from evermodel.core.errors import ModelFormatError
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.model_store import is_ready, load_files, load_model, log_model, models_of
from evermodel.registry.tracking import connect
from evermodel.spec import CandidateSpec
from support.small_spec import small_spec

PATHS = ["sklearn.ensemble.HistGradientBoostingClassifier", "sklearn.linear_model.LogisticRegression"]
PINS = ["scikit-learn", "skops"]


def _fitted(path: str) -> tuple[Any, pd.DataFrame]:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "amount": np.where(generator.random(400) < 0.1, np.nan, generator.normal(size=400)),
            "age": generator.lognormal(size=400),
            "colour": pd.Series(generator.choice(["red", "blue", None], 400), dtype=object),
        }
    )
    labels = (frame["age"] + (frame["colour"] == "red") > 1.5).astype(np.int8)
    return build_pipeline(small_spec(), CandidateSpec(name="a", estimator=path)).fit(frame, labels), frame


def _log(tracking_uri: str, pipeline: Any, frame: pd.DataFrame) -> str:
    client = connect(tracking_uri)
    run_id = client.create_run("0").info.run_id
    return log_model(client, run_id, pipeline, frame.tail(5), pipeline.predict_proba(frame.tail(5)), PINS)


@pytest.mark.parametrize("path", PATHS)
def test_a_model_comes_back_bit_for_bit(path: str, mlflow_store: str, tmp_path: Path) -> None:
    pipeline, frame = _fitted(path)

    uri = _log(mlflow_store, pipeline, frame)
    loaded = load_model(connect(mlflow_store), uri, tmp_path)

    assert (loaded.pipeline.predict_proba(frame) == pipeline.predict_proba(frame)).all()
    assert [(i["name"], i["type"]) for i in loaded.inputs] == [
        ("amount", "double"),
        ("age", "double"),
        ("colour", "string"),
    ]
    assert list(loaded.example.columns) == list(frame.columns)
    assert len(loaded.example) == 5
    assert np.isfinite(loaded.pipeline.predict_proba(loaded.example)).all()


def test_a_pipeline_that_holds_code_is_not_logged(mlflow_store: str) -> None:
    pipeline, frame = _fitted(PATHS[1])
    with_code = make_pipeline(FunctionTransformer(breakpoint), pipeline)
    client, scores = connect(mlflow_store), pipeline.predict_proba(frame.tail(5))
    run_id = client.create_run("0").info.run_id

    with pytest.raises(ModelFormatError, match=r"builtins\.breakpoint"):
        log_model(client, run_id, with_code, frame.tail(5), scores, PINS)


def test_what_a_failed_try_left_is_finished_by_the_next(
    mlflow_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, frame = _fitted(PATHS[1])
    client, scores = connect(mlflow_store), pipeline.predict_proba(frame.tail(5))
    run = client.create_run("0").info.run_id

    def log(earlier: str = "") -> str:
        model = models_of(client, client.get_run(run)).get(earlier)
        return log_model(client, run, pipeline, frame.tail(5), scores, PINS, earlier=model)

    def models() -> list[tuple[str, bool]]:
        found = models_of(client, client.get_run(run))
        return [(uri, is_ready(model)) for uri, model in found.items()]

    def outputs() -> list[str]:
        return [f"models:/{output.model_id}" for output in client.get_run(run).outputs.model_outputs]

    with monkeypatch.context() as patched:
        patched.setattr(
            type(client), "log_model_artifacts", lambda *_: (_ for _ in ()).throw(OSError("down"))
        )
        with pytest.raises(OSError, match="down"):
            log()
    ((left, ready),) = models()
    first = log(left)
    assert (first, ready) == (left, False)
    assert models() == [(first, True)]
    assert log(first) == first  # no step has been told of it
    assert models() == [(first, True)]
    assert outputs() == [first]
    second = log()
    assert sorted(models()) == sorted([(first, True), (second, True)])
    assert (load_model(client, first, tmp_path).pipeline.predict_proba(frame.tail(5)) == scores).all()


@pytest.fixture(scope="module")
def saved(mlflow_store: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    load_model(connect(mlflow_store), _log(mlflow_store, *_fitted(PATHS[1])), folder)
    return next(folder.rglob("MLmodel")).parent


@pytest.fixture
def stored(saved: Path, tmp_path: Path) -> Path:
    """A stored model, to be spoilt."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def _flavor(folder: Path, **changes: Any) -> dict[str, Any]:
    meta: dict[str, Any] = yaml.safe_load((folder / "MLmodel").read_text())
    meta["flavors"]["sklearn"] |= changes
    (folder / "MLmodel").write_text(yaml.safe_dump(meta))
    return meta


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("claimed", ["pickle", "cloudpickle", "skops", None])
def test_a_pickle_is_refused_before_anything_of_it_runs(
    stored: Path, claimed: str | None, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    content = pickle.dumps(Bomb(mark))
    pickle.loads(content)
    assert mark.exists(), "the bomb works"
    mark.unlink()
    (stored / "model.pkl").write_bytes(content)
    _flavor(stored, serialization_format=claimed, pickled_model="model.pkl")

    with pytest.raises(ModelFormatError):
        load_files(stored)

    assert not mark.exists()


def test_a_model_that_mlflow_saved_as_a_pickle_is_refused(tmp_path: Path) -> None:
    pipeline, _ = _fitted(PATHS[1])
    mlflow.sklearn.save_model(
        pipeline, tmp_path / "model", serialization_format="cloudpickle", pip_requirements=PINS,
        input_example=pd.DataFrame({"amount": [1.0], "age": [1.0], "colour": ["red"]}), pyfunc_predict_fn="predict_proba",
    )  # fmt: skip

    with pytest.raises(ModelFormatError, match="stored as cloudpickle, a format that runs code when loaded"):
        load_files(tmp_path / "model")


def test_an_mlmodel_cannot_vouch_for_its_own_types(stored: Path) -> None:
    skops.io.dump(make_pipeline(FunctionTransformer(eval)), stored / "model.skops")
    dangerous = skops.io.get_untrusted_types(file=stored / "model.skops")
    _flavor(stored, pickled_model="model.skops", skops_trusted_types=dangerous)

    with pytest.raises(ModelFormatError, match=r"untrusted types: builtins.eval"):
        load_files(stored)


@pytest.mark.parametrize(
    ("missing", "told"),
    [("signature", "no signature"), ("saved_input_example_info", "no signature or input example")],
)
def test_a_model_without_signature_or_example_is_refused(stored: Path, missing: str, told: str) -> None:
    meta = _flavor(stored)
    del meta[missing]
    (stored / "MLmodel").write_text(yaml.safe_dump(meta))

    with pytest.raises(ModelFormatError, match=told):
        load_files(stored)


@pytest.mark.parametrize("text", ["", "[]", "a: [", "flavors: {}"])
def test_a_damaged_mlmodel_is_named(stored: Path, text: str) -> None:
    (stored / "MLmodel").write_text(text)

    with pytest.raises(ModelFormatError, match=str(stored)):
        load_files(stored)


def test_a_cut_off_model_file_is_named(stored: Path) -> None:
    meta = yaml.safe_load((stored / "MLmodel").read_text())
    file = stored / meta["flavors"]["sklearn"]["pickled_model"]
    file.write_bytes(file.read_bytes()[:1000])

    with pytest.raises(ModelFormatError, match=str(stored)):
        load_files(stored)


def test_the_columns_of_the_example_are_in_the_order_of_the_signature(stored: Path) -> None:
    meta = _flavor(stored)
    inputs = json.loads(meta["signature"]["inputs"])
    meta["signature"]["inputs"] = json.dumps(inputs[::-1])
    (stored / "MLmodel").write_text(yaml.safe_dump(meta))

    assert list(load_files(stored).example.columns) == ["colour", "age", "amount"]
