"""Scored days in a table of a real PostgreSQL: filled by COPY, two writers of the same day one after the other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from evermodel.cli.local_stack.ports import free_port
from evermodel.core import connections
from evermodel.core.connections import EnvironmentConnections
from evermodel.core.errors import TargetError, TargetUnavailableError
from evermodel.data.prediction_log import log_schema, write_plain_day
from evermodel.modeling.scoring.table import write_table
from support.small_model import moment, small_spec

pytestmark = pytest.mark.integration
DAY = "2024-01-03"


def test_days_are_copied_and_writers_of_the_same_day_wait_for_each_other(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_current", EnvironmentConnections())
    monkeypatch.setenv("AIRFLOW_CONN_HOUSE", postgres)
    spec = small_spec("unused", score={"connection": "house", "table": "lake.scores"})
    with psycopg.connect(postgres, autocommit=True) as house:
        house.execute("CREATE SCHEMA lake")
    files = []
    for writer in range(4):
        rows = [
            {"prediction_id": f"r{n}", "event_time": moment(2), "score": float(writer), "source": "batch"}
            for n in range(30_000)
        ]
        table = pa.Table.from_pylist(rows, schema=log_schema(spec))
        files.append(write_plain_day(spec, tmp_path / str(writer), DAY, table))

    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(lambda file: write_table(spec, DAY, file), files))

    with psycopg.connect(postgres) as house:
        found = house.execute(
            "SELECT count(*), count(DISTINCT score), min(event_time) FROM lake.scores"
        ).fetchone()
        days = house.execute('SELECT model, "rows" FROM lake.scores_days').fetchall()
        house.execute("DROP TABLE lake.scores")
        house.execute("CREATE TABLE lake.scores (model text, day date)")
        house.commit()
    assert written == [30_000] * 4
    assert found == (30_000, 1, moment(2))
    assert days == [("small", 30_000)]

    with pytest.raises(
        TargetError, match=r"table lake\.scores of connection house cannot be written: .*prediction_id"
    ):
        write_table(spec, DAY, files[0])
    monkeypatch.setenv("AIRFLOW_CONN_HOUSE", f"postgres://nobody@127.0.0.1:{free_port()}/house")
    with pytest.raises(TargetUnavailableError, match="check that the database is up"):
        write_table(spec, DAY, files[0])
