"""The traffic plan in the registry: one tag of the model, changed by compare-and-set on its revision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from evermodel.core.audit import audit
from evermodel.core.errors import RegistryConflictError
from evermodel.core.formats import stamped
from evermodel.deployment.rollout.plan import TrafficPlan
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tags import TRAFFIC_PLAN

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient


def read_plan(client: MlflowClient, model: str) -> TrafficPlan | None:
    """Return the model's last traffic plan, in any state; None if there is none."""
    return plan_of(ModelRegistry(client).read(model).tags)


def plan_of(tags: Mapping[str, str]) -> TrafficPlan | None:
    """Return the plan among the tags of a registered model."""
    text = tags.get(TRAFFIC_PLAN)
    return None if text is None else TrafficPlan.from_json(json.loads(text))


def write_plan(
    client: MlflowClient, plan: TrafficPlan, *, after: TrafficPlan | None, by: str = ""
) -> TrafficPlan:
    """Write a plan, if the plan in the registry has not changed since it was read.

    Parameters
    ----------
    after
        The plan that was read before; None if there was none.
    by
        Who changes it, for the audit log; the person who started the rollout if not given.

    Raises
    ------
    RegistryConflictError
        Another process has changed the plan.
    """
    stored = read_plan(client, plan.model)
    if stored == plan:
        return plan
    if stored != after:
        revision = stored.revision if stored else 0
        raise RegistryConflictError(
            f"model {plan.model}: another process has changed the traffic plan (revision {revision})",
            "check it with evermodel status, and try again",
        )
    ModelRegistry(client).write_json(plan.model, TRAFFIC_PLAN, stamped(plan.to_json()))
    audit(
        "traffic",
        plan.model,
        strategy=plan.strategy,
        state=plan.state,
        revision=plan.revision,
        shares=",".join(f"{arm.version}:{arm.share:g}" for arm in plan.arms),
        by=by or plan.by,
        reason=plan.verdict or plan.reason,
    )
    return plan
