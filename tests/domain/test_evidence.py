"""Evidence in MLflow: a version that shipped, then a challenger that was refused, as the retrain left them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.core.errors import PermanentError, TrackingUnavailableError
from evermodel.modeling.model_store import download
from evermodel.modeling.onnx.export_if_equal import FOLDER
from evermodel.reports.retrain import log_decision_page as record
from evermodel.reports.retrain.numbers import Importance
from support.flights import FAST, World, flights_world

FIRST, SECOND = "2013-03-11", "2013-03-25"


@pytest.fixture(scope="module")
def told(mlflow_store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world whose first retrain shipped version 1, and whose second was refused by a floor."""
    world = flights_world(tmp_path_factory.mktemp("told"), mlflow_store)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in world.environment.items():
            patch.setenv(name, value)
        world.change(intended_use="Plan the crews | of tomorrow", limits="Not for single passengers")
        world.champion(FIRST, evidence=True)
        world.change(gate={"floor": 0.99})
        refused = world.retrain(SECOND, reason="drift: <b>pressure</b>")
        snapshot = refused.extract()
        refused.evaluate(snapshot.path, world.train(refused, snapshot.path), None)
        refused.finish("kept the champion")
        yield world


def artifact(world: World, as_of: str, name: str, folder: Path) -> str:
    run_id = run_of(world, as_of).info.run_id
    return Path(world.client.download_artifacts(run_id, name, str(folder))).read_text()


def run_of(world: World, as_of: str) -> Any:
    found = world.client.search_runs(
        [world.client.get_experiment_by_name(world.name).experiment_id],
        filter_string=f"tags.`evermodel.run_key` = 'retrain/{world.name}/{as_of}'",
    )
    return found[0]


def test_the_page_stands_beside_the_decision_also_when_the_answer_is_no(told: World, tmp_path: Path) -> None:
    shipped = artifact(told, FIRST, "decision.html", tmp_path)
    refused = artifact(told, SECOND, "decision.html", tmp_path)
    decision = json.loads(artifact(told, SECOND, "decision.json", tmp_path))
    assert "May ship" in shipped
    assert "Does not ship" in refused
    assert all(gate["name"] in refused for gate in decision["gates"])
    assert run_of(told, SECOND).data.tags["evermodel.snapshot_md5"] in refused
    assert "drift: &lt;b&gt;pressure&lt;/b&gt;" in refused


def test_retrains_carry_the_same_metrics_parameters_and_dataset_to_be_compared_by(told: World) -> None:
    first, second = run_of(told, FIRST), run_of(told, SECOND)
    own = {f"test_{m}" for m in ("roc_auc", "average_precision", "log_loss", "brier", "calibration_error")}
    assert own <= set(first.data.metrics)
    assert own | {f"{name}_champion" for name in own} <= set(second.data.metrics)
    assert second.data.metrics["gain_low"] <= second.data.metrics["gain"] <= second.data.metrics["gain_high"]
    for run in (first, second):
        assert run.data.params["candidate"] == run.data.tags["evermodel.candidate"]
        assert run.data.params["estimator"].startswith("sklearn.")
        assert [i.dataset.name for i in run.inputs.dataset_inputs] == [told.name]


def test_a_page_that_cannot_be_drawn_does_not_lose_the_decision(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> str:
        raise RuntimeError("no ink")

    monkeypatch.setattr(record, "decision_page", broken)
    retrain = world.retrain(FIRST)
    snapshot = retrain.extract()
    with caplog.at_level(logging.WARNING):
        decision = retrain.evaluate(snapshot.path, world.train(retrain, snapshot.path), None)
    assert retrain.decision() == decision
    assert "the decision is unaffected" in caplog.text
    assert "no ink" in caplog.text


def test_interrupted_while_it_stored_graph_and_page_the_evaluation_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.change(candidates=[FAST])
    retrain = world.retrain(FIRST)
    snapshot = retrain.extract()
    (trained,) = world.train(retrain, snapshot.path)
    half = tmp_path / "half"
    half.mkdir()
    (half / "encoding.json").write_text("{}")
    world.client.log_model_artifacts(trained.model_uri.removeprefix("models:/"), str(half), FOLDER)

    def away(*_: Any) -> str:
        raise TrackingUnavailableError("MLflow does not answer", "start it")

    monkeypatch.setattr(record, "permutation_importance", lambda trial: Importance(1, 0, {}))
    with monkeypatch.context() as patch:
        patch.setattr(record, "log_metrics", away)
        with pytest.raises(TrackingUnavailableError):
            retrain.evaluate(snapshot.path, [trained], None)
    decision = retrain.evaluate(snapshot.path, [trained], None)
    assert "decision.html" in {
        file.path for file in world.client.list_artifacts(retrain.mlflow_run().info.run_id)
    }
    assert decision.files == download(world.client, trained.model_uri, tmp_path / "whole")


def test_the_card_tells_everything_about_a_version(told: World, tmp_path: Path) -> None:
    version = told.client.get_model_version(told.name, "1")
    card = artifact(told, FIRST, "model_card.md", tmp_path)
    facts = [
        f"# Model card: {told.name}, version 1",
        "data-science",
        "Plan the crews \\| of tomorrow",
        "Not for single passengers",
        "2013-03-03 00:00 to 2013-03-10 00:00 UTC",
        "dep_time, dep_delay, arr_time, arr_delay, air_time",
        "numeric features | hour, weekday",
        "boosted_trees",
        "logistic",
        "C=0.1",
        "roc_auc (decides)",
        "no champion yet",
        "cron 0 6 \\* \\* 1",
        "when drift is critical",
        f"evermodel reproduce {told.name} 1",
    ]
    tags = ("snapshot", "snapshot_md5", "spec_digest", "git_commit", "decision", "run_key", "reason")
    facts += [version.tags[f"evermodel.{tag}"] for tag in tags]
    assert [fact for fact in facts if fact not in card] == []
    page = artifact(told, FIRST, "model_card.html", tmp_path)
    assert "Plan the crews | of tomorrow" in page
    assert version.tags["evermodel.snapshot_md5"] in page


def test_the_version_leads_to_its_card_and_to_its_decision(told: World) -> None:
    version = told.client.get_model_version(told.name, "1")
    run = run_of(told, FIRST)
    base = f"{told.settings.tracking_uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert version.tags["evermodel.model_card"] == f"{base}/artifacts/model_card.html"
    assert version.tags["evermodel.decision_page"] == f"{base}/artifacts/decision.html"
    assert f"[Model card](<{base}/artifacts/model_card.html>)" in version.description


def test_a_challenger_that_was_refused_has_no_card(told: World) -> None:
    names = {file.path for file in told.client.list_artifacts(run_of(told, SECOND).info.run_id)}
    assert "decision.html" in names
    assert not names & {"model_card.md", "model_card.html"}


def test_runs_stand_side_by_side(told: World) -> None:
    lines = json.loads(CliRunner().invoke(app, ["runs", told.name, "--json"]).stdout)
    assert [(line["as_of"], line["version"], line["outcome"], line["ship"]) for line in lines] == [
        (SECOND, "", "kept the champion", False),
        (FIRST, "1", "deployed", True),
    ]
    second, first = lines
    assert (first["verdict"], first["champion"], first["gain"]) == ("cold_start", None, None)
    assert second["gain_low"] <= second["gain"] <= second["gain_high"]
    assert second["reason"] == "drift: <b>pressure</b>"
    shown = CliRunner().invoke(app, ["runs", told.name], env={"COLUMNS": "240"}).stdout
    assert f"{second['champion']:.4f}" in shown
    assert f"({second['gain_low']:+.4f} to {second['gain_high']:+.4f})" in shown
    for line in lines:
        assert line["candidate"] in shown
        assert f"roc_auc {line['challenger']:.4f}" in shown
        assert all(f"{key}={value}" in shown for key, value in line["params"].items())
    assert len(json.loads(CliRunner().invoke(app, ["runs", told.name, "--json", "--last", "1"]).stdout)) == 1


def test_a_model_that_was_never_retrained_is_named(told: World) -> None:
    found = CliRunner().invoke(app, ["runs", "nobody"])
    assert isinstance(found.exception, PermanentError)
    assert "no retrain of a model nobody" in found.exception.problem
