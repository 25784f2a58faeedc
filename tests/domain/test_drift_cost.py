"""What the verdict on a large window may cost: no heavy library, one column at a time, and the statistics stay exact."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import weakref
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.simulations.drift_tables import CATEGORICAL, NUMERIC, write_rows, write_spec
from tests.simulations.drift_verdict import VERDICT, largest_difference

from evermodel.monitoring.drift import measure, rows
from evermodel.monitoring.drift.columns import days_of, taken, to_numpy
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.drift.profile import profile
from evermodel.monitoring.drift.profiles import Profiles
from evermodel.monitoring.drift.reference_and_current import ExactRows
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.rows import ParquetRows
from evermodel.spec import load_spec
from evermodel.spec.window import Window, parse_moment
from evermodel.stats import spilled
from evermodel.stats.sample import CategoricalSample, categories
from evermodel.stats.spilled import numbers
from support.paths import PROJECT

HEAVY = ("pandas", "evidently", "mlflow", "scipy.stats", "sklearn", "duckdb", "matplotlib", "airflow")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reference and window of 3,000 rows, some columns shifted, and the spec."""
    folder: Path = tmp_path_factory.mktemp("drift")
    write_rows(folder / "reference.parquet", 3000, seed=1)
    write_rows(folder / "window.parquet", 3000, seed=2, shift=1.0)
    write_spec(folder / "bench.yaml")
    return folder


def test_a_verdict_from_parquet_loads_no_heavy_library(files: Path) -> None:
    code = f"{VERDICT}\nprint(*[m for m in {HEAVY} if m in sys.modules])"
    names = ["reference.parquet", "window.parquet", "bench.yaml", "-", "page.html"]
    command = [sys.executable, "-c", code, *(str(files / name) for name in names)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    verdict = json.loads((files / "page.json").read_text())
    drifting = {c["column"] for c in verdict["columns"] if c["severity"] != "none" and c["what"] == "feature"}
    assert {"n0", "n4", "n8"} <= drifting  # so that the parts that only an alarm needs ran too
    assert "n1" not in drifting
    assert done.stdout.splitlines()[1:] == [""]


def test_statistics_are_those_of_evidently_where_the_method_is_the_same(files: Path) -> None:
    assert largest_difference(files / "reference.parquet", files / "window.parquet") < 1e-9


@pytest.mark.parametrize("name", CATEGORICAL[::3])
def test_text_read_as_codes_is_counted_like_text(files: Path, name: str) -> None:
    read = ParquetRows([files / "window.parquet"])[name]
    assert pa.types.is_dictionary(read.type)
    assert categories(read.chunks) == categories(read.cast(pa.string()).chunks)


def test_codes_of_missing_values_and_of_chunks_with_other_names_are_counted() -> None:
    chunks = [pa.array(["a", None, "b"]).dictionary_encode(), pa.array(["b", "c"]).dictionary_encode()]
    found = categories([*chunks, chunks[0][:0]])
    assert (dict(found.counts), found.missing) == ({"a": 1, "b": 2, "c": 1}, 1)


def test_numbers_are_sorted_and_both_kinds_of_missing_values_counted() -> None:
    values = pa.chunked_array([[3.0, None, float("nan")], [float("-inf"), 1.0], []], pa.float64())
    found = numbers(values.chunks)
    assert found.values.tolist() == [-np.inf, 1.0, 3.0]
    assert found.missing == 2


def test_columns_become_numpy_as_arrow_would_make_them() -> None:
    whole = pa.chunked_array([[1.0, None, 3.0, 4.0], [None], [], [7.0]], pa.float64())
    for values in (whole, whole.slice(1, 4), whole.slice(2, 1), whole.slice(6)):
        assert np.array_equal(to_numpy(values), values.to_numpy(), equal_nan=True)
    assert taken(whole, np.array([5, 0])).to_pylist() == [7.0, 1.0]
    times = pa.chunked_array([[0, 86_400_000_000 - 1, None, 86_400_000_000]], pa.timestamp("us", "UTC"))
    assert days_of(times).tolist() == [0, 0, 1, 1]


def test_the_rows_of_an_interval_are_counted_and_read_alike(files: Path, tmp_path: Path) -> None:
    window = Window(parse_moment("1970-01-08"), parse_moment("1970-01-15"))
    both = ParquetRows([files / "window.parquet", files / "reference.parquet"], window, "at")
    assert both.num_rows == len(both["n0"]) == len(both["c7"]) == 2 * 3000 / 8


def _references(files: Path) -> References:
    spec, start = load_spec(str(files / "bench.yaml")), parse_moment("1970-01-01")
    fitted = Window(start, start + timedelta(days=56))
    reference = ParquetRows([files / "reference.parquet"])
    return References(spec, fitted, "1", reference, fitted, Profiles(spec, files / "lake"))


def test_two_columns_at_a_time_and_one_give_the_same_verdict(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = ParquetRows([files / "window.parquet"])
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    together = judge_window(load_spec(str(files / "bench.yaml")), _references(files), window)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})

    assert judge_window(load_spec(str(files / "bench.yaml")), _references(files), window) == together
    assert {c.column for c in together if c.what == "feature"} == {*NUMERIC, *CATEGORICAL}


def test_columns_larger_than_memory_should_hold_give_the_same_verdict_and_profile(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_spec(str(files / "bench.yaml"))

    def found() -> Any:
        window = ParquetRows([files / "window.parquet"])
        side = ExactRows(window, frozenset(NUMERIC), joint_rows=100)
        kept = profile(side, [*NUMERIC, *CATEGORICAL], most_points=500)
        tables = [
            sample
            if isinstance(sample, CategoricalSample)
            else (sample.values.tolist(), sample.weights.tolist())
            for sample in kept.samples.values()
        ]
        return judge_window(spec, _references(files), window), tables, str(kept.together)

    whole = found()
    monkeypatch.setattr(spilled, "RUN_ROWS", 700)
    monkeypatch.setattr(spilled, "_MARKS", 16)
    monkeypatch.setattr(rows, "_BLOCK_ROWS", 500)
    assert isinstance(numbers(ParquetRows([files / "window.parquet"])["n0"].chunks), spilled.SpilledSample)
    assert found() == whole


def test_counts_of_sorted_runs_are_those_of_the_whole_column(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(4)
    values = np.concatenate([generator.normal(size=900).round(1), [np.inf, -np.inf] * 50, [0.5] * 300])
    pieces = [pa.array(part) for part in np.split(generator.permutation(values), 13)]
    whole = numbers(pieces)
    monkeypatch.setattr(spilled, "RUN_ROWS", 64)
    monkeypatch.setattr(spilled, "_MARKS", 4)
    some = numbers(pieces)

    asked = np.append(np.unique(values), [-3.21, 0.05, 9.0])
    assert isinstance(some, spilled.SpilledSample)
    assert (some.known, some.missing) == (whole.known, whole.missing) == (1300, 0)
    assert np.array_equal(some.values, whole.values)
    assert np.array_equal(some.below(asked), whole.below(asked))
    assert np.array_equal(some.up_to(asked), whole.up_to(asked))
    assert np.array_equal(some.at(np.arange(1300)), whole.values)
    assert some.distinct(10) is whole.distinct(10) is None
    assert np.array_equal(some.distinct(100), whole.distinct(100))


@pytest.mark.slow
def test_columns_are_let_go_once_they_are_measured(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Any]] = []
    take = ExactRows.sample

    def taken_down(side: ExactRows, name: str) -> Any:
        sample = take(side, name)
        made.append(weakref.ref(sample))
        return sample

    monkeypatch.setattr(ExactRows, "sample", taken_down)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    monkeypatch.setattr("evermodel.monitoring.drift.references._KEPT_VALUES", 0)  # no reference is small
    window = ExactRows(ParquetRows([files / "window.parquet"]), frozenset(NUMERIC))

    found = list(measure.measure(_references(files), window))

    gc.collect()
    assert len(found) >= 20
    assert len(made) >= 40
    assert sum(sample() is not None for sample in made) == 0


def test_the_data_of_the_benchmark_is_the_same_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_rows(tmp_path / name, 100, seed=3)
    assert pq.read_table(tmp_path / "one").equals(pq.read_table(tmp_path / "two"))
