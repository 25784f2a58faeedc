"""Scoring a day: the champion answers for every row of it, once, however often it is done."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evermodel.core.errors import EmptyWindowError, NoChampionError
from evermodel.core.settings import Settings
from evermodel.data import prediction_log
from evermodel.data.dtypes import feature_frame
from evermodel.data.prediction_log import log_schema, read_log
from evermodel.data.table_file import TableFile
from evermodel.modeling.scoring.day import ScoredDay, score_day
from evermodel.registry.tracking import connect
from evermodel.spec import ModelSpec
from support.day_tables import appended
from support.prediction_logs import log_files
from support.small_model import between, moment, publish, settings_in, small_rows, small_spec, write_rows


@dataclass(frozen=True)
class Scoring:
    """A model with a champion, a source and a lake of its own."""

    spec: ModelSpec
    pipeline: Any
    client: Any
    settings: Settings

    def score(self, as_of: float) -> ScoredDay:
        return score_day(self.spec, moment(as_of), self.client, self.settings)

    def log(self, start: float, end: float) -> pa.Table:
        return read_log(self.spec, self.settings.lake, between(start, end))

    def contents(self) -> list[tuple[str, bytes]]:
        files = log_files(self.settings.lake, self.spec.name)
        return [(file.parent.parent.name, file.read_bytes()) for file in files]


@pytest.fixture(scope="module")
def champion(mlflow_store: str) -> tuple[str, Any, Any]:
    """Name of a model in the registry, the pipeline that serves, and the client."""
    client = connect(mlflow_store)
    spec = small_spec("unused", name=f"small_{uuid.uuid4().hex[:8]}")
    return spec.name, publish(spec, client), client


@pytest.fixture
def scoring(champion: tuple[str, Any, Any], tmp_path: Path) -> Scoring:
    name, pipeline, client = champion
    # No label: nobody knows it yet when a day is scored.
    source = write_rows(tmp_path / "rows.parquet", small_rows(late=None, wind=[None] * 40 + [1] * 40))
    return Scoring(small_spec(source, name=name), pipeline, client, settings_in(tmp_path))


def test_every_row_of_the_day_gets_the_champions_answer(scoring: Scoring) -> None:
    scored = scoring.score(3)
    log = scoring.log(2, 3)
    day = small_rows(late=None, wind=[None] * 40 + [1] * 40).slice(16, 8)
    answers = scoring.pipeline.predict_proba(feature_frame(scoring.spec, day))[:, 1]
    assert log.schema == log_schema(scoring.spec)
    assert log["prediction_id"].to_pylist() == day["id"].to_pylist()
    assert log["event_time"].to_pylist() == day["at"].to_pylist()
    np.testing.assert_allclose(log["score"].to_numpy(), answers, rtol=1e-12)
    assert len(set(log["score"].to_pylist())) > 3
    assert log["temp"].to_pylist() == day["temp"].to_pylist()
    assert log["carrier"].to_pylist() == day["carrier"].to_pylist()
    assert (log["wind"].null_count, log["request_id"].null_count) == (8, 8)
    assert set(log["model_version"].to_pylist()) == {scored.version} == {"1"}
    assert set(log["source"].to_pylist()) == {"batch"}
    assert (scored.day, scored.rows) == ("2024-01-03", 8)
    assert scored.mean_score == pytest.approx(answers.mean())
    (file,) = log_files(scoring.settings.lake, scoring.spec.name)
    assert file.parent == scoring.settings.lake / scored.path


def test_a_day_scored_twice_is_one_file_with_the_same_content_and_other_days_stay(scoring: Scoring) -> None:
    scoring.score(2)
    first = scoring.score(3)
    contents = scoring.contents()
    assert scoring.score(3) == first
    assert scoring.contents() == contents
    assert [day for day, _ in contents] == ["date=2024-01-02", "date=2024-01-03"]
    assert scoring.log(0, 10).num_rows == 16


def test_rows_that_arrived_late_are_there_after_scoring_again_and_serving_is_left_alone(
    scoring: Scoring,
) -> None:
    source = Path(scoring.spec.source.path)
    everything = pq.read_table(source)
    write_rows(source, everything.slice(0, 20))
    scoring.score(3)
    online = scoring.log(2, 3).slice(0, 1)
    online = online.set_column(online.column_names.index("source"), "source", pa.array(["online"]))
    table = prediction_log.log_of(scoring.spec, scoring.settings.lake)
    file = TableFile.new(table.root, date(2024, 1, 3), "online")
    file.path.parent.mkdir(parents=True)
    pq.write_table(online, file.path)
    appended(table, file)
    assert scoring.log(2, 3).num_rows == 5
    write_rows(source, everything)
    scoring.score(3)
    assert sorted(scoring.log(2, 3)["source"].to_pylist()) == ["batch"] * 8 + ["online"]


def test_a_moment_within_a_day_scores_the_whole_day_before(scoring: Scoring) -> None:
    assert scoring.score(3.3).day == "2024-01-03"
    assert scoring.log(0, 9)["event_time"].to_pylist() == [moment(2 + n / 8) for n in range(8)]


def test_a_day_without_rows_is_an_error_and_leaves_no_file(scoring: Scoring) -> None:
    with pytest.raises(EmptyWindowError, match="no row to score on 2024-02-09"):
        scoring.score(40)
    assert list(scoring.settings.lake.rglob("*.parquet")) == []


def test_a_model_without_a_champion_is_told_what_to_run(scoring: Scoring) -> None:
    spec = scoring.spec.model_copy(update={"name": "never_trained"})
    with pytest.raises(NoChampionError, match="DAG retrain_never_trained"):
        score_day(spec, moment(3), scoring.client, scoring.settings)


def test_a_day_scored_again_after_a_promotion_carries_the_new_version_alone(
    mlflow_store: str, scoring: Scoring
) -> None:
    spec = scoring.spec.model_copy(update={"name": f"small_{uuid.uuid4().hex[:8]}"})
    other = Scoring(spec, publish(spec, scoring.client), scoring.client, scoring.settings)
    before = (other.score(3), other.log(2, 3)["score"].to_pylist())
    publish(spec, other.client, "second", temp_matters=False)
    after = (other.score(3), other.log(2, 3)["score"].to_pylist())
    assert (before[0].version, after[0].version) == ("1", "2")
    assert set(other.log(2, 3)["model_version"].to_pylist()) == {"2"}
    assert before[1] != after[1]
