from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evermodel.alerts.incidents.state import IncidentState
from evermodel.alerts.incidents.store import read_incidents, write_incidents
from evermodel.core.errors import TrackingUnavailableError
from evermodel.evaluation.decision import Decision
from evermodel.evaluation.next_window import GainPrediction
from evermodel.monitoring.problems import Problem
from evermodel.registry.client import MlflowClient
from evermodel.registry.registry import ModelRegistry
from evermodel.spec.window import parse_moment
from support.flights import World


def _second_week(world: World, force_reason: str | None = None) -> Decision:
    retrain = world.retrain("2013-03-25")
    snapshot = retrain.extract()
    return retrain.evaluate(snapshot.path, world.train(retrain, snapshot.path), force_reason)


def _only_logistic(world: World) -> None:
    world.change(candidates=[{"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression"}])


def test_a_champion_is_compared_although_the_spec_has_a_new_feature(world: World) -> None:
    _only_logistic(world)
    features = world.spec.features
    world.change(features={"numeric": list(features.numeric[1:])}, validation={"ranges": {}})
    world.champion("2013-03-11")
    world.change(features={"numeric": list(features.numeric)})

    decision = _second_week(world)

    assert decision.champion is not None
    assert decision.parent == "1"


def test_a_champion_whose_features_are_gone_is_kept_until_a_person_decides(world: World) -> None:
    _only_logistic(world)
    world.champion("2013-03-11")
    world.change(features={"numeric": list(world.spec.features.numeric[1:])}, validation={"ranges": {}})

    decision = _second_week(world)
    assert not decision.ship
    assert decision.parent == "1"
    assert any("version 1 cannot score the test window" in gate.detail for gate in decision.gates)

    forced = _second_week(world, "the feature is no longer delivered")
    assert forced.ship
    assert forced.forced


def test_a_champion_whose_files_are_gone_is_kept_until_a_person_decides(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _only_logistic(world)
    version = world.champion("2013-03-11")
    _lose_files(world, version, monkeypatch)

    decision = _second_week(world)
    assert not decision.ship
    assert any("version 1, cannot be used" in gate.detail for gate in decision.gates)
    assert str(ModelRegistry(world.client).champion(world.name).version) == version


def test_a_server_that_goes_away_in_the_middle_does_not_write_the_champion_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _only_logistic(world)
    version = world.champion("2013-03-11")
    _lose_files(world, version, monkeypatch)

    def away(uri: str, timeout: float = 5.0) -> None:
        raise TrackingUnavailableError("away")

    monkeypatch.setattr("evermodel.pipelines.evaluate.check_health", away)
    with pytest.raises(TrackingUnavailableError):
        _second_week(world)
    assert len(world.client.search_model_versions(f"name = '{world.name}'")) == 1


def _lose_files(world: World, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from evermodel.modeling import model_store

    kept = model_store.download

    def download(client: MlflowClient, uri: str, folder: Path) -> dict[str, str]:
        if uri == f"models:/{world.name}/{version}":
            raise FileNotFoundError("no such artifact")
        return kept(client, uri, folder)

    monkeypatch.setattr("evermodel.pipelines.evaluate.download", download)


def test_while_the_data_is_known_to_be_bad_no_version_ships_unless_somebody_says_so(world: World) -> None:
    _only_logistic(world)
    world.champion("2013-03-11")
    assert _second_week(world).ship

    bad = Problem("quality", "critical", "temp: 100% missing")
    state = IncidentState().after(
        "open", bad, parse_moment("2013-03-20"), origin="x", cause="the sensor is off"
    )
    found = read_incidents(world.client, world.name)
    write_incidents(world.client, world.name, found.having("quality", state))

    decision = _second_week(world)
    assert (decision.ship, [gate.name for gate in decision.failed]) == (False, ["open quality incident"])
    assert "open since 2013-03-20: the sensor is off" in decision.gates[-1].detail
    forced = _second_week(world, "the sensor is not used")
    assert (forced.ship, forced.forced) == (True, True)

    world.change(respond={"quality": "alert"})
    assert _second_week(world).ship
    world.change(respond={"quality": "veto"})
    later = replace(state, incident=replace(state.incident, opened="2013-03-27T00:00:00+00:00"))  # type: ignore[type-var]
    write_incidents(world.client, world.name, found.having("quality", later))
    assert _second_week(world).ship  # the run is as of an earlier day


def test_the_best_version_of_twelve_months_is_asked_too(world: World) -> None:
    _only_logistic(world)
    first, second = world.champion("2013-03-11"), world.champion("2013-03-18")
    kept = world.client.get_model_version(world.name, second).tags
    assert kept["evermodel.anchor"] == first
    promised = GainPrediction.from_text(kept["evermodel.gate_prediction"])
    assert (promised.champion, promised.metric) == (first, "roc_auc")
    assert promised.lower < promised.gain < promised.upper
    assert promised.window[1].startswith("2013-03-1")

    gates = {gate.name: gate for gate in _second_week(world).gates}

    assert gates["roc_auc against the best version of twelve months"].detail.startswith(
        f"version {first}: gain"
    )
