"""Direct: the new version answers all requests at once."""

from __future__ import annotations

from datetime import datetime

from evermodel.deployment.rollout.evidence import Evidence
from evermodel.deployment.rollout.verdict import Verdict
from evermodel.registry.traffic_plan import TrafficPlan
from evermodel.spec.rollout import RolloutSpec


def begin(spec: RolloutSpec, plan: TrafficPlan) -> TrafficPlan:
    """Return the plan as it is."""
    del spec
    return plan


def decide(spec: RolloutSpec, plan: TrafficPlan, evidence: Evidence, now: datetime) -> Verdict:
    """Promote."""
    del spec, evidence, now
    return Verdict("promote", f"direct: version {plan.challenger} answers all requests at once")
