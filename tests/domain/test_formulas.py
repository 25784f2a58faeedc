"""Formulas of a row: read without running them, and the same numbers in training, batch scoring and serving."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from evermodel.data.dtypes import feature_frame
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.formulas import computed
from evermodel.modeling.model_store import load_model
from evermodel.modeling.onnx.batch import for_batches
from evermodel.modeling.onnx.encoded import encoded_model
from evermodel.modeling.onnx.encoding import Encoding
from evermodel.modeling.onnx.export import export
from evermodel.modeling.onnx.runtime import read, start, write
from evermodel.modeling.scoring.day import score_day
from evermodel.modeling.scoring.loaded_version import read_served
from evermodel.modeling.skops_files import TRUSTED_TYPES
from evermodel.spec import ModelSpec
from evermodel.spec.expressions import FormulaPart, columns_of, parse_formula
from evermodel.spec.window import parse_moment
from support.flights import World
from support.small_model import small_rows, small_spec

FORMULAS = {"ratio": "temp / wind", "felt": "where(wind > 2, temp - log1p(wind), temp)"}
LOGISTIC = {"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression"}
TREES = {
    "name": "trees",
    "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
    "params": {"max_iter": 5},
}
LIGHTGBM = {"name": "lightgbm", "estimator": "lightgbm.LGBMClassifier", "params": {"n_estimators": 5}}
CATBOOST = {"name": "catboost", "estimator": "catboost.CatBoostClassifier", "params": {"iterations": 5}}


def one(text: str, **columns: float) -> float:
    given = {name: np.array([value]) for name, value in columns.items()}
    return float(computed({"made": text}, given)["made"][0])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a + 2 * b", 11.0),
        ("(a + 2) * b", 20.0),
        ("-a - -b", 1.0),
        ("a / b", 0.75),
        ("sqrt(b) + abs(-a)", 5.0),
        ("exp(log(a))", math.exp(math.log(3))),
        ("log1p(a)", math.log1p(3)),
        ("min(a, b, 2) + max(a, b)", 6.0),
        ("where(a < b, 1, 0) + (a >= b) + (a != b) + (a == 3)", 3.0),
        ("`a` * 1e2", 300.0),
    ],
)
def test_a_formula_is_computed_as_it_is_written(text: str, wanted: float) -> None:
    assert one(text, a=3.0, b=4.0) == pytest.approx(wanted, rel=1e-15)


@pytest.mark.parametrize(
    "text",
    ["a / b", "1 / (1 / b)", "log(b)", "log(a)", "sqrt(a)", "exp(c)", "c * c", "a + n", "n > 0", "where(n, 1, 2)",
     "where(a < 0, n, 1)", "min(a, n)", "max(n, a)"],
)  # fmt: skip
def test_what_has_no_finite_value_is_missing(text: str) -> None:
    assert math.isnan(one(text, a=-3.0, b=0.0, c=1e200, n=math.nan))


def test_what_is_not_needed_may_be_missing() -> None:
    assert one("where(b == 0, 0, a / b)", a=3.0, b=0.0) == 0.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot be read as a formula"),
        ("a +", "cannot be read as a formula"),
        ("a b", "stands in `backquotes`"),
        ("class + 1", "stands in `backquotes`"),
        ("1 + 2", "names no column"),
        ("a ** b", r"`a \*\* b` cannot stand in a formula"),
        ("a.real", r"`a\.real` cannot stand"),
        ("a[0]", "cannot stand"),
        ("a < b < 3", "cannot stand"),
        ("a if b else 1", "cannot stand"),
        ("(lambda: a)()", "cannot stand"),
        ("[a for a in b]", "cannot stand"),
        ("f'{a}'", "cannot stand"),
        ("abs(x=a)", "cannot stand"),
        ("abs(*a)", "cannot stand"),
        ("__import__('os')", "formulas have no function `__import__`"),
        ("abs('a')", "'a' is no number"),
        ("a + True", "True is no number"),
        ("a + 1j", "1j is no number"),
        ("a + 1" + "0" * 400, "a number is too large"),
        ("a + 1e999", "a number is too large"),
        ("log(a, b)", "`log` takes 1 arguments, not 2"),
        ("min(a)", "`min` takes 2 to 8 arguments, not 1"),
        ("-" * 60 + "a", "nested too deeply"),
        ("(" * 250 + "a" + ")" * 250, "at most 500 characters"),
        ("(" * 240 + "a" + ")" * 240, "cannot be read as a formula"),
        ("a\0", "cannot be read as a formula"),
    ],
)
def test_anything_else_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        small_spec("rows.parquet", features={"numeric": ["a", "b"], "expressions": {"made": text}})


@given(st.text(st.sampled_from("ab1.+-*/<>=!() ,`'\"[]{}:\\\n\0é") | st.characters(), max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_formula_or_refused(text: str) -> None:
    try:
        found: FormulaPart = parse_formula(text)
    except ValueError:
        return
    made = computed({"made": text}, {name: np.array([1.0, math.nan]) for name in columns_of(found)})["made"]
    assert not np.isinf(made).any()


def test_names_are_those_of_numeric_features_and_new() -> None:
    with pytest.raises(
        ValidationError, match="expressions: made: tmp is not listed under numeric; did you mean temp"
    ):
        small_spec("rows.parquet", features={"numeric": ["temp"], "expressions": {"made": "tmp * 2"}})
    with pytest.raises(ValidationError, match="temp listed twice"):
        small_spec("rows.parquet", features={"numeric": ["temp"], "expressions": {"temp": "temp * 2"}})
    spec = small_spec(
        "rows.parquet",
        features={"numeric": ["temp in °C"], "expressions": {"kelvin": "`temp in °C` + 273.15"}},
    )
    assert columns_of(parse_formula(spec.features.expressions["kelvin"])) == ["temp in °C"]


@given(
    st.lists(st.floats(width=64, allow_nan=True, allow_infinity=True), min_size=1, max_size=40),
    st.sampled_from(
        ["exp(a / 7)", "log(abs(a) + 1.1)", "log1p(abs(a)) / 3", "sqrt(abs(a)) * a", "a / 3 + a * 0.1"]
    ),
)
@settings(max_examples=300, deadline=None)
def test_a_row_has_the_same_bits_alone_and_among_others(values: list[float], text: str) -> None:
    matrix = np.zeros((len(values), 3))
    matrix[:, 1] = values
    among = computed({"made": text}, {"a": matrix[:, 1]})["made"]
    alone = [one(text, a=value) for value in values]
    assert among.tobytes() == np.array(alone).tobytes() or _same_but_for_kinds_of_nan(among, np.array(alone))


def _same_but_for_kinds_of_nan(left: Any, right: Any) -> bool:
    return bool(np.array_equal(left, right, equal_nan=True))


def a_spec(candidate: dict[str, Any], **features: Any) -> ModelSpec:
    columns = {"numeric": ["temp", "wind"], "categorical": ["carrier"], "expressions": FORMULAS}
    return small_spec("rows.parquet", features={**columns, **features}, candidates=[candidate])


def fitted(spec: ModelSpec) -> tuple[Any, Any, pa.Table]:
    rows = small_rows(days=60)
    frame = feature_frame(spec, rows)
    pipeline = build_pipeline(spec, spec.candidates[0]).fit(frame, np.asarray(rows["late"]))
    return pipeline, frame, pa.Table.from_pandas(frame, preserve_index=False)


@pytest.mark.parametrize("candidate", [LOGISTIC, TREES, LIGHTGBM], ids=lambda one: str(one["name"]))
def test_the_graph_answers_as_the_pipeline_does(candidate: dict[str, Any], tmp_path: Path) -> None:
    pipeline, frame, table = fitted(a_spec(candidate))
    assert list(pipeline[:-1][0].transform(frame).columns) == ["temp", "wind", "carrier", "ratio", "felt"]
    write(export(pipeline), tmp_path)
    graph = read(tmp_path)
    assert graph.encoding.names == ("temp", "wind", "carrier")  # what a request sends

    wanted = pipeline.predict_proba(frame)[:, 1]
    answers = graph.answer_table(table)[:, 0]
    assert np.abs(answers - wanted).max() < 1e-9
    rows = [tuple(row) for row in frame.itertuples(index=False)]
    assert graph.answer(rows)[:, 0].tobytes() == answers.tobytes()
    assert graph.answer(rows[7:8]).tolist() == [[answers[7]]]
    masks = for_batches(tmp_path, graph, few=0)
    assert np.abs(masks.answer_table(table)[:, 0] - wanted).max() < 1e-9
    assert masks.engine == ("onnx" if candidate is LOGISTIC else "masks")


def test_a_formula_is_computed_after_values_are_mixed() -> None:
    """As for explanations: of rows that have some values of one row and some of another."""
    pipeline, frame, _ = fitted(a_spec(LOGISTIC))
    graph = start(export(pipeline))
    encoded = graph.encoding.rows([tuple(row) for row in frame.head(2).itertuples(index=False)])
    mixed = frame.head(1).assign(wind=frame["wind"].iloc[1])
    encoded[0, 1] = encoded[1, 1]
    assert graph.run(encoded)[0, 0] == pytest.approx(pipeline.predict_proba(mixed)[0, 1], abs=1e-12)


def test_a_librarys_own_predictor_computes_them_too() -> None:
    pytest.importorskip("catboost")
    pipeline, frame, table = fitted(a_spec(CATBOOST))
    found = encoded_model(pipeline, frame)
    assert found is not None
    assert found.answer_table(table)[:, 0].tobytes() == pipeline.predict_proba(frame)[:, 1].tobytes()


def test_a_module_derives_from_what_formulas_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    import feature_functions

    def derive(frame: Any) -> Any:
        return frame.assign(log_wind=frame["ratio"] * 2, band="x")

    monkeypatch.setattr(feature_functions, "features", derive)
    derived = {
        "module": "feature_functions",
        "derived_numeric": ["log_wind"],
        "derived_categorical": ["band"],
    }
    pipeline, frame, _ = fitted(a_spec(LOGISTIC, **derived))
    assert [name for name, _ in pipeline.steps[:2]] == ["expressions", "features"]
    made = pipeline[:2].transform(frame)
    assert (made["log_wind"].dropna() == 2 * made["ratio"].dropna()).all()


def test_a_stored_model_holds_texts_only(tmp_path: Path) -> None:
    pipeline, frame, _ = fitted(a_spec(LOGISTIC))
    skops.io.dump(pipeline, tmp_path / "model.skops")
    assert set(skops.io.get_untrusted_types(file=tmp_path / "model.skops")) <= set(TRUSTED_TYPES)
    again = skops.io.load(tmp_path / "model.skops", trusted=list(TRUSTED_TYPES))
    assert vars(again[0]) == {"formulas": FORMULAS}
    assert again.predict_proba(frame).tobytes() == pipeline.predict_proba(frame).tobytes()


def test_an_encoding_without_formulas_is_stored_as_before() -> None:
    plain = Encoding(("temp",), {})
    assert plain.to_json() == {"names": ["temp"], "codes": {}}
    assert Encoding.from_json(plain.to_json()) == plain
    made = Encoding(("temp",), {}, {"twice": "temp * 2"})
    assert Encoding.from_json(made.to_json()) == made


@pytest.fixture
def trained(world: World) -> tuple[World, str]:
    """A champion of flights whose spec has a formula."""
    world.change(features={"expressions": {"felt_temp": "temp - sqrt(wind_speed)"}})
    return world, world.champion("2013-03-11")


def test_the_log_of_a_day_has_the_answers_that_the_app_gives(trained: tuple[World, str]) -> None:
    world, version = trained
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(world.client, f"models:/{world.name}/{version}", Path(folder))
        assert "felt_temp" in model.pipeline[1].feature_names_in_
        assert [column["name"] for column in model.inputs] == world.spec.features.names
        served = read_served(world.spec, version, Path(folder))
    scored = score_day(world.spec, parse_moment("2013-03-12"), world.client, world.settings)
    assert scored.rows > 0
    rows = _logged(world.settings.lake).slice(0, 200)
    read_as: list[Callable[[Any], Any]] = [
        (lambda value: math.nan if value is None else value)
        if name in served.inputs.numeric
        else (lambda value: value)
        for name in served.inputs.names
    ]
    columns = [
        map(as_row, rows[name].to_pylist()) for as_row, name in zip(read_as, served.inputs.names, strict=True)
    ]
    answers = [answer.score for answer in served.predict(list(zip(*columns, strict=True)))]
    assert served.fast is not None
    assert answers == pytest.approx(rows["score"].to_pylist(), abs=1e-12)


def _logged(lake: Path) -> pa.Table:
    from deltalake import DeltaTable

    (table,) = {path.parent for path in (lake / "predictions").rglob("_delta_log")}
    found: pa.Table = DeltaTable(str(table)).to_pyarrow_table()
    return found
