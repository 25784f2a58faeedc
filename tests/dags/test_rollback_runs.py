"""The rollback DAG as Airflow runs it: one form, one move, one message."""

from __future__ import annotations

import pytest

from airflow_world import messages, parse, run
from evermodel import registry
from worlds import World

pytestmark = pytest.mark.integration


def test_a_rollback_makes_the_version_before_champion_again_and_tells_people(
    world: World, without_evidence: None
) -> None:
    logistic = {"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression", "params": {}}
    world.change(candidates=[logistic])
    assert [world.champion("2013-03-11"), world.champion("2013-03-18")] == ["1", "2"]

    done = run(parse(world, "rollback"), "2013-03-19", {"reason": "wrong answers since yesterday"})

    assert done.state == "success"
    assert registry.champion(world.client, world.name).version == "1"
    last = registry.history(world.client, world.name)[-1]
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
    assert "there is nothing to go back to" in message["text"]
