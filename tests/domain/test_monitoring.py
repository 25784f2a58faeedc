"""One champion and its scored days, shared by these tests: each looks at a window of its own."""

from __future__ import annotations

import math
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from evermodel.core.errors import EmptyWindowError, NoChampionError
from evermodel.data.prediction_log import log_schema, read_log, write_day
from evermodel.data.sources import read_labels
from evermodel.modeling.scoring.day import score_day
from evermodel.monitoring.drift.report import STAT_TEST
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.performance.promotion_effect import WatchedPromotion
from evermodel.pipelines.drift import VERDICT_FILE, DriftRun
from evermodel.pipelines.status import lines_of, status_of
from evermodel.registry.serving_reports import ServingReports
from evermodel.registry.tracking import read_json
from evermodel.reports.drift_page import drift_page
from evermodel.spec.window import Window, parse_moment
from support.flights import World, flights_world

CALM_DAY, DRIFTED_DAY, OWN_PAGE_DAY = "2013-03-18", "2013-06-10", "2013-07-08"


@pytest.fixture(scope="module")
def watched(mlflow_store: str, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A champion trained as of 11 March, and the predictions of the week after it."""
    world = flights_world(tmp_path_factory.mktemp("watched"), mlflow_store)
    world.champion("2013-03-11")
    for day in range(7):
        score_day(world.spec, parse_moment(CALM_DAY) - timedelta(days=day), world.client, world.settings)
    return world


def _watch(world: World, as_of: str) -> DriftRun:
    return DriftRun(world.spec, parse_moment(as_of), world.client, world.settings)


def _log(watch: DriftRun) -> pa.Table:
    return read_log(watch.spec, watch.settings.lake, watch.window)


def _write(world: World, as_of: str, rows: int = 300, **columns: pa.Array) -> None:
    """Write predictions of the day before: the calm week's rows with some columns changed."""
    calm = _log(_watch(world, CALM_DAY)).to_pandas().sample(rows, replace=True, random_state=0)
    day: datetime = parse_moment(as_of) - timedelta(days=1)
    table = pa.Table.from_pandas(calm, preserve_index=False).select(log_schema(world.spec).names)
    table = table.set_column(1, "event_time", pa.array([day] * rows, pa.timestamp("us", tz="UTC")))
    table = table.set_column(0, "prediction_id", pa.array([f"{as_of}-{i}" for i in range(rows)]))
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    write_day(world.spec, world.settings.lake, day.date(), [table])


def test_judging_a_window_writes_its_verdict_to_mlflow_and_doing_it_again_uses_the_same_run(
    watched: World,
) -> None:
    watch = _watch(watched, CALM_DAY)

    first, again = watch.judge(), watch.judge()

    assert again == first == watch.verdict()
    assert (first.model, first.version) == (watched.name, "1")
    assert first.window_rows == _log(watch).num_rows > 100
    assert first.reference_rows > 1000
    assert first.severity == "none" or len(first.drifting) > 0
    assert {c.column for c in first.columns if c.what == "feature"} == set(watched.spec.watched)
    experiment = watched.client.get_experiment_by_name(f"{watched.name}-monitoring")
    runs = watched.client.search_runs(
        [experiment.experiment_id], f"tags.`evermodel.run_key` = '{watch.run_key}'"
    )
    assert len(runs) == 1
    assert DriftVerdict.from_json(read_json(watched.client, runs[0].info.run_id, VERDICT_FILE)) == first
    assert runs[0].data.tags["evermodel.severity"] == first.severity
    for column in (c for c in first.columns if c.what == "feature"):
        assert runs[0].data.metrics[f"psi_{column.column}"] == pytest.approx(column.effect)


def test_the_replaced_version_scores_the_same_rows(watched: World, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted = WatchedPromotion("1", "1", parse_moment("2013-03-12"))
    monkeypatch.setattr("evermodel.pipelines.drift.watched_promotion", lambda *args: promoted)
    watch = _watch(watched, CALM_DAY)

    effect = watch.judge().promotion

    assert effect is not None
    assert (effect.note, effect.gain, effect.hurt) == ("", 0.0, False), "a version is as good as itself"
    assert effect.rows >= 100
    assert watch.verdict().promotion == effect
    reports = ServingReports.of(watched.settings)
    assert f"  {effect}" in lines_of(status_of(watched.client, watched.name, reports))
    assert "on the same rows" in drift_page(watch.verdict())


def test_the_verdict_tells_performance_on_matured_labels_beside_what_was_promised(watched: World) -> None:
    verdict = _watch(watched, CALM_DAY).judge()

    decision = watched.retrain("2013-03-11").decision()
    assert verdict.performance.metric == "roc_auc"
    assert verdict.performance.promised == decision.challenger[0]
    assert None not in (verdict.performance.value, verdict.performance.low, verdict.performance.high)

    spec, end = watched.spec, parse_moment(CALM_DAY)
    predictions = _log(_watch(watched, CALM_DAY)).select(["prediction_id", "score"]).to_pandas()
    labels = read_labels(spec, Window(end - timedelta(days=7), end - timedelta(days=1))).to_pandas()
    joined = labels.astype({spec.id_column: str}).merge(
        predictions, left_on=spec.id_column, right_on="prediction_id"
    )
    assert verdict.performance.value == pytest.approx(roc_auc_score(joined["late"], joined["score"]))


def test_a_drifted_window_warns_before_a_history_exists_and_its_report_shows_our_numbers_and_verdict(
    watched: World, tmp_path: Path
) -> None:
    rows = 300
    generator = np.random.default_rng(0)
    infinite = np.where(generator.random(rows) < 0.01, math.inf, generator.normal(35, 5, rows))
    _write(watched, DRIFTED_DAY, rows, temp=pa.array(infinite + 60), seats=pa.nulls(rows, pa.float64()))
    watch = _watch(watched, DRIFTED_DAY)

    verdict = watch.judge()
    address = watch.report()

    found = {c.column: c for c in verdict.columns if c.what == "feature"}
    missing = {c.column: c for c in verdict.columns if c.what == "missing"}
    assert verdict.severity == found["temp"].severity == "warning"
    assert found["temp"].summary.startswith("median ")
    assert missing["seats"].severity == "warning"
    assert missing["seats"].summary.endswith("→ 100.0%")
    assert verdict.quality == ("seats: 100% missing, at most 50% allowed",)
    assert "temp" in verdict.reason
    run = watch.mlflow_run()
    assert address.endswith(run.info.run_id)
    html = Path(
        watched.client.download_artifacts(run.info.run_id, "evidently.html", str(tmp_path))
    ).read_text()
    assert "PSI, calibrated (evermodel)" in html
    report = read_json(watched.client, run.info.run_id, "evidently.json")
    values = {
        m["config"]["column"]: m for m in report["metrics"] if m["config"]["type"].endswith("ValueDrift")
    }
    assert set(values) - {"score"} == set(found) - {"seats"}
    for name, metric in values.items():
        if name == "score":
            continue
        assert metric["config"]["method"] == STAT_TEST
        assert metric["value"] == pytest.approx(found[name].effect)
    drawn = [test for test in report["tests"] if test["name"].startswith("Value Drift")]
    failed = {test["metric_config"]["params"]["column"] for test in drawn if test["status"] == "FAIL"}
    assert len(drawn) == len(values)
    assert failed - {"score"} == {c.column for c in found.values() if c.severity != "none"} - {"seats"}


def test_too_few_rows_give_no_verdict_and_say_so(watched: World) -> None:
    as_of = "2013-07-10"
    _write(watched, as_of, 20, temp=pa.array([500.0] * 20))

    verdict = _watch(watched, as_of).judge()

    assert verdict.severity == "none"
    assert verdict.reason == "20 rows are too few for a verdict (at least 50)"


def test_a_window_without_predictions_names_the_dag_that_should_have_written_them(watched: World) -> None:
    with pytest.raises(EmptyWindowError, match=rf"no row in 2014-01-01 .*[\s\S]*score_{watched.name}"):
        _watch(watched, "2014-01-08").judge()


def test_without_a_champion_there_is_nothing_to_judge(world: World) -> None:
    with pytest.raises(NoChampionError):
        _watch(world, CALM_DAY).judge()


def test_without_evidently_the_report_is_a_page_of_our_own(
    watched: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "evidently"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "evidently", None)
    monkeypatch.setattr("evermodel.pipelines.drift.is_installed", lambda library: False)
    _write(watched, OWN_PAGE_DAY, temp=pa.array([95.0] * 300))
    watch = _watch(watched, OWN_PAGE_DAY)

    verdict, address = watch.judge(), watch.report()

    run_id = watch.mlflow_run().info.run_id
    page = Path(watched.client.download_artifacts(run_id, "evidently.html", str(tmp_path))).read_text()
    assert address.endswith(run_id)
    assert verdict.drifting
    assert [column.column for column in verdict.columns if f"<td>{column.column}</td>" not in page] == []
    assert f"<h2>{verdict.drifting[0].column}: {verdict.drifting[0].what}</h2>" in page
    assert "pip install" in page
    assert "evermodel[evidently]" in page
    assert "<script" not in page
