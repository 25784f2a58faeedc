"""Models of other people, in every format that they keep them in, and the rows that these answer."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

START = pd.Timestamp("2026-01-05", tz="UTC")
NUMBERS = ["tenure", "fee"]


def rows(count: int, *, days: int = 90, seed: int = 0, effect: float = 0.3) -> pd.DataFrame:
    """Return rows of a year's customers; who stays depends on both numbers."""
    rng = np.random.default_rng(seed)
    tenure, fee = rng.normal(20, 5, count), rng.gamma(2.0, 10.0, count)
    chance = 1 / (1 + np.exp(-(effect * (tenure - 20) + 0.05 * (fee - 20))))
    at = START + pd.to_timedelta(np.sort(rng.uniform(0, days, count)), unit="D").floor("us")
    churned = (rng.random(count) < chance).astype(int)
    names = [f"c{place}" for place in range(count)]
    return pd.DataFrame({"customer": names, "asked_at": at, "tenure": tenure, "fee": fee, "churned": churned})


def classifier(data: pd.DataFrame) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression()).fit(data[NUMBERS], data["churned"])


Made = tuple[Path, Any]  # the file, and its answers to the rows


def pickled(folder: Path, data: pd.DataFrame) -> Made:
    model, file = classifier(data), folder / "model.pkl"
    file.write_bytes(pickle.dumps(model))
    return file, model.predict_proba(data[NUMBERS])


def cloudpickled(folder: Path, data: pd.DataFrame) -> Made:
    import cloudpickle

    model = classifier(data)

    class Careful:  # defined nowhere else: cloudpickle keeps its code
        feature_names_in_ = np.asarray(NUMBERS)
        classes_ = np.asarray([0, 1])

        def predict_proba(self, frame: pd.DataFrame) -> Any:
            return model.predict_proba(frame) / 2 + 0.25

    file = folder / "model.cloudpickle"
    file.write_bytes(cloudpickle.dumps(Careful()))
    return file, Careful().predict_proba(data[NUMBERS])


def joblib_dumped(folder: Path, data: pd.DataFrame) -> Made:
    import joblib

    model, file = classifier(data), folder / "model.joblib"
    joblib.dump(model, file, compress=True)
    return file, model.predict_proba(data[NUMBERS])


def lightgbm_native(folder: Path, data: pd.DataFrame) -> Made:
    import lightgbm

    params = {"objective": "binary", "num_threads": 1, "verbose": -1}
    model = lightgbm.train(params, lightgbm.Dataset(data[NUMBERS], data["churned"]), 5)
    model.save_model(folder / "model.txt")
    return folder / "model.txt", model.predict(data[NUMBERS])


def xgboost_native(folder: Path, data: pd.DataFrame) -> Made:
    import xgboost

    table = xgboost.DMatrix(data[NUMBERS], data["churned"])
    model = xgboost.train({"objective": "binary:logistic", "nthread": 1}, table, 5)
    model.save_model(folder / "model.ubj")
    return folder / "model.ubj", model.predict(table)


def catboost_native(folder: Path, data: pd.DataFrame) -> Made:
    import catboost

    model = catboost.CatBoostClassifier(
        iterations=5, thread_count=1, verbose=False, allow_writing_files=False, train_dir=str(folder)
    )
    model.fit(data[NUMBERS], data["churned"])
    model.save_model(str(folder / "model.cbm"))
    return folder / "model.cbm", model.predict_proba(data[NUMBERS])


def onnx_graph(folder: Path, data: pd.DataFrame) -> Made:
    from skl2onnx import to_onnx

    model = classifier(data)
    graph = to_onnx(
        model.__class__(model.steps), data[NUMBERS].to_numpy(np.float32), options={"zipmap": False}
    )
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    return folder / "model.onnx", model.predict_proba(data[NUMBERS])


def pyfunc_folder(folder: Path, data: pd.DataFrame) -> Made:
    import cloudpickle
    import mlflow

    model = classifier(data)

    class Scores(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame) -> Any:
            return model.predict_proba(model_input[["tenure", "fee"]])[:, 1]

    cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["NUMBERS"]))
    signature = mlflow.models.infer_signature(data[NUMBERS], np.zeros(len(data)))
    example = data[NUMBERS].head(2)
    mlflow.pyfunc.save_model(
        folder / "pyfunc",
        python_model=Scores(),
        signature=signature,
        input_example=example,
        pip_requirements=[],
    )
    return folder / "pyfunc", model.predict_proba(data[NUMBERS])[:, 1]


def sklearn_folder(folder: Path, data: pd.DataFrame) -> Made:
    import mlflow

    model = classifier(data)
    signature = mlflow.models.infer_signature(data[NUMBERS], model.predict(data[NUMBERS]))
    mlflow.sklearn.save_model(
        model,
        folder / "sklearn",
        signature=signature,
        serialization_format="cloudpickle",
        pip_requirements=[],
    )
    assert "cloudpickle" in json.dumps((folder / "sklearn" / "MLmodel").read_text())
    return folder / "sklearn", model.predict_proba(data[NUMBERS])


FORMATS: tuple[Callable[[Path, pd.DataFrame], Made], ...] = (
    pickled, cloudpickled, joblib_dumped, lightgbm_native, xgboost_native, catboost_native, onnx_graph, pyfunc_folder,
    sklearn_folder,
)  # fmt: skip
