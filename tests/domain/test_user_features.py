"""A module of features is the first step of the pipeline: the same in training and serving, stored by its name only."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

import feature_functions
import feature_mistakes
from evermodel.core.errors import EvermodelError, SpecError, TrainingError
from evermodel.data.dtypes import feature_frame
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.model_store import load_model
from evermodel.modeling.scoring.day import score_day
from evermodel.modeling.skops_files import TRUSTED_TYPES
from evermodel.spec import ModelSpec
from evermodel.spec.window import parse_moment
from support.flights import World
from support.small_model import small_rows, small_spec

TREES = {
    "name": "trees",
    "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
    "params": {"max_iter": 5},
}


def spec_with(module: str | None, **sections: Any) -> ModelSpec:
    features = {
        "numeric": ["temp", "wind"],
        "categorical": ["carrier"],
        "module": module,
        "derived_numeric": ["log_wind"],
        "derived_categorical": ["band"],
    }
    return small_spec("unused", **{"features": features, **sections})


def fitted(spec: ModelSpec) -> tuple[Pipeline, Any]:
    rows = small_rows()
    frame = feature_frame(spec, rows)
    return build_pipeline(spec, spec.candidates[0]).fit(frame, np.asarray(rows["late"])), frame


@pytest.mark.parametrize(
    "candidates", [[TREES], [{**TREES, "estimator": "sklearn.linear_model.LogisticRegression", "params": {}}]]
)
def test_derived_columns_reach_the_estimator(candidates: list[Any]) -> None:
    pipeline, frame = fitted(spec_with("feature_functions", candidates=candidates))
    assert list(pipeline["features"].transform(frame).columns) == [
        "temp",
        "wind",
        "carrier",
        "log_wind",
        "band",
    ]
    names = pipeline[1].feature_names_in_
    assert list(names) == ["temp", "wind", "carrier", "log_wind", "band"]
    assert list(frame.columns) == ["temp", "wind", "carrier"]
    one = pipeline.predict_proba(frame.iloc[[7]])
    assert one.tolist() == pipeline.predict_proba(frame)[[7]].tolist()


def test_a_stored_model_holds_the_name_of_the_module_and_follows_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, frame = fitted(spec_with("feature_functions"))
    skops.io.dump(pipeline, tmp_path / "model.skops")
    assert set(skops.io.get_untrusted_types(file=tmp_path / "model.skops")) <= set(TRUSTED_TYPES)
    again = skops.io.load(tmp_path / "model.skops", trusted=list(TRUSTED_TYPES))
    assert again.predict_proba(frame).tolist() == pipeline.predict_proba(frame).tolist()
    assert (again["features"].module, vars(again["features"]).keys()) == (
        "feature_functions",
        {"module", "numeric", "categorical"},
    )
    monkeypatch.setattr(feature_functions, "features", lambda f: f.assign(log_wind=9.0, band="x"))
    assert set(again["features"].transform(frame)["log_wind"]) == {9.0}


def test_a_module_may_build_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(spec: ModelSpec, candidate: Any) -> Pipeline:
        steps = [("pick", _picker()), ("model", LogisticRegression(C=candidate.params["C"]))]
        return Pipeline(steps)

    monkeypatch.setattr(feature_functions, "build_pipeline", build, raising=False)
    candidate = {"name": "own", "estimator": "sklearn.linear_model.LogisticRegression", "params": {"C": 0.5}}
    pipeline, frame = fitted(spec_with("feature_functions", candidates=[candidate]))
    assert [name for name, _ in pipeline.steps] == ["features", "pick", "model"]
    assert (pipeline[-1].C, pipeline.predict_proba(frame).shape) == (0.5, (80, 2))


def _picker() -> Any:
    from sklearn.compose import ColumnTransformer

    return ColumnTransformer([("numbers", "passthrough", ["temp", "log_wind"])])


@pytest.mark.parametrize(
    ("module", "kind", "says"),
    [
        (
            feature_mistakes.MEAN,
            TrainingError,
            "feature_mean.features returns different values of log_wind for 20 rows alone",
        ),
        (
            feature_mistakes.LAG,
            TrainingError,
            "feature_lag.features returns different values of log_wind for 20 rows",
        ),
        (feature_mistakes.FEWER, TrainingError, "feature_fewer.features returned 19 rows for 20 rows"),
        (feature_mistakes.LIST, TrainingError, "feature_list.features returned a list"),
        (feature_mistakes.LACKS, TrainingError, "feature_lacks.features does not return log_wind"),
        (feature_mistakes.EMPTY, SpecError, "has neither features"),
        (feature_mistakes.NO_PIPELINE, SpecError, "build_pipeline returned a str"),
        ("no_such_module", SpecError, "features.module: no_such_module cannot be imported"),
    ],
)
def test_a_mistake_in_the_module_is_told(module: str, kind: type[EvermodelError], says: str) -> None:
    with pytest.raises(EvermodelError) as caught:
        fitted(spec_with(module))
    assert type(caught.value) is kind
    assert says in caught.value.problem
    assert caught.value.advice


def test_derived_columns_need_a_module_and_names_of_their_own() -> None:
    with pytest.raises(ValidationError, match="derived columns need a `module`"):
        spec_with(None)
    with pytest.raises(ValidationError, match="temp listed twice"):
        small_spec("", features={"numeric": ["temp"], "module": "x", "derived_numeric": ["temp"]})


def test_a_model_with_a_module_is_trained_judged_stored_and_scores(world: World) -> None:
    world.change(
        features={
            "module": "feature_flights",
            "derived_numeric": ["log_distance"],
            "derived_categorical": ["route"],
        }
    )
    version = world.champion("2013-03-11")
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(world.client, f"models:/{world.name}/{version}", Path(folder), world.spec.own_code)
    assert "log_distance" in model.pipeline[1].feature_names_in_
    assert [column["name"] for column in model.inputs] == world.spec.features.names
    scored = score_day(world.spec, parse_moment("2013-03-12"), world.client, world.settings)
    assert scored.rows > 0
    assert 0 < scored.mean_score < 1
