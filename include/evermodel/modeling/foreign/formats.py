"""Formats of foreign models, and what gives their answers; loading may run code, so that only the closed process calls it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from evermodel.core.errors import ModelFormatError

if TYPE_CHECKING:
    import pandas as pd

# How a file is opened, by its suffix.
FILES = {
    ".pkl": "pickle", ".pickle": "pickle", ".cloudpickle": "pickle", ".joblib": "joblib", ".skops": "skops", ".onnx": "onnx",
    ".txt": "lightgbm", ".lgb": "lightgbm", ".ubj": "xgboost", ".xgb": "xgboost", ".json": "xgboost", ".cbm": "catboost",
}  # fmt: skip
# Flavors of MLflow that know more than `python_function`, such as probabilities; the best first.
_FLAVORS = ("sklearn", "lightgbm", "xgboost", "catboost", "onnx", "python_function")


@dataclass(frozen=True)
class OpenedModel:
    """A loaded model.

    Parameters
    ----------
    kind
        Its class.
    features
        Names of its inputs; empty if it knows none.
    count
        How many inputs it has; 0 if it does not say.
    classes
        Classes of a classifier, in the order of its probabilities; empty of another model.
    categorical
        Inputs that it takes as categories.
    answer
        Gives one number a row, or one probability for each row and class.
    """

    kind: str
    features: Sequence[str]
    count: int
    classes: Sequence[Any]
    categorical: Sequence[str]
    answer: Callable[[pd.DataFrame], Any]


def format_of(path: Path) -> str:
    """Return the format of a model's file or folder; raises `ModelFormatError` if it is none that is known."""
    if path.is_dir() and (path / "MLmodel").is_file():
        return "mlflow"
    found = FILES.get(path.suffix.lower())
    if found is None or not path.is_file():
        raise ModelFormatError(
            f"{path}: no model of a known format",
            f"name a folder with a file MLmodel, or a file that ends with {', '.join(FILES)}",
        )
    return found


def described(folder: Path) -> dict[str, Any]:
    """Return what the file MLmodel of a folder says: the inputs by name with their type, if there is a signature."""
    try:
        found = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        signature = found.get("signature") or {}
        columns = json.loads(signature.get("inputs") or "[]")
        inputs = {c["name"]: str(c.get("type", "")) for c in columns if isinstance(c, dict) and "name" in c}
        return {"flavors": list(found["flavors"]), "inputs": inputs}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ModelFormatError(
            f"{folder}: no readable MLmodel file ({error})", "log the model again"
        ) from error


def load(path: Path, kind: str) -> OpenedModel:
    """Load a model; this may run code of its."""
    return _LOADERS[kind](path)


def _mlflow(path: Path) -> OpenedModel:
    import mlflow

    flavors = described(path)["flavors"]
    flavor = next((name for name in _FLAVORS if name in flavors), None)
    if flavor is None:
        raise ModelFormatError(
            f"{path}: flavors {', '.join(flavors)}", f"log it as one of {', '.join(_FLAVORS)}"
        )
    inputs = list(described(path)["inputs"])
    if flavor == "onnx":
        model = next(path.rglob("*.onnx"))
        return _onnx(model, inputs)
    if flavor == "python_function":
        model = mlflow.pyfunc.load_model(str(path))
        return OpenedModel(
            "python_function", inputs, len(inputs), (), (), lambda rows: _plain(model.predict(rows))
        )
    return _of_object(getattr(mlflow, flavor).load_model(str(path)))


def _pickle(path: Path) -> OpenedModel:
    import pickle

    with path.open("rb") as file:
        return _of_object(pickle.load(file))  # noqa: S301 - what the closed process is for


def _joblib(path: Path) -> OpenedModel:
    import joblib

    return _of_object(joblib.load(path))


def _skops(path: Path) -> OpenedModel:
    import skops.io

    return _of_object(skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path)))


def _lightgbm(path: Path) -> OpenedModel:
    import lightgbm

    return _of_object(lightgbm.Booster(model_file=str(path)))


def _xgboost(path: Path) -> OpenedModel:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(str(path))
    return _of_object(booster)


def _catboost(path: Path) -> OpenedModel:
    import catboost

    model = catboost.CatBoost()
    model.load_model(str(path))
    return _of_object(model)


def _of_object(model: Any) -> OpenedModel:
    """Return what gives the answers of a loaded object, by the module of its class."""
    library, kind = (
        type(model).__module__.split(".")[0],
        f"{type(model).__module__}.{type(model).__qualname__}",
    )
    if kind.startswith("lightgbm.") and kind.endswith(".Booster"):
        names = model.feature_name()
        return OpenedModel(kind, names, len(names), (), (), partial(_of_lightgbm, model))
    if kind.startswith("xgboost.") and kind.endswith(".Booster"):
        names, types = model.feature_names or (), model.feature_types or ()
        categories = [name for name, one in zip(names, types, strict=False) if one == "c"]
        return OpenedModel(
            kind, names, model.num_features(), (), categories, partial(_of_xgboost, model, categories)
        )
    if library == "catboost":
        return _of_catboost(model, kind)
    names = [str(name) for name in getattr(model, "feature_names_in_", ())]
    count = int(getattr(model, "n_features_in_", len(names)))
    if hasattr(model, "predict_proba"):
        classes = [getattr(one, "item", lambda one=one: one)() for one in model.classes_]
        return OpenedModel(
            kind, names, count, classes, (), lambda rows: model.predict_proba(_columns(rows, names))
        )
    if not hasattr(model, "predict"):
        raise ModelFormatError(f"{kind} has no method `predict`", "store an object that has one")
    return OpenedModel(kind, names, count, (), (), lambda rows: _plain(model.predict(_columns(rows, names))))


def _of_catboost(model: Any, kind: str) -> OpenedModel:
    names = list(model.feature_names_)
    categories = [names[place] for place in model.get_cat_feature_indices()]
    classes = [getattr(one, "item", lambda one=one: one)() for one in getattr(model, "classes_", ())]

    def answer(rows: pd.DataFrame) -> Any:
        taken = _columns(rows, names).copy()
        for name in categories:
            taken[name] = taken[name].astype("string").fillna("nan").astype(object)
        return model.predict(taken, prediction_type="Probability" if len(classes) else "RawFormulaVal")

    return OpenedModel(kind, names, len(names), classes, categories, answer)


def _of_lightgbm(model: Any, rows: pd.DataFrame) -> Any:
    taken = _columns(rows, model.feature_name())
    texts = {name: "category" for name in rows if rows[name].dtype == object}
    return model.predict(taken.astype(texts) if texts else taken)


def _of_xgboost(model: Any, categories: Sequence[str], rows: pd.DataFrame) -> Any:
    import xgboost

    taken = _columns(rows, model.feature_names or ())
    if categories:
        taken = taken.astype(dict.fromkeys(categories, "category"))
    return model.predict(xgboost.DMatrix(taken, enable_categorical=True))


def _onnx(path: Path, names: Sequence[str] = ()) -> OpenedModel:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    one = len(inputs) == 1 and len(inputs[0].shape) == 2 and inputs[0].shape[1] not in (1, None)
    names = names if one else [each.name for each in inputs]
    texts = [each.name for each in inputs if each.type == "tensor(string)" and not one]

    def typed(values: Any, kind: str) -> Any:
        if kind == "tensor(string)":
            return values.astype(str)
        return values.astype({"tensor(double)": np.float64, "tensor(int64)": np.int64}.get(kind, np.float32))

    def answer(rows: pd.DataFrame) -> Any:
        if one:
            given = {inputs[0].name: typed(np.asarray(_columns(rows, names)), inputs[0].type)}
        else:
            given = {each.name: typed(rows[[each.name]].to_numpy(), each.type) for each in inputs}
        answers = session.run(None, given)
        found = answers[-1]  # of a classifier: labels, then probabilities
        return [list(row.values()) for row in found] if isinstance(found, list) else found

    count = int(inputs[0].shape[1]) if one and isinstance(inputs[0].shape[1], int) else len(names)
    return OpenedModel("onnx", names, count, (), texts, answer)


def _columns(rows: pd.DataFrame, names: Sequence[str]) -> Any:
    """Return the columns in the model's order; of a model that knows no names, as an array."""
    return rows[list(names)] if len(names) and not str(names[0]).startswith("Column_") else rows.to_numpy()


def _plain(answers: Any) -> Any:
    """Return the answers without the table around them; of several columns the last."""
    import numpy as np

    values = np.asarray(answers)
    return values[:, -1] if values.ndim == 2 and values.shape[1] == 1 else values


_LOADERS: dict[str, Callable[[Path], OpenedModel]] = {
    "mlflow": _mlflow,
    "pickle": _pickle,
    "joblib": _joblib,
    "skops": _skops,
    "onnx": _onnx,
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "catboost": _catboost,
}
