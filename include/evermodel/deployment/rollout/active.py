"""The running rollout, and how a promotion, a rollback or a person stops it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evermodel.core.errors import RegistryConflictError
from evermodel.registry.registry import AUTOMATIC, ModelRegistry
from evermodel.registry.registry_entry import RegistryEntry
from evermodel.registry.traffic_plan import PlanState, TrafficPlan, everything_to

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient


def active_rollout(model: RegistryEntry) -> TrafficPlan | None:
    """Return the plan of the running rollout, if there is one."""
    plan = model.plan
    return plan if plan is not None and plan.state == "running" else None


def ended_plan(plan: TrafficPlan, state: PlanState, why: str, serves: str) -> TrafficPlan:
    """Return the last plan of a rollout, in which one version answers all requests."""
    return plan.changed(state=state, verdict=why, arms=everything_to(serves), shadow=0.0, warm=(), limit=None)


def stop_active_rollout(
    client: MlflowClient, model: RegistryEntry, why: str, serves: str, by: str = AUTOMATIC
) -> TrafficPlan | None:
    """Mark the running rollout as stopped, if there is one.

    Its requests already go to the champion, because a plan holds only while its champion serves.

    Parameters
    ----------
    model
        The entry as read when the champion changed, or later.
    why
        Why the rollout stops.
    serves
        The champion.
    by
        Who stops it, for the audit log.

    Returns
    -------
    The plan before; None if no rollout was running.
    """
    plan = active_rollout(model)
    if plan is None or plan.holds(serves):
        return None
    try:
        ModelRegistry(client).write_plan(ended_plan(plan, "stopped", why, serves), after=plan, by=by)
    except RegistryConflictError:
        return None  # another process has changed the plan; the next evaluation stops the rollout
    return plan
