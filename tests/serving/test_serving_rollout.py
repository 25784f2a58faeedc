"""Rollouts against a serving process that really answers: its own reports move them, and send a bad version back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from evermodel.deployment.rollout.service import RolloutService
from evermodel.evaluation.decision import Decision
from evermodel.modeling.scoring.loaded_version import ServedModel
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.retrain_run import DECISION_FILE
from evermodel.registry.serving_reports import ServingReports
from evermodel.registry.tracking import keyed_run, log_json
from evermodel.registry.traffic_plan import TrafficPlan
from evermodel.serving.app import create_app
from support.serving_models import World, request_rows, wait_until


def judged(world: World, version: str, run_key: str) -> None:
    """Write the decision that lets a version be rolled out over version 1."""
    decision = Decision(
        world.name, run_key, "logistic", "", "1", "roc_auc", "better", True, False, "", 9, (0.8, 0.7, 0.9), None,
        None, (), approval="auto",
    )  # fmt: skip
    run = keyed_run(world.client, world.name, run_key, kind="retrain", name=f"retrain of {version}")
    log_json(world.client, run.info.run_id, decision.to_json(), DECISION_FILE)


def ask(client: httpx.Client, requests: int) -> list[httpx.Response]:
    body = {"rows": request_rows(1, 1)}
    return [
        client.post("/predict", json=body, headers={"X-Subject-ID": f"caller-{n}"}) for n in range(requests)
    ]


def versions(client: httpx.Client) -> set[str]:
    return {answer.json()["version"] for answer in ask(client, 20)}


def wait_for_plan(client: httpx.Client, revision: int, what: str) -> None:
    wait_until(lambda: client.get("/models").json()[0]["revision"] == revision, what, seconds=120)


def wait_for_report(world: World, plan: TrafficPlan, version: str, requests: int) -> None:
    def reported() -> bool:
        found = ServingReports.of(world.settings).read(world.name)
        counts = found.counts(rollout=plan.run_key, revision=plan.revision)
        return version in counts and counts[version].requests >= requests

    wait_until(reported, f"{requests} requests of version {version} are reported", seconds=120)


def test_blue_green_and_canary_go_back_when_the_new_version_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish(1)
    world.publish(2, promote=False, graph=False)
    judged(world, "2", "key-2")
    rollouts = RolloutService(world.spec, world.client, world.settings)
    predict = ServedModel.predict

    def fails(served: ServedModel, rows: Any) -> Any:
        if served.version == "2":
            raise RuntimeError("no such carrier")
        return predict(served, rows)

    app = create_app([world.name], world.settings, poll_seconds=0.25)
    with TestClient(app, raise_server_exceptions=False) as client:
        green = rollouts.start("2", by="me", reason="test", run_key="bg", strategy="blue_green")
        wait_for_plan(client, green.revision, "green is loaded")
        assert versions(client) == {"1"}
        look = rollouts.advance(datetime.now(UTC) + timedelta(minutes=6))
        assert (look.move, look.state) == ("promote", "running"), look.why
        switched = ModelRegistry(world.client).read(world.name).plan
        assert switched is not None
        wait_for_plan(client, switched.revision, "all has switched")
        assert versions(client) == {"2"}

        monkeypatch.setattr(ServedModel, "predict", fails)
        ask(client, 40)
        wait_for_report(world, switched, "2", 40)
        back = rollouts.advance()
        assert (back.move, back.state) == ("roll_back", "rolled_back"), back.why
        wait_for_plan(client, 0, "blue answers again")
        assert versions(client) == {"1"}
        kinds = [promotion.kind for promotion in ModelRegistry(world.client).read(world.name).promotions]
        assert kinds == ["promotion", "promotion", "rollback"]

        canary = rollouts.start("2", by="me", reason="test", run_key="canary", strategy="canary")
        wait_for_plan(client, canary.revision, "the canary is loaded")
        statuses = [answer.status_code for answer in ask(client, 300)]
        assert 0 < statuses.count(500) < 60, "only the canary's share of the callers has seen it"
        wait_for_report(world, canary, "2", 8)
        look = rollouts.advance()
        assert (look.move, look.state) == ("roll_back", "rolled_back"), look.why
        wait_for_plan(client, 0, "the plan is over")
        assert versions(client) == {"1"}
    assert world.client.get_model_version(world.name, "2").tags["evermodel.rollout"] == "rejected"
