"""The rollback DAG as Airflow runs it: one form, one move, one message."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from evermodel.registry.registry import ModelRegistry
from evermodel.registry.serving_heartbeats import ServingReport, VersionCounts
from evermodel.registry.serving_reports import ServingReports
from support.airflow_runs import messages, parse, parse_file, run
from support.flights import World

pytestmark = pytest.mark.integration


def test_a_rollback_makes_the_version_before_champion_again_and_tells_people(
    world: World, without_evidence: None
) -> None:
    logistic = {"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression", "params": {}}
    world.change(candidates=[logistic])
    assert [world.champion("2013-03-11"), world.champion("2013-03-18")] == ["1", "2"]

    done = run(parse(world, "rollback"), "2013-03-19", {"reason": "wrong answers since yesterday"})

    assert done.state == "success"
    assert str(ModelRegistry(world.client).champion(world.name).version) == "1"
    last = ModelRegistry(world.client).read(world.name).promotions[-1]
    assert (last.version, last.previous, last.kind) == ("1", "2", "rollback")
    assert last.reason == "wrong answers since yesterday"
    (message,) = messages(world)
    assert "rolled back to version 1" in message["title"]
    assert "wrong answers since yesterday" in message["text"]


def test_a_rollback_without_an_earlier_version_fails_at_once_and_says_so(
    world: World, without_evidence: None
) -> None:
    logistic = {"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression", "params": {}}
    world.change(candidates=[logistic])
    world.champion("2013-03-11")

    done = run(parse(world, "rollback"), "2013-03-19", {"reason": "wrong answers"})

    assert (done.state, done.tries["rollback"]) == ("failed", 1)
    (message,) = messages(world)
    assert "there is no version to roll back to" in message["text"]


def test_a_champion_that_fails_requests_goes_back_by_itself_and_people_are_told_once(
    world: World, without_evidence: None
) -> None:
    logistic = {"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression", "params": {}}
    world.change(candidates=[logistic], rollback={"error_rate": 0.02})
    assert [world.champion("2013-03-11"), world.champion("2013-03-18")] == ["1", "2"]
    now = datetime.now(UTC).isoformat()
    counts = {"2": VersionCounts(requests=1000, errors=400)}
    ServingReports.of(world.settings).write(
        ServingReport(world.name, "web-1-7-a", "prod", "web-1", 7, now, now, "2", counts=counts),
    )

    def guarded() -> Any:
        return run(parse_file("guard")["evermodel_guard"], "2013-03-19")

    done = guarded()

    assert done.state == "success"
    assert (done.xcom("guard")[0]["version"], done.xcom("guard")[0]["by"]) == ("1", "evermodel")
    assert str(ModelRegistry(world.client).champion(world.name).version) == "1"
    assert guarded().state == "success"
    (message,) = messages(world)
    assert "400 of 1,000 requests failed (40.00%), limit 2.00%" in message["text"]
    assert len(ModelRegistry(world.client).read(world.name).promotions) == 3
