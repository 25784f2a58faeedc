"""The controller of each strategy, by its name."""

from __future__ import annotations

from datetime import datetime

from evermodel.deployment.rollout import ab_test, bandit, blue_green, canary, shadow
from evermodel.deployment.rollout.evidence import Controller, Evidence, Verdict
from evermodel.registry.traffic_plan import TrafficPlan
from evermodel.spec.rollout import RolloutSpec, Strategy


class Direct:
    """The new version answers all requests at once."""

    def begin(self, spec: RolloutSpec, plan: TrafficPlan) -> TrafficPlan:
        """Return the plan as it is."""
        return plan

    def decide(self, spec: RolloutSpec, plan: TrafficPlan, evidence: Evidence, now: datetime) -> Verdict:
        """Promote."""
        return Verdict("promote", f"direct: version {plan.challenger} answers all requests at once")


CONTROLLERS: dict[Strategy, Controller] = {
    "direct": Direct(),
    "blue_green": blue_green,
    "shadow": shadow,
    "canary": canary,
    "ab_test": ab_test,
    "bandit": bandit,
}
