"""A rollout that is under way, and how a rollback or a person ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evermodel.core.errors import RegistryConflictError
from evermodel.deployment.rollout.plan import PlanState, TrafficPlan, everything_to
from evermodel.deployment.rollout.plan_store import plan_of, write_plan
from evermodel.registry.registry import AUTOMATIC
from evermodel.registry.registry_entry import RegistryEntry

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient


def active_rollout(model: RegistryEntry) -> TrafficPlan | None:
    """Return the plan of the rollout that is under way, if there is one."""
    plan = plan_of(model.tags)
    return plan if plan is not None and plan.state == "running" else None


def ended_plan(plan: TrafficPlan, state: PlanState, why: str, serves: str) -> TrafficPlan:
    """Return the plan with which a rollout is over, one version answering everything."""
    return plan.changed(state=state, verdict=why, arms=everything_to(serves), shadow=0.0, warm=(), limit=None)


def stop_active_rollout(
    client: MlflowClient, model: RegistryEntry, why: str, serves: str, by: str = AUTOMATIC
) -> TrafficPlan | None:
    """Mark the rollout that is under way as stopped, if there is one; its traffic has gone to the champion already.

    A plan holds only while its champion is the champion, so that this only says what is so.

    Parameters
    ----------
    model
        As it was read when it was changed, or later.
    why
        What ended it.
    serves
        The version that serves now.
    by
        Who did it, for the audit log.

    Returns
    -------
    The plan before; None if no rollout was under way.
    """
    plan = active_rollout(model)
    if plan is None or plan.holds(serves):
        return None
    try:
        write_plan(client, ended_plan(plan, "stopped", why, serves), after=plan, by=by)
    except RegistryConflictError:
        return (
            None  # whoever was quicker has ended or moved it; the next look sees that the champion is another
        )
    return plan
