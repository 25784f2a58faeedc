"""The same pushed-down expression on DuckDB and on Spark; Spark's session stands in a time zone that is not UTC."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from evermodel.core.errors import SourceError
from evermodel.data.snapshots.dvc import SnapshotStore
from evermodel.data.snapshots.snapshot import take_snapshot
from evermodel.data.sources import arrival, read_window
from evermodel.spec import ModelSpec
from support.small_model import between, moment, settings_in, small_rows, small_spec, write_rows

pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed: pip install '.[spark]'")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java 17"),
]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Address of each engine; all have the small rows in a table."""
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("engines")
    file = write_rows(folder / "rows.parquet")
    with duckdb.connect(str(folder / "rows.duckdb")) as duck:
        duck.execute(f"CREATE TABLE rows AS SELECT * FROM read_parquet('{file}')")
    options = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.session.timeZone": "Asia/Kolkata",
    }
    builder = SparkSession.builder.master("local[1]")
    for name, value in options.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    try:
        session.read.parquet(str(file)).createOrReplaceTempView("rows")
        yield {"duckdb": f"duckdb://{folder}/rows.duckdb", "spark": "pyspark://"}
    finally:
        session.stop()


def spec_on(url: str, **source: Any) -> ModelSpec:
    return small_spec("", source={"kind": "ibis", "url": url, "late": None, **source})


def test_one_expression_gives_the_same_rows_arrival_and_snapshot_on_both(
    engines: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_table_query_and_steps_on_spark(engines: dict[str, str]) -> None:
    for source in ({"table": "rows"}, {"query": "SELECT * FROM rows", "step": "2d"}):
        rows = read_window(spec_on(engines["spark"], **source), between(2, 5), with_label=True)
        assert rows["id"].to_pylist() == [f"r{n:05d}" for n in range(16, 40)]
        assert rows["at"][0].as_py() == moment(2)
    with pytest.raises(SourceError, match=r"there is no table rwos.*\n.*did you mean rows\?"):
        read_window(spec_on(engines["spark"], table="rwos"), between(2, 5), with_label=True)
