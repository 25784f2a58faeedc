"""Retrain, rollout and stop as Airflow runs them, on a real registry with serving processes that report."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from evermodel.deployment.rollout.service import RolloutService
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.serving_heartbeats import ServingReport, VersionCounts
from evermodel.registry.serving_reports import ServingReports
from evermodel.registry.traffic_plan import TrafficPlan
from support.airflow_runs import messages, parse, retrain, run
from support.flights import World

pytestmark = pytest.mark.integration
LOGISTIC = {"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression", "params": {}}
Counted = Callable[[TrafficPlan], dict[str, VersionCounts]]


@pytest.fixture
def model(world: World, without_evidence: None) -> World:
    """A world whose versions roll out as canaries, with a champion and no time to bake."""
    canary = {"strategy": "canary", "canary": {"steps": [0.1, 0.5], "bake": "0min"}}
    world.change(candidates=[LOGISTIC], rollout=canary)
    assert world.champion("2013-03-11") == "1"
    return world


@contextmanager
def serving(world: World, counted: Counted) -> Iterator[None]:
    """Report, as a serving process does, what each version counted under the plan in force."""
    stop = threading.Event()

    def report() -> None:
        while not stop.wait(0.1):
            plan = ModelRegistry(world.client).read(world.name).plan
            if plan is None:
                continue
            at = datetime.now(UTC).isoformat()
            found = ServingReport(
                world.name, "h-1-a", "test", "h", 1, at, at, plan.champion,
                revision=plan.revision, rollout=plan.run_key, counts=counted(plan),
            )  # fmt: skip
            ServingReports.of(world.settings).write(found)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def with_errors(errors: int) -> Counted:
    def counted(plan: TrafficPlan) -> dict[str, VersionCounts]:
        times = {"0.01": 3000, "+Inf": 3000}
        return {
            plan.champion: VersionCounts(3000, 3, times),
            plan.challenger: VersionCounts(3000, errors, times),
        }

    return counted


def champion(world: World) -> str:
    return str(ModelRegistry(world.client).champion(world.name).version)


def rolled_out(world: World, day: str, form: dict[str, str] | None = None) -> Any:
    dag = parse(world, "rollout")
    dag.get_task("watch").poke_interval = 0.1
    return run(dag, day, form)


@contextmanager
def started_by_the_retrain(world: World) -> Iterator[None]:
    """Give the next runs what Airflow's scheduler gives them: the events of the asset that starts the DAG."""
    from airflow.models import dagrun
    from airflow.models.asset import AssetEvent, AssetModel
    from sqlalchemy import select

    create = dagrun.get_or_create_dagrun

    def with_events(**given: Any) -> Any:
        session, made = given["session"], create(**given)
        query = select(AssetEvent).join(AssetModel, AssetEvent.asset_id == AssetModel.id)
        wanted = query.where(AssetModel.name == f"{world.name}_rollout_wanted")
        made.consumed_asset_events.extend(session.scalars(wanted).all())
        session.commit()
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dagrun, "get_or_create_dagrun", with_events)
        yield


def test_a_retrain_hands_over_and_only_a_canary_that_keeps_the_guard_becomes_champion(model: World) -> None:
    done = retrain(model, "2013-03-18")

    assert (done.state, done.xcom("report")["outcome"]) == ("success", "rolling out")
    request = done.xcom("deploy")["rollout"]
    assert (request["version"], request["strategy"]) == ("2", "canary")
    assert request["run_key"] == f"rollout/{done.xcom('request')['run_key']}"
    assert champion(model) == "1", "nothing is promoted yet"
    assert "Rollout of version 2 started (canary, 10%)" in messages(model)[-1]["text"]

    with serving(model, with_errors(300)), started_by_the_retrain(model):
        out = rolled_out(model, "2013-03-19")

    assert out.xcom("start")["run_key"] == request["run_key"], "the event brings version and key"
    assert (out.state, out.states["finish"], out.states["report"]) == ("success", "skipped", "success")
    assert champion(model) == "1"
    told = messages(model)[-1]
    assert "rollout of version 2 rolled back" in told["title"]
    assert "300 of 3,000 (10.00%) errors" in told["text"]

    rollouts = RolloutService(model.spec, model.client, model.settings)
    rollouts.start("2", by="me", reason="again", run_key="again")
    stopped = run(parse(model, "stop_rollout"), "2013-03-20", {"reason": "change freeze"})
    assert (stopped.state, stopped.xcom("stop")) == ("success", "2")
    look = rollouts.advance()
    assert (look.state, "change freeze" in look.why) == ("stopped", True)

    before = len(messages(model))
    with serving(model, with_errors(3)):
        out = rolled_out(model, "2013-03-21", {"version": "2", "reason": "looks good"})

    assert (out.state, set(out.states.values())) == ("success", {"success"})
    assert champion(model) == "2"
    assert ModelRegistry(model.client).read(model.name).promotions[-1].reason.startswith("looks good; canary")
    titles = [message["title"] for message in messages(model)[before:]]
    assert len(titles) == 3
    parts = ("started (canary)", "step 1, 50%", "version 2 is the champion")
    assert all(part in title for part, title in zip(parts, titles, strict=True))
