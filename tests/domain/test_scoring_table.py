"""Scored days in a table: replaced as a whole, once, and by nobody else's day."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from evermodel.core import connections
from evermodel.core.connections import EnvironmentConnections
from evermodel.core.errors import TargetError, TargetUnavailableError
from evermodel.data.prediction_log import log_schema, write_plain_day
from evermodel.modeling.scoring.table import write_table
from support.small_model import moment, small_spec

DAY = "2024-01-03"


def spec_of(name: str = "small") -> Any:
    return small_spec("unused", name=name, score={"connection": "house", "table": "scores"})


def log_file(folder: Path, spec: Any, count: int = 3, score: float = 0.5, day: str = DAY) -> Path:
    rows = [
        {
            "prediction_id": f"r{n}",
            "event_time": moment(2),
            "score": score,
            "model_version": "4",
            "source": "batch",
        }
        for n in range(count)
    ]
    return write_plain_day(spec, folder, day, pa.Table.from_pylist(rows, schema=log_schema(spec)))


def rows_in(database: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(connections, "_current", EnvironmentConnections())
    monkeypatch.setenv("AIRFLOW_CONN_HOUSE", f"sqlite:///{tmp_path}/house.db")
    return tmp_path / "house.db"


def test_a_day_that_is_written_again_replaces_itself_and_nothing_else(database: Path, tmp_path: Path) -> None:
    mine, other = spec_of(), spec_of("other")
    assert write_table(mine, DAY, log_file(tmp_path, mine)) == 3
    write_table(mine, "2024-01-04", log_file(tmp_path, mine, day="2024-01-04"))
    write_table(other, DAY, log_file(tmp_path, other))
    # A day of several files, as Spark writes it.
    files = [log_file(tmp_path / name, mine, count=1, score=0.25) for name in ("a", "b")]
    assert write_table(mine, DAY, *files) == 2

    found = rows_in(
        database, "SELECT model, day, count(*), max(score) FROM scores GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert found == [("other", DAY, 3, 0.5), ("small", DAY, 2, 0.25), ("small", "2024-01-04", 3, 0.5)]
    days = rows_in(database, 'SELECT model, day, "rows" FROM scores_days ORDER BY 1, 2')
    assert days == [("other", DAY, 3), ("small", DAY, 2), ("small", "2024-01-04", 3)]
    (one,) = rows_in(database, "SELECT prediction_id, model_version, predicted FROM scores LIMIT 1")
    assert one == ("r0", "4", None)


KILLED = """
import os, signal, sys
from pathlib import Path
from evermodel.modeling.scoring import table
from test_scoring_table import DAY, log_file, spec_of

insert = table._insert
def die(*arguments):
    insert(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

table._insert, table._BATCH = die, 2
table.write_table(spec_of(), DAY, log_file(Path(sys.argv[1]), spec_of(), count=9, score=0.9))
"""


def test_a_writer_that_is_killed_changes_nothing_and_the_next_try_is_whole(
    database: Path, tmp_path: Path
) -> None:
    spec = spec_of()
    write_table(spec, DAY, log_file(tmp_path, spec))

    tests = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=env)

    assert done.returncode == -signal.SIGKILL
    assert rows_in(database, "SELECT count(*), max(score) FROM scores") == [(3, 0.5)]
    write_table(spec, DAY, log_file(tmp_path, spec, count=9, score=0.9))
    assert rows_in(database, "SELECT count(*), min(score) FROM scores") == [(9, 0.9)]


def test_a_database_that_is_away_is_tried_again_and_a_foreign_table_is_not(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of()
    file = log_file(tmp_path, spec)
    with monkeypatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_HOUSE", f"sqlite:///{tmp_path}/missing/house.db")
        with pytest.raises(
            TargetUnavailableError, match="table scores of connection house cannot be written"
        ):
            write_table(spec, DAY, file)
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE scores (model TEXT NOT NULL, day TEXT NOT NULL CHECK (day = 'x'))")
        connection.execute('CREATE TABLE scores_days (model TEXT, day TEXT, "rows" INT, scored_at TEXT)')
    connection.close()
    with pytest.raises((TargetError, TargetUnavailableError), match="has no column named"):
        write_table(spec, DAY, file)


def test_a_connection_without_a_table_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be set together"):
        small_spec("unused", score={"connection": "house"})
    with pytest.raises(ValidationError, match="needs `engine: spark`"):
        small_spec("unused", score={"spark": "local[1]"})
