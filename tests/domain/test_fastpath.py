"""A graph gives the pipeline's answers: for every estimator that has one, on wild rows, through its files."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evermodel.data.dtypes import feature_frame
from evermodel.modeling.estimators import build_pipeline, calibrated
from evermodel.modeling.onnx.batch import for_batches
from evermodel.modeling.onnx.encoded import encoded_model
from evermodel.modeling.onnx.encoding import Encoding
from evermodel.modeling.onnx.export import export
from evermodel.modeling.onnx.export_if_equal import Agreement, compare
from evermodel.modeling.onnx.graph import NotExportableError
from evermodel.modeling.onnx.leaves import Intervals
from evermodel.modeling.onnx.runtime import GRAPH_FILE, FastModel, read, start, write
from support.small_spec import small_spec

BINARY = {
    "boosting": ("sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 20}),
    "logistic": ("sklearn.linear_model.LogisticRegression", {}),
    "forest": ("sklearn.ensemble.RandomForestClassifier", {"n_estimators": 7, "max_depth": 6}),
    "extra trees": ("sklearn.ensemble.ExtraTreesClassifier", {"n_estimators": 7, "max_depth": 6}),
    "tree": ("sklearn.tree.DecisionTreeClassifier", {"max_depth": 5}),
    "lightgbm": ("lightgbm.LGBMClassifier", {"n_estimators": 20}),
    "xgboost": ("xgboost.XGBClassifier", {"n_estimators": 20}),
}
CONVERTED = {
    "neural network": ("sklearn.neural_network.MLPClassifier", {"max_iter": 20}),
    "naive bayes": ("sklearn.naive_bayes.GaussianNB", {}),
    "neighbours": ("sklearn.neighbors.KNeighborsClassifier", {}),
    "gradient descent": ("sklearn.linear_model.SGDClassifier", {"loss": "log_loss"}),
}
REGRESSION = {
    "boosting": ("sklearn.ensemble.HistGradientBoostingRegressor", {"max_iter": 20}),
    "poisson": ("sklearn.ensemble.HistGradientBoostingRegressor", {"max_iter": 20, "loss": "poisson"}),
    "ridge": ("sklearn.linear_model.Ridge", {}),
    "forest": ("sklearn.ensemble.RandomForestRegressor", {"n_estimators": 7, "max_depth": 6}),
    "lightgbm": ("lightgbm.LGBMRegressor", {"n_estimators": 20}),
    "lightgbm poisson": ("lightgbm.LGBMRegressor", {"n_estimators": 20, "objective": "poisson"}),
    "lightgbm forest": (
        "lightgbm.LGBMRegressor",
        {"n_estimators": 9, "boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.7},
    ),
    "xgboost": ("xgboost.XGBRegressor", {"n_estimators": 20}),
    "xgboost gamma": ("xgboost.XGBRegressor", {"n_estimators": 20, "objective": "reg:gamma"}),
    "xgboost forest": ("xgboost.XGBRFRegressor", {"n_estimators": 9}),
}


def _spec(estimator: str, params: dict[str, Any], task: str = "binary") -> Any:
    return small_spec(task=task, candidates=[{"name": "one", "estimator": estimator, "params": params}])


def _data(rows: int, seed: int) -> pa.Table:
    generator = np.random.default_rng(seed)
    colours = np.array(["red", "green", "blue", *(f"c{i}" for i in range(40))])
    amount, age = generator.normal(size=rows), generator.exponential(20, rows)
    chosen = generator.integers(0, len(colours), rows) * (generator.random(rows) < 0.6)
    return pa.table(
        {
            "amount": pa.array(np.where(generator.random(rows) < 0.1, np.nan, amount), from_pandas=True),
            "age": pa.array(age),
            "colour": pa.array(
                [None if generator.random() < 0.1 else colours[i] for i in chosen], pa.string()
            ),
        }
    )


def _fitted(spec: Any, table: pa.Table, calibrate: Any = None) -> Any:
    frame = feature_frame(spec, table)
    signal = np.nan_to_num(frame["amount"].to_numpy()) + frame["colour"].isin(["red", "c3", "c30"]).to_numpy()
    noise = np.random.default_rng(9).normal(size=len(frame))
    labels: Any = signal + noise
    if spec.task == "binary":
        labels = (labels > 0.4).astype(int)
    elif spec.task == "multiclass":
        labels = np.array(["low", "middle", "high"])[np.digitize(labels, [0.0, 1.0])]
    else:
        labels = np.exp(labels / 3)
    pytest.importorskip(spec.candidates[0].estimator.partition(".")[0])
    pipeline = build_pipeline(spec, spec.candidates[0]).fit(frame, labels)
    return calibrated(pipeline, calibrate, frame, labels) if calibrate else pipeline


def _fast(pipeline: Any) -> FastModel:
    return start(export(pipeline))


CASES = [
    *((f"binary {name}", case, "binary", None) for name, case in BINARY.items()),
    *((f"multiclass {name}", case, "multiclass", None) for name, case in BINARY.items()),
    *((f"regression {name}", case, "regression", None) for name, case in REGRESSION.items()),
    *((f"{how} boosting", BINARY["boosting"], "binary", how) for how in ("sigmoid", "isotonic")),
    ("sigmoid lightgbm", BINARY["lightgbm"], "binary", "sigmoid"),
    ("sigmoid logistic", BINARY["logistic"], "binary", "sigmoid"),
    ("isotonic forest", BINARY["forest"], "binary", "isotonic"),
]


@pytest.mark.parametrize(("case", "task", "how"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_graph_agrees_with_its_pipeline_on_rows_it_never_saw(case: Any, task: str, how: Any) -> None:
    spec = _spec(case[0], case[1], task)
    pipeline = _fitted(spec, _data(600, 0), how)
    fresh = _data(2000, 1)
    strange = fresh.set_column(2, "colour", pa.array(["never seen", None] * 1000, pa.string()))
    rows = pa.concat_tables([fresh, strange])

    agreement = compare(pipeline, _fast(pipeline), feature_frame(spec, rows), rows)

    rounded = case[0].startswith("xgboost")
    assert agreement.holds or (rounded and task == "regression")
    assert agreement.rows == 4000
    assert agreement.largest < (5e-6 if rounded else 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "task", "how"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_masks_of_leaves_answer_many_rows_as_the_graph_does(
    case: Any, task: str, how: Any, tmp_path: Path
) -> None:
    pipeline = _fitted(_spec(case[0], case[1], task), _data(600, 0), how)
    write(export(pipeline), tmp_path)
    fast = read(tmp_path)
    batch = for_batches(tmp_path, fast, few=0)
    fresh = _data(2000, 1)
    strange = fresh.set_column(2, "colour", pa.array(["never seen", None] * 1000, pa.string()))
    endless = fresh.set_column(1, "age", pa.array([math.inf, -math.inf] * 1000))

    for rows in (fresh, strange, endless, fresh.slice(0, 0), fresh.slice(0, 513)):
        np.testing.assert_allclose(batch.answer_table(rows), fast.answer_table(rows), rtol=0, atol=1e-12)
    assert batch.engine == ("onnx" if "linear_model" in case[0] else "masks")


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("library", ["lightgbm.LGBM", "xgboost.XGB", "catboost.CatBoost"])
def test_a_librarys_own_predictor_answers_exactly_as_its_pipeline(library: str, task: str) -> None:
    spec = _spec(library + ("Regressor" if task == "regression" else "Classifier"), {"n_estimators": 5}, task)
    pipeline, fresh = _fitted(spec, _data(300, 0)), _data(400, 1)
    rows = fresh.set_column(2, "colour", pa.array(["never seen", None, "red", "c3"] * 100, pa.string()))
    frame = feature_frame(spec, rows)

    model = encoded_model(pipeline, frame)

    assert model is not None
    assert model.engine == "native"
    assert model.classes == (("high", "low", "middle") if task == "multiclass" else ())
    given = [
        tuple(math.nan if v is None and n != "colour" else v for n, v in r.items())
        for r in rows.slice(0, 7).to_pylist()
    ]
    np.testing.assert_array_equal(model.answer(given), model.answer_table(rows)[:7])
    assert model.answer([]).shape == (0, 3 if task == "multiclass" else 1)
    assert compare(pipeline, model, frame, rows).largest == 0


def test_a_calibrated_booster_keeps_its_own_predictor_and_another_estimator_has_none() -> None:
    spec = _spec("lightgbm.LGBMClassifier", {"n_estimators": 5})
    frame = feature_frame(spec, _data(300, 0))

    assert encoded_model(_fitted(spec, _data(300, 0), "isotonic"), frame) is not None
    assert encoded_model(BOOSTED_PIPELINE, frame) is None


@settings(deadline=None)  # the first call imports
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=0, max_size=40),
    st.floats(min_value=1e-9, max_value=1.0),
    st.lists(st.floats(), max_size=40),
)
def test_a_number_lies_in_the_interval_that_a_search_finds(
    wild: list[float], width: float, values: list[float]
) -> None:
    for cuts in (wild, [c * width for c in range(len(wild))]):
        ends = np.unique([*cuts, math.inf])
        with np.errstate(all="ignore"):  # beyond the largest number, and next to zero
            near = [np.nextafter(ends, side) for side in (-math.inf, math.inf)]
        asked = np.concatenate([values, ends, *near, [math.nan, math.inf, -math.inf]])

        np.testing.assert_array_equal(Intervals(ends).of(asked), np.searchsorted(ends, asked))


def test_masks_are_made_when_they_pay(tmp_path: Path) -> None:
    write(export(BOOSTED_PIPELINE), tmp_path)
    batch = for_batches(tmp_path, BOOSTED_FAST, few=600)
    table = _data(500, 7)
    (tmp_path / GRAPH_FILE).unlink()  # the folder of a download does not outlive it

    engines, answers = [], []
    for _ in range(3):
        answers.append(batch.answer_table(table))
        engines.append(batch.engine)

    assert engines == ["onnx", "masks", "masks"]
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], rtol=0, atol=1e-12)


@pytest.mark.slow
def test_the_loops_are_compiled_also_where_their_code_cannot_be_kept() -> None:
    probe = (
        "import numba, numpy as np; njit = numba.njit\n"
        "def nowhere(*found, cache=False, **options):\n"
        "    if cache: raise RuntimeError('cannot cache function: no locator available')\n"
        "    return njit(*found, **options)\n"
        "numba.njit = nowhere\n"
        "from evermodel.modeling.onnx.leaves import Intervals\n"
        "print(Intervals(np.array([1.0, 2.0, np.inf])).of(np.array([0.0, 1.0, 1.5, np.nan])).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[0, 0, 1, 3]\n", done.stderr


def test_masks_that_differ_from_the_graph_are_given_up(tmp_path: Path) -> None:
    write(export(BOOSTED_PIPELINE), tmp_path)
    other = _fitted(BOOSTED, _data(600, 5))
    table = _data(200, 6)

    batch = for_batches(tmp_path, _fast(other), few=0)

    np.testing.assert_array_equal(batch.answer_table(table), _fast(other).answer_table(table))
    assert batch.engine == "onnx"


WILD = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=64))
BOOSTED = _spec(*BINARY["boosting"])
BOOSTED_PIPELINE = _fitted(BOOSTED, _data(600, 0))
BOOSTED_FAST = _fast(BOOSTED_PIPELINE)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(WILD, WILD, st.one_of(st.none(), st.sampled_from(["red", "c3", "c30"]), st.text())))
)
@pytest.mark.slow
def test_any_row_gets_the_pipelines_answer(rows: list[tuple[Any, Any, Any]]) -> None:
    known = [(math.nan if a is None else a, math.nan if b is None else b, c) for a, b, c in rows]
    found = BOOSTED_FAST.answer(known)

    assert found.shape == (len(rows), 1)
    if rows:
        frame = pd.DataFrame(known, columns=["amount", "age", "colour"])
        wanted = BOOSTED_PIPELINE.predict_proba(feature_frame(BOOSTED, frame))[:, 1]
        assert found[:, 0] == pytest.approx(wanted, abs=1e-12)


def test_rows_and_tables_are_encoded_the_same() -> None:
    table = _data(50, 3)
    rows = [
        tuple(math.nan if v is None and n != "colour" else v for n, v in r.items()) for r in table.to_pylist()
    ]

    by_row, by_table = BOOSTED_FAST.encoding.rows(rows), BOOSTED_FAST.encoding.table(table)

    np.testing.assert_array_equal(by_row, by_table)


def test_a_graph_answers_the_same_after_its_files_were_read_again(tmp_path: Path) -> None:
    exported = export(BOOSTED_PIPELINE)
    write(exported, tmp_path)

    again = read(tmp_path)

    assert (
        Encoding.from_json(json.loads(json.dumps(exported.encoding.to_json()))).names == again.encoding.names
    )
    table = _data(100, 4)
    np.testing.assert_array_equal(again.answer_table(table), BOOSTED_FAST.answer_table(table))


def test_decisions_are_compared_at_the_threshold_of_the_spec() -> None:
    table = _data(200, 6)
    frame = feature_frame(BOOSTED, table)
    wanted = BOOSTED_PIPELINE.predict_proba(frame)[:, 1]
    middle = float(np.sort(wanted)[100]) + 1e-9

    class Shifted:
        def answer_table(self, rows: Any) -> Any:
            return np.where(wanted < middle, wanted + 2e-9, wanted)[:, None]

    fast: Any = Shifted()
    at_half = compare(BOOSTED_PIPELINE, fast, frame, table)
    at_threshold = compare(BOOSTED_PIPELINE, fast, frame, table, threshold=middle)
    assert (at_half.decisions, at_half.holds) == (0, True)
    assert (at_threshold.decisions > 0, at_threshold.holds) == (True, False)


def test_a_graph_that_differs_is_not_kept() -> None:
    other = _fitted(BOOSTED, _data(600, 5))
    table = _data(200, 6)

    agreement = compare(other, BOOSTED_FAST, feature_frame(BOOSTED, table), table)

    assert not agreement.holds
    assert agreement.largest > 1e-3
    assert not Agreement(0, 0.0, 0).holds
    assert not Agreement(10, 0.0, 1).holds


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("case", CONVERTED.values(), ids=CONVERTED)
def test_other_estimators_are_converted_and_agree_too(case: Any, task: str) -> None:
    spec = _spec(case[0], case[1], task)
    pipeline = _fitted(spec, _data(600, 0))
    fresh = _data(500, 1)

    agreement = compare(pipeline, _fast(pipeline), feature_frame(spec, fresh), fresh)

    assert agreement.holds
    assert agreement.largest < 1e-12


def test_other_regressors_are_converted_and_agree_too() -> None:
    spec = _spec("sklearn.linear_model.PoissonRegressor", {}, "regression")
    pipeline = _fitted(spec, _data(600, 0))
    fresh = _data(500, 1)

    assert compare(pipeline, _fast(pipeline), feature_frame(spec, fresh), fresh).holds


def test_a_conversion_that_is_wrong_is_seen_by_the_check() -> None:
    spec = _spec("sklearn.discriminant_analysis.LinearDiscriminantAnalysis", {})
    pipeline = _fitted(spec, _data(600, 0))
    fresh = _data(500, 1)

    agreement = compare(pipeline, _fast(pipeline), feature_frame(spec, fresh), fresh)

    assert not agreement.holds, "skl2onnx converts it rightly now: take another one that it does not"


def test_an_estimator_without_a_graph_says_so() -> None:
    pipeline = _fitted(_spec("sklearn.dummy.DummyClassifier", {}), _data(100, 0))

    with pytest.raises(NotExportableError, match="skl2onnx has no graph for DummyClassifier"):
        export(pipeline)
