"""The moves of a rollout: what a verdict, a promotion, a rollback or a person changes in the registry and in the traffic plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from evermodel.core.errors import RegistryConflictError
from evermodel.deployment.eligibility import promote
from evermodel.deployment.rollout import blue_green
from evermodel.deployment.rollout.evidence import Verdict
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
    """Mark the running rollout as stopped, and return its plan; None if none is running.

    Its requests already go to the champion, because a plan holds only while its champion serves.

    Parameters
    ----------
    model
        The entry as read when the champion changed, or later.
    """
    plan = active_rollout(model)
    if plan is None or plan.holds(serves):
        return None
    try:
        ModelRegistry(client).write_plan(ended_plan(plan, "stopped", why, serves), after=plan, by=by)
    except RegistryConflictError:
        return None  # another process has changed the plan; the next evaluation stops the rollout
    return plan


@dataclass(frozen=True)
class RolloutMoves:
    """Writes the promotion and the plan that follow from a verdict; each is written once, also after a crash."""

    client: MlflowClient

    def apply(self, plan: TrafficPlan, verdict: Verdict, now: datetime) -> TrafficPlan:
        """Return the plan after the move of a verdict."""
        if verdict.move == "next" and verdict.plan is not None:
            return self._write(replace(verdict.plan, verdict=verdict.why), plan)
        if verdict.move == "promote":
            return self._promoted(plan, verdict.why, now)
        if verdict.move == "roll_back":
            return self._rolled_back(plan, verdict.why)
        return plan

    def overtaken(self, plan: TrafficPlan, model: RegistryEntry) -> TrafficPlan:
        """Complete a move that a crash interrupted, or stop the rollout because of another promotion."""
        champion = model.require_champion()
        done, back = model.begun(_key(plan, "promote")), model.begun(_key(plan, "back"))
        if champion == plan.challenger and done is not None:
            return self._promoted(plan, done.promotion.reason.removeprefix(_because(plan)), datetime.now(UTC))
        if champion in plan.warm and back is not None:
            return self._rolled_back(plan, back.promotion.reason.removeprefix(_because(plan, back=True)))
        why = f"version {champion} is champion now, by a change outside this rollout"
        return self._write(ended_plan(plan, "stopped", why, champion), plan)

    def _promoted(self, plan: TrafficPlan, why: str, now: datetime) -> TrafficPlan:
        """Promote the challenger unless it is champion already, and write the plan that follows."""
        if plan.champion != plan.challenger:
            self._promote(plan, plan.challenger, _because(plan) + why)
        if plan.strategy == "blue_green" and plan.step == blue_green.SMOKE:
            after = replace(blue_green.switched(plan, now), verdict=why)
        else:
            after = ended_plan(plan, "promoted", why, plan.challenger)
        return self._write(after, plan)

    def _rolled_back(self, plan: TrafficPlan, why: str) -> TrafficPlan:
        """Return all requests to the champion; if the challenger is champion, make the old one champion again."""
        champion = plan.champion
        if plan.champion == plan.challenger and plan.warm:
            champion = plan.warm[0]
            self._promote(plan, champion, _because(plan, back=True) + why, back=True)
        return self._write(ended_plan(plan, "rolled_back", why, champion), plan)

    def _promote(self, plan: TrafficPlan, version: str, reason: str, *, back: bool = False) -> None:
        registry = ModelRegistry(self.client)
        with registry.holding(plan.model) as held:
            promote(
                registry,
                held,
                version,
                expected=plan.champion,
                by=AUTOMATIC if back else plan.by,
                reason=reason,
                run_key=_key(plan, "back" if back else "promote"),
                kind="rollback" if back else "promotion",
            )

    def _write(self, plan: TrafficPlan, after: TrafficPlan) -> TrafficPlan:
        return ModelRegistry(self.client).write_plan(plan, after=after, by=AUTOMATIC)


def _because(plan: TrafficPlan, *, back: bool = False) -> str:
    """Return what stands before the verdict in the reason of a promotion."""
    return f"{plan.strategy}: " if back else f"{plan.reason}; {plan.strategy}: "


def _key(plan: TrafficPlan, move: str) -> str:
    return f"{plan.run_key}/{move}"
