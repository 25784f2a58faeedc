"""Scoring as a stream: the pipeline's answers whatever computes them, and a file that is whole or as it was before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evermodel.core.errors import ModelFormatError, PermanentError, SourceError
from evermodel.data.dtypes import feature_frame
from evermodel.data.prediction_log import log_schema, write_file, write_plain_day
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.onnx.batch import for_batches
from evermodel.modeling.onnx.export import export
from evermodel.modeling.onnx.runtime import read, write
from evermodel.modeling.scoring.day import scored
from evermodel.modeling.scoring.scorer import Scorer
from evermodel.modeling.tasks import scores_and_classes
from evermodel.spec.window import days_to_score
from support.small_model import moment, small_rows, small_spec

ESTIMATORS = {
    "binary": "HistGradientBoostingClassifier",
    "multiclass": "HistGradientBoostingClassifier",
    "regression": "HistGradientBoostingRegressor",
}


def model_of(task: str) -> tuple[Any, Any]:
    estimator = f"sklearn.ensemble.{ESTIMATORS[task]}"
    spec = small_spec(
        "unused",
        task=task,
        candidates=[
            {"name": "trees", "estimator": estimator, "params": {"max_iter": 5, "min_samples_leaf": 3}}
        ],
    )
    rows = small_rows(days=30)
    temp = np.asarray(rows["temp"].to_pylist())
    labels: Any = {
        "binary": (temp > 3).astype(int),
        "multiclass": np.array(["low", "middle", "high"])[np.digitize(temp, [2, 5])],
        "regression": temp * 1.7,
    }[task]
    return spec, build_pipeline(spec, spec.candidates[0]).fit(feature_frame(spec, rows), labels)


def scorers(task: str, folder: Path) -> tuple[Any, Any, Scorer, Scorer]:
    spec, pipeline = model_of(task)
    write(export(pipeline), folder)
    graph = Scorer(spec, "7", for_batches(folder, read(folder), few=0))
    return spec, pipeline, graph, Scorer(spec, "7", None, pipeline)


def strange_rows() -> pa.Table:
    rows = small_rows(days=5)
    return rows.set_column(2, "temp", pa.array([None, float("nan"), *[1e300] * 38])).set_column(
        4, "carrier", pa.array([None, "never seen", "", *["AA"] * 37])
    )


@pytest.mark.parametrize("task", ESTIMATORS)
def test_a_streamed_graph_and_a_streamed_pipeline_give_the_pipelines_answers(
    task: str, tmp_path: Path
) -> None:
    spec, pipeline, graph, plain = scorers(task, tmp_path)
    rows = pa.concat_tables([strange_rows(), small_rows(days=25)])
    wanted, names = scores_and_classes(spec, pipeline, feature_frame(spec, rows))
    for scorer in (graph, plain):
        batches = [b.cast(rows.schema) for b in rows.to_batches(max_chunksize=17)]
        found = pa.concat_tables(scored(scorer, [*batches, batches[0].slice(0, 0)]))
        codes = pa.dictionary(pa.int32(), pa.string())
        kinds = [(field.name, pa.string() if field.type == codes else field.type) for field in found.schema]
        assert pa.schema(kinds) == log_schema(spec)
        np.testing.assert_allclose(found["score"].to_numpy(), wanted, rtol=1e-12)
        assert found["predicted"].to_pylist() == (names or [None] * len(wanted))
        assert found["prediction_id"].to_pylist() == rows["id"].to_pylist()
        assert found["temp"].to_pylist()[:3] == [None, None, 1e300]
        assert found["carrier"].to_pylist()[:3] == [None, "never seen", ""]


def test_rows_without_a_feature_and_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    _, _, graph, _ = scorers("binary", tmp_path)
    with pytest.raises(SourceError, match="lacks the features wind"):
        graph.score(small_rows().drop_columns(["wind"]))
    with pytest.raises(SourceError, match="column temp is declared numeric"):
        graph.score(small_rows(temp=["warm"] * 80))


def test_an_answer_that_is_no_number_is_refused() -> None:
    spec, _ = model_of("regression")

    class Broken:
        def predict(self, frame: Any) -> Any:
            return np.full(len(frame), np.nan)

    with pytest.raises(ModelFormatError, match="version 7: an answer is not a finite number"):
        Scorer(spec, "7", None, Broken()).score(small_rows())


def test_a_graph_scores_without_the_libraries_of_training(tmp_path: Path) -> None:
    scorers("binary", tmp_path)
    probe = (
        "import sys; from pathlib import Path; from evermodel.modeling.scoring import day\n"
        "from evermodel.modeling.scoring.scorer import Scorer; from evermodel.modeling.onnx.batch import for_batches\n"
        "from evermodel.modeling.onnx.runtime import read; from support.small_model import small_rows, small_spec\n"
        "early = set(sys.modules); folder = Path(sys.argv[1])\n"
        "scorer = Scorer(small_spec('unused'), '1', for_batches(folder, read(folder)))\n"
        "assert sum(t.num_rows for t in day.scored(scorer, small_rows().to_batches())) == 80\n"
        "print([n for n in ('mlflow', 'pandas', 'duckdb') if n in early],\n"
        "      [n for n in ('sklearn', 'evidently', 'scipy', 'matplotlib', 'mlflow') if n in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", probe, str(tmp_path)], env=env, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("[] []", "")


def log_of(spec: Any, score: float) -> pa.Table:
    rows = [{"prediction_id": f"r{n}", "event_time": moment(2), "score": score} for n in range(1000)]
    return pa.Table.from_pylist(rows, schema=log_schema(spec))


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from evermodel.data import prediction_log
from test_scoring_stream import log_of, small_spec

def tables(spec):
    for _ in range(5):
        yield log_of(spec, 0.9)
    os.kill(os.getpid(), signal.SIGKILL)

prediction_log.ROW_GROUP = 1000
spec = small_spec("unused")
prediction_log.write_file(prediction_log.log_schema(spec), prediction_log.plain_file(spec, Path(sys.argv[2]), "2024-01-03"), tables(spec))
"""


def test_a_writer_that_is_killed_leaves_the_day_as_it_was_and_the_next_one_clears_up(tmp_path: Path) -> None:
    spec = small_spec("unused")
    file = write_plain_day(spec, tmp_path, "2024-01-03", log_of(spec, 0.1))
    before = file.read_bytes()

    tests = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tests), str(tmp_path)], env=env)

    (left,) = file.parent.glob(".*.tmp")
    assert (done.returncode, file.read_bytes(), left.stat().st_size > 0) == (-signal.SIGKILL, before, True)
    write_file(log_schema(spec), file, [log_of(spec, 0.5)])
    assert left.exists(), "its writer may be alive"
    os.utime(left, (0, 0))
    write_file(log_schema(spec), file, [log_of(spec, 0.6)])
    assert [found.name for found in file.parent.iterdir()] == ["batch.parquet"]
    assert set(pq.read_table(file, partitioning=None)["score"].to_pylist()) == {0.6}


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("", "2024-01-05", "`from` is missing"),
        ("2024-01-06", "2024-01-05", "is after `to`"),
        ("2024-01-01", "2024-01-12", "12 days are too many for one run"),
    ],
)
def test_a_range_of_days_that_makes_no_sense_is_refused(first: str, last: str, message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        days_to_score(first, last, "2024-02-01", longest=10)


@pytest.mark.skipif(sys.platform != "linux", reason="set on Linux only")
@pytest.mark.parametrize(("chosen", "taken"), [(None, "jemalloc"), ("system", "system")])
def test_arrow_gives_back_the_memory_of_a_stream_unless_told_otherwise(
    chosen: str | None, taken: str
) -> None:
    env = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    env |= {} if chosen is None else {"ARROW_DEFAULT_MEMORY_POOL": chosen}
    probe = "import evermodel, pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    done = subprocess.run([sys.executable, "-c", probe], env=env, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (taken, "")
