"""The rollout's sensor in a DAG that Airflow runs: its trigger looks, the task tells of each step and waits again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from evermodel.core.errors import EvermodelError, RolloutError, TransientError
from evermodel.deployment.rollout.service import RolloutEvaluation, RolloutService
from evermodel_provider.hooks.tracking import TrackingHook
from evermodel_provider.sensors.rollout import RolloutSensor
from support.airflow_runs import Done, messages, run
from support.flights import World, flights_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = flights_world(tmp_path, "http://127.0.0.1:1")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


def look(world: World, move: Any, state: Any = "running", step: int = 0) -> RolloutEvaluation:
    share = 0.1 if step == 0 else 0.5
    return RolloutEvaluation(world.name, "2", "1", "canary", state, step, share, move, f"why {move}", "r/1")


def watched(
    world: World, monkeypatch: pytest.MonkeyPatch, *found: RolloutEvaluation | EvermodelError
) -> tuple[Done, Iterator[Any]]:
    """Run the sensor against looks that are laid out; what is left of them comes back."""
    left = iter(found)

    def advance(self: RolloutService, now: Any = None) -> RolloutEvaluation:
        one = next(left)
        if isinstance(one, EvermodelError):
            raise one
        return one

    monkeypatch.setattr(RolloutService, "advance", advance)
    monkeypatch.setattr(TrackingHook, "get_conn", lambda hook: None)
    with DAG(f"watch_{world.name}", schedule=None, start_date=datetime(2013, 1, 1, tzinfo=UTC)) as dag:
        RolloutSensor(task_id="watch", model=world.name, deferrable=True, poke_interval=0.05)
    return run(dag, "2013-03-11"), left


def test_steps_are_told_and_the_end_is_returned_although_mlflow_is_away_for_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, left = watched(
        world,
        monkeypatch,
        look(world, "stay"),
        TransientError("MLflow is away", "wait"),
        look(world, "stay"),
        look(world, "next", step=1),
        look(world, "stay", step=1),
        look(world, "promote", "promoted", step=1),
    )

    assert done.states == {"watch": "success"}
    assert (done.xcom("watch")["state"], done.xcom("watch")["version"]) == ("promoted", "2")
    assert list(left) == []
    (told,) = messages(world)
    assert "step 1, 50%" in told["title"], "the end is told by the task after it"


def test_what_no_waiting_mends_fails_the_task(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = RolloutError("no rollout yet", "start one")
    done, left = watched(world, monkeypatch, look(world, "stay"), gone, look(world, "promote", "promoted"))

    assert done.states == {"watch": "failed"}
    assert len(list(left)) == 1
