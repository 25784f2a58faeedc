"""A model with a champion and a judged challenger whose bytes are nobody's business, and serving processes that report."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from evermodel.deployment.rollout.service import RolloutService
from evermodel.evaluation.decision import Decision
from evermodel.pipelines.retrain import Retrain
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.retrain_run import DECISION_FILE
from evermodel.registry.serving_heartbeats import ServingReport, VersionCounts
from evermodel.registry.serving_reports import ServingReports
from evermodel.registry.tracking import keyed_run, log_json
from evermodel.registry.traffic_plan import TrafficPlan
from evermodel.spec import ModelSpec
from evermodel.spec.rollout import RolloutSpec
from support.flights import World


@dataclass
class RolloutWorld:
    """Versions registered with a decision written by hand: training is not what is tested."""

    world: World
    rollout: dict[str, Any]
    name: str = field(default_factory=lambda: f"rollout_{uuid.uuid4().hex[:8]}")

    @property
    def spec(self) -> ModelSpec:
        section = RolloutSpec.model_validate(self.rollout)
        return self.world.spec.model_copy(update={"name": self.name, "rollout": section})

    @property
    def steps(self) -> RolloutService:
        return RolloutService(self.spec, self.world.client, self.world.settings)

    def judged(self, run_key: str, parent: str | None, *, ship: bool = True) -> tuple[Retrain, str]:
        """Register a version whose decision says that it may ship over a champion."""
        retrain = replace(self.world.retrain("2013-03-25", run_key=run_key), spec=self.spec)
        run = keyed_run(retrain.client, self.name, f"{run_key}/linear", kind="candidate", name="linear")
        decision = Decision(
            self.name, run_key, "linear", f"{run.info.artifact_uri}/model", parent, "roc_auc",
            "better" if ship else "worse", ship, False, "said so", 100, (0.8, 0.7, 0.9), None, None, (),
            approval=self.spec.approval,
        )  # fmt: skip
        log_json(retrain.client, retrain.mlflow_run().info.run_id, decision.to_json(), DECISION_FILE)
        tags = {"evermodel.decision": decision.digest}
        version = ModelRegistry(retrain.client).register(
            self.name, run_key, source=decision.model_uri, run_id=run.info.run_id, tags=tags
        )
        return retrain, str(version.version)

    def serve(self, run_key: str = "r/champion") -> str:
        """Register a version and promote it over today's champion."""
        current = ModelRegistry(self.world.client).read(self.name).champion
        retrain, version = self.judged(run_key, current)
        retrain.deploy(version, "test")
        return version

    def report(self, at: datetime, counts: dict[str, VersionCounts], plan: TrafficPlan | None = None) -> None:
        """Write what a serving process has counted under the plan that is in force."""
        plan = plan or self.plan
        report = ServingReport(
            self.name, "host-1-a", "test", "host", 1, plan.since, at.isoformat(), plan.champion,
            revision=plan.revision, rollout=plan.run_key, counts=counts,
        )  # fmt: skip
        ServingReports.of(self.world.settings).write(report)

    @property
    def plan(self) -> TrafficPlan:
        plan = ModelRegistry(self.world.client).read(self.name).plan
        assert plan is not None
        return plan

    @property
    def champion(self) -> str:
        return str(ModelRegistry(self.world.client).champion(self.name).version)

    def tags(self, version: str) -> dict[str, str]:
        return dict(self.world.client.get_model_version(self.name, version).tags)


RolloutWorlds = Callable[[dict[str, Any]], RolloutWorld]


def counted(requests: int, errors: int = 0) -> VersionCounts:
    """Return counts whose response times are all below 10 ms."""
    return VersionCounts(requests, errors, {"0.01": requests, "+Inf": requests})
