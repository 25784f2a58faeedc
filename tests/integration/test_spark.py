"""Spark beside what runs here: the same rows from one expression, and the same day of scores, whatever zone its session stands in."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from tests.simulations.drift_tables import write_rows as write_drift_rows
from tests.simulations.drift_tables import write_spec

from evermodel.core.errors import EmptyWindowError, SourceError, SpecError
from evermodel.core.storage import readable, storage_path, table_options
from evermodel.data.day_table import DayTable
from evermodel.data.prediction_log import log_schema, read_log
from evermodel.data.snapshots.dvc import SnapshotStore
from evermodel.data.snapshots.snapshot import take_snapshot
from evermodel.data.sources import arrival, read_window
from evermodel.modeling.scoring.day import score_day
from evermodel.modeling.scoring.spark import local_path, session_of
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.drift.profiles import Profiles
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.rows import ParquetRows, null_count
from evermodel.registry.tracking import connect
from evermodel.spec import ModelSpec, load_spec
from evermodel.spec.window import Window, parse_moment
from support.event_tables import AGGREGATES, START, in_engine, mismatches, rows_and_events
from support.object_stores import new_s3_bucket, s3_environment
from support.prediction_logs import log_files
from support.small_model import between, moment, publish, settings_in, small_rows, small_spec, write_rows

pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed: pip install '.[spark]'")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java 17"),
]


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory, s3_endpoint: str) -> Iterator[Any]:
    from pyspark.sql import SparkSession

    options = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
        # The optimising compiler pays off after minutes; these tests take seconds.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
        **{f"spark.executorEnv.{name}": value for name, value in s3_environment(s3_endpoint).items()},
    }
    # Its workers are processes of the same Python, which is not always the first one in the PATH.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master("local[2]")
    for name, value in options.items():
        builder = builder.config(name, value)
    made = builder.getOrCreate()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def session(spark: Any) -> Any:
    """Spark's session, in a zone that is not UTC."""
    spark.conf.set("spark.sql.session.timeZone", "Asia/Kolkata")
    return spark


@pytest.fixture
def rows_on_spark(session: Any, tmp_path: Path) -> Path:
    """The file of the small rows that Spark has as a table."""
    file = write_rows(tmp_path / "on_spark.parquet")
    session.read.parquet(str(file)).createOrReplaceTempView("rows")
    return file


def spec_on(url: str, **source: Any) -> ModelSpec:
    return small_spec("", source={"kind": "ibis", "url": url, "late": None, **source})


def test_one_expression_gives_the_same_rows_arrival_and_snapshot_on_both(
    rows_on_spark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with duckdb.connect(str(tmp_path / "rows.duckdb")) as duck:
        duck.execute(f"CREATE TABLE rows AS SELECT * FROM read_parquet('{rows_on_spark}')")
    engines = {"duckdb": f"duckdb://{tmp_path}/rows.duckdb", "spark": "pyspark://"}
    monkeypatch.setattr(SnapshotStore, "track", lambda self, file: "")
    expected = small_rows(temp=[float(n % 7) * 10 for n in range(80)])
    files = take_snapshot(
        small_spec(write_rows(tmp_path / "rows.parquet", expected)), moment(8), settings_in(tmp_path)
    )
    for engine, url in engines.items():
        spec = spec_on(url, expression="source_functions:warmer")
        state = arrival(spec, between(2, 3), now=moment(20))
        assert (state.rows, state.newest) == (8, moment(9 + 7 / 8)), engine
        assert take_snapshot(spec, moment(8), settings_in(tmp_path / engine)).digest == files.digest, engine


def test_table_query_and_steps_on_spark(rows_on_spark: Path) -> None:
    for source in ({"table": "rows"}, {"query": "SELECT * FROM rows", "step": "2d"}):
        rows = read_window(spec_on("pyspark://", **source), between(2, 5), with_label=True)
        assert rows["id"].to_pylist() == [f"r{n:05d}" for n in range(16, 40)]
        assert rows["at"][0].as_py() == moment(2)
    with pytest.raises(SourceError, match=r"the table rwos does not exist.*\n.*did you mean rows\?"):
        read_window(spec_on("pyspark://", table="rwos"), between(2, 5), with_label=True)


def test_spark_writes_the_day_that_this_process_writes(
    mlflow_server: str, session: Any, tmp_path: Path
) -> None:
    client, name = connect(mlflow_server), f"small_{uuid.uuid4().hex[:8]}"
    source = tmp_path / "rows"
    source.mkdir()
    rows = small_rows(carrier=[None, "never seen", *["AA", "BB"] * 39], wind=[None] * 40 + [1] * 40)
    for part in range(2):
        write_rows(source / f"{part}.parquet", rows.slice(40 * part, 40))
    spec = small_spec(f"{source}/*.parquet", name=name)
    publish(spec, client)
    here, there = settings_in(tmp_path / "here"), settings_in(tmp_path / "there")
    on_spark = spec.model_copy(update={"score": spec.score.model_copy(update={"engine": "spark"})})

    wanted = [score_day(spec, moment(day), client, here) for day in (1, 6)]
    found = [score_day(on_spark, moment(day), client, there) for day in (1, 6, 6)]

    for mine, theirs in zip([*wanted, wanted[-1]], found, strict=True):
        assert (theirs.day, theirs.rows, theirs.path) == (mine.day, mine.rows, mine.path)
        assert theirs.mean_score == pytest.approx(mine.mean_score, rel=1e-12)
    logs = [read_log(spec, lake.lake, between(0, 9)).sort_by("prediction_id") for lake in (here, there)]
    assert logs[0].schema == logs[1].schema == log_schema(spec)
    assert logs[0].drop_columns(["score"]).equals(logs[1].drop_columns(["score"]))
    assert logs[1]["score"].to_pylist() == pytest.approx(logs[0]["score"].to_pylist(), rel=1e-12)
    files = log_files(there.lake, name)
    counted = session_of("test", None).read.parquet(*(local_path(str(file)) for file in files)).count()
    table = DeltaTable(str(there.lake / "predictions" / name))
    assert counted == table.to_pyarrow_dataset().count_rows() == logs[1].num_rows

    with pytest.raises(EmptyWindowError, match="no row to score on 2024-02-09"):
        score_day(on_spark, moment(40), client, there)
    frame = session.createDataFrame(pa.Table.to_pandas(small_rows()))
    frame.createOrReplaceTempView("rows")
    for source_section in ({"query": "SELECT * FROM rows"}, {"table": "rows"}):
        ibis = small_spec(
            "",
            name=name,
            source={"kind": "ibis", "url": "pyspark://", **source_section},
            score={"engine": "spark"},
        )
        assert score_day(ibis, moment(3), client, there).rows == 8
    assert counted == 16
    query = small_spec(
        "", name=name, source={"path": "x.parquet", "query": "SELECT 1"}, score={"engine": "spark"}
    )
    with pytest.raises(SpecError, match=r"cannot read x\.parquet"):
        score_day(query, moment(3), client, there)


def test_spark_writes_the_day_into_a_bucket_once_whatever_was_killed(
    mlflow_server: str, session: Any, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in s3_environment(s3_endpoint).items():
        monkeypatch.setenv(variable, value)
    client, name = connect(mlflow_server), f"small_{uuid.uuid4().hex[:8]}"
    (tmp_path / "rows").mkdir()
    for part, rows in enumerate([small_rows().slice(0, 36), small_rows().slice(36)]):
        write_rows(tmp_path / "rows" / f"{part}.parquet", rows)
    spec = small_spec(f"{tmp_path}/rows/*.parquet", name=name)
    publish(spec, client)
    here = settings_in(tmp_path / "here")
    bucket = here.model_copy(update={"lake": new_s3_bucket(s3_endpoint) / "lake"})
    on_spark = spec.model_copy(update={"score": spec.score.model_copy(update={"engine": "spark"})})
    wanted = [score_day(spec, moment(day), client, here) for day in (5, 6)]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DayTable, "replace_all", killed)
        with pytest.raises(KeyboardInterrupt):
            score_day(on_spark, moment(5), client, bucket)
    assert log_files(bucket.lake, name) == []
    found = [score_day(on_spark, moment(day), client, bucket) for day in (5, 6, 6)]

    assert found[0].path == wanted[0].path
    assert [(day.day, day.rows) for day in found[:2]] == [(day.day, day.rows) for day in wanted]
    logs = [read_log(spec, lake, between(0, 9)).sort_by("prediction_id") for lake in (here.lake, bucket.lake)]
    assert logs[0].equals(logs[1])
    files = log_files(bucket.lake, name)
    assert len(files) == 3  # the rows of the fifth day are in both files of the source
    table = DeltaTable(f"{bucket.lake}/predictions/{name}", storage_options=table_options("s3"))
    dataset = table.to_pyarrow_dataset()
    with duckdb.connect() as duck:
        ((in_duckdb,),) = duck.register("log", dataset).sql("SELECT count(*) FROM log").fetchall()

    def rows_of(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for file in batch.column(0).to_pylist():
                path = storage_path(file, "file")
                yield pq.read_table(readable(path), columns=["prediction_id"]).to_batches()[0]

    listed = session.createDataFrame([(str(file),) for file in files], "file string")
    on_workers = listed.mapInArrow(rows_of, "prediction_id string")
    assert on_workers.count() == in_duckdb == dataset.count_rows() == logs[0].num_rows == 16


def test_a_verdict_counted_by_spark_is_the_one_of_this_process(session: Any, tmp_path: Path) -> None:
    write_spec(tmp_path / "bench.yaml")
    write_drift_rows(tmp_path / "reference.parquet", 24_000, seed=1)
    for place, version in enumerate("112"):
        write_drift_rows(tmp_path / "rows.parquet", 8_000, seed=2 + place, shift=0.5)
        table = pq.read_table(tmp_path / "rows.parquet")
        answers = {"score": table["n0"], "model_version": pa.array([version] * len(table))}
        pq.write_table(
            pa.table({**dict(zip(table.column_names, table.columns, strict=True)), **answers}),
            tmp_path / f"{place}.parquet",
            row_group_size=3_000,
        )
    start = parse_moment("1970-01-02")
    reach = Window(start, start + timedelta(days=50))
    local = load_spec(str(tmp_path / "bench.yaml"))
    few = {"columns": ("n0", "c4")}  # a column is several jobs
    local = local.model_copy(update={"cluster": "row", "drift": local.drift.model_copy(update=few)})
    on_spark = local.model_copy(update={"drift": local.drift.model_copy(update={"engine": "spark"})})
    found, nulls = [], []
    for spec in (local, on_spark):
        window = ParquetRows([tmp_path / f"{place}.parquet" for place in range(3)], reach, "at")
        training = ParquetRows([tmp_path / "reference.parquet"])
        references = References(spec, reach, "1", training, reach, Profiles(spec, tmp_path / "lake"))
        found.append(judge_window(spec, references, window))
        nulls.append([null_count(window, name) for name in spec.watched])
    assert found[1] == found[0]
    assert nulls[1] == nulls[0]
    assert "critical" in {column.severity for column in found[0] if column.column == "n0"}


def test_aggregates_of_events_are_those_of_plain_python(session: Any, tmp_path: Path) -> None:
    data = rows_and_events(rows=500, keys=15)
    for name, table in data.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
        view = session.read.parquet(str(tmp_path / f"{name}.parquet"))
        view.createOrReplaceTempView("asked" if name == "rows" else name)
    some = [a for a in AGGREGATES if a["name"] in ("spent_mean", "dearest")]
    spec = in_engine(some, url="pyspark://")
    session.conf.set("spark.sql.codegen.wholeStage", "false")  # compiling takes longer than these rows
    try:
        found = read_window(spec, Window(START, START + timedelta(days=12)), with_label=True)
    finally:
        session.conf.unset("spark.sql.codegen.wholeStage")
    assert mismatches(spec, data, found) == 0
