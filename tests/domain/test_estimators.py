from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from evermodel.core.errors import SpecError
from evermodel.modeling.estimators import build_estimator, build_pipeline
from evermodel.spec import CandidateSpec
from support.small_spec import small_spec

TREES = "sklearn.ensemble.HistGradientBoostingClassifier"
LINEAR = "sklearn.linear_model.LogisticRegression"


def _candidate(estimator: str, **params: Any) -> CandidateSpec:
    return CandidateSpec(name="tried", estimator=estimator, params=params)


def _rows(count: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    generator = np.random.default_rng(0)
    amount = generator.normal(size=count)
    colour = generator.choice(["red", "green", "blue"], count)
    labels = (amount + (colour == "red") + generator.normal(size=count) > 0.5).astype(np.int8)
    frame = pd.DataFrame(
        {"amount": amount, "age": generator.normal(size=count), "colour": colour.astype(object)}
    )
    frame.loc[::10, ["age", "colour"]] = [np.nan, None]
    return frame, labels


@pytest.mark.parametrize(
    "path", ["os.system", "subprocess.Popen", "sklearnx.Model", "builtins.eval", "Model", ""]
)
def test_only_allowed_packages_are_imported(path: str) -> None:
    with pytest.raises(SpecError, match=r"candidate tried: .*is not from sklearn, lightgbm, xgboost"):
        build_estimator(_candidate(path), 0)


@pytest.mark.parametrize(
    "path", ["sklearn.linear_model.LogisticRegresion", "sklearn.linear.LogisticRegression"]
)
def test_an_unknown_class_is_named(path: str) -> None:
    with pytest.raises(SpecError, match=f"candidate tried: {path} cannot be imported"):
        build_estimator(_candidate(path), 0)


@pytest.mark.parametrize(
    "path",
    [
        "sklearn.datasets.make_classification",
        "sklearn.base.warnings",
        "sklearn.preprocessing.StandardScaler",
        "sklearn.linear_model.LinearRegression",
        "sklearn.svm.LinearSVC",
    ],
)
def test_what_is_no_classifier_with_probabilities_is_refused(path: str) -> None:
    with pytest.raises(SpecError, match=r"candidate tried: .* is not a classifier that gives probabilities"):
        build_estimator(_candidate(path), 0)


def test_an_unknown_parameter_is_named_with_those_that_exist() -> None:
    with pytest.raises(SpecError, match=r"no parameter max_iters[\s\S]*its parameters are: .*max_iter, "):
        build_estimator(_candidate(LINEAR, max_iters=5, C=0.1), 0)


def test_parameters_that_a_class_hands_to_its_base_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn.dummy

    class Base(sklearn.dummy.DummyClassifier):  # type: ignore[misc]
        def __init__(self, *, depth: int = 3, random_state: int | None = None, **kwargs: Any) -> None:
            self.depth, self.random_state = depth, random_state

    class Boosted(Base):
        """Takes its parameters as xgboost's classes do."""

        def __init__(self, *, objective: str = "x", **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.objective = objective

    monkeypatch.setattr(sklearn.dummy, "Boosted", Boosted, raising=False)

    built = build_estimator(_candidate("sklearn.dummy.Boosted", depth=7), 5)

    assert (built.depth, built.random_state) == (7, 5)
    with pytest.raises(SpecError, match="no parameter dept\n"):
        build_estimator(_candidate("sklearn.dummy.Boosted", dept=7), 5)


def test_the_seed_of_the_spec_is_used_unless_the_candidate_has_its_own() -> None:
    assert build_estimator(_candidate(TREES), 42).random_state == 42
    assert build_estimator(_candidate(TREES, random_state=1), 42).random_state == 1
    assert not hasattr(build_estimator(_candidate("sklearn.naive_bayes.GaussianNB"), 42), "random_state")


@pytest.mark.parametrize("path", [TREES, LINEAR])
def test_one_seed_gives_one_model(path: str) -> None:
    frame, labels = _rows()
    spec = small_spec(seed=3)

    first, second = (build_pipeline(spec, _candidate(path)).fit(frame, labels) for _ in range(2))

    assert (first.predict_proba(frame) == second.predict_proba(frame)).all()


@pytest.mark.parametrize("path", [TREES, LINEAR])
def test_unseen_categories_and_nulls_are_scored(path: str) -> None:
    frame, labels = _rows()
    pipeline = build_pipeline(small_spec(), _candidate(path)).fit(frame, labels)
    odd = pd.DataFrame(
        {
            "amount": [0.5, np.nan, 0.5, 0.5],
            "age": [np.nan, np.nan, 0.1, 0.1],
            "colour": pd.Series(["mauve", None, "red", "blue"], dtype=object),
        }
    )

    scores = pipeline.predict_proba(odd)[:, 1]

    assert np.isfinite(scores).all()
    assert scores[2] > scores[3]  # the model knows red from blue


def test_boosted_trees_see_categories_as_categories_and_all_unseen_ones_alike() -> None:
    frame, labels = _rows()
    pipeline = build_pipeline(small_spec(), _candidate(TREES)).fit(frame, labels)
    two = frame.iloc[[1, 1]].assign(colour=pd.Series(["mauve", "254"], dtype=object).to_numpy())

    assert pipeline[-1].is_categorical_.tolist() == [False, False, True]
    one, other = pipeline.predict_proba(two)[:, 1]
    assert one == other


@pytest.mark.filterwarnings("ignore:Skipping features")
def test_a_column_that_was_empty_in_training_is_no_obstacle_to_a_linear_model() -> None:
    frame, labels = _rows()
    frame["age"], frame["colour"] = np.nan, None

    pipeline = build_pipeline(small_spec(), _candidate(LINEAR)).fit(frame, labels)

    assert np.isfinite(pipeline.predict_proba(_rows()[0])).all()
