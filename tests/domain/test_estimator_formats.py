"""Estimators that a spec may name survive storing and loading without a pickle."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest
import skops.io

from evermodel.data.dtypes import feature_frame
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.skops_files import checked_dump
from evermodel.spec import CandidateSpec
from support.small_spec import small_spec

CLASSIFIERS = {
    "sklearn.ensemble.HistGradientBoostingClassifier": {"max_iter": 5},
    "sklearn.ensemble.RandomForestClassifier": {"n_estimators": 5},
    "sklearn.ensemble.GradientBoostingClassifier": {"n_estimators": 5},
    "sklearn.linear_model.LogisticRegression": {},
    "sklearn.neural_network.MLPClassifier": {"max_iter": 3, "hidden_layer_sizes": [4]},
    "lightgbm.LGBMClassifier": {"n_estimators": 5, "verbose": -1},
    "xgboost.XGBClassifier": {"n_estimators": 5},
    "xgboost.XGBRFClassifier": {"n_estimators": 5},
    "catboost.CatBoostClassifier": {"iterations": 5},
}
REGRESSORS = {
    "sklearn.ensemble.HistGradientBoostingRegressor": {"max_iter": 5},
    "sklearn.ensemble.RandomForestRegressor": {"n_estimators": 5},
    "sklearn.linear_model.Ridge": {},
    "lightgbm.LGBMRegressor": {"n_estimators": 5, "verbose": -1},
    "xgboost.XGBRegressor": {"n_estimators": 5},
    "catboost.CatBoostRegressor": {"iterations": 5},
}
CASES = [
    *(("binary", path, params) for path, params in CLASSIFIERS.items()),
    *(("multiclass", path, params) for path, params in CLASSIFIERS.items()),
    *(("regression", path, params) for path, params in REGRESSORS.items()),
]


@pytest.mark.parametrize(("task", "path", "params"), CASES, ids=lambda value: str(value).rsplit(".", 1)[-1])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_stored_estimator_answers_the_same(task: str, path: str, params: dict[str, object]) -> None:
    if importlib.util.find_spec(path.split(".")[0]) is None:
        pytest.skip(f"{path.split('.')[0]} is not installed")
    metric = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}[task]
    spec = small_spec(task=task, gate={"metric": metric})
    rng, rows = np.random.default_rng(0), 200
    numbers = {name: rng.normal(size=rows) for name in spec.features.numeric}
    names = {name: rng.choice(["a", "b", "c"], rows) for name in spec.features.categorical}
    frame = feature_frame(spec, pd.DataFrame({**numbers, **names}))
    labels = {
        "binary": rng.integers(0, 2, rows),
        "multiclass": rng.choice(["x", "y", "z"], rows),
        "regression": rng.normal(size=rows),
    }[task]
    pipeline = build_pipeline(spec, CandidateSpec(name="one", estimator=path, params=params))
    pipeline.fit(frame, labels)

    loaded = skops.io.loads(skops.io.dumps(pipeline), trusted=checked_dump(pipeline)[1])

    ask = "predict" if task == "regression" else "predict_proba"
    np.testing.assert_array_equal(getattr(loaded, ask)(frame), getattr(pipeline, ask)(frame))
