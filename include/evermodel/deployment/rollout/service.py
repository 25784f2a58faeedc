"""The steps of a rollout: start, look and move, stop; each ends in the same state when it is killed and run again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from evermodel.core.errors import RegistryConflictError, RolloutError
from evermodel.core.settings import Settings
from evermodel.deployment.eligibility import refusal_of
from evermodel.deployment.rollout import blue_green
from evermodel.deployment.rollout.active import ended_plan
from evermodel.deployment.rollout.collect import collect_evidence
from evermodel.deployment.rollout.history import RolloutRecord
from evermodel.deployment.rollout.plan import PlanState, TrafficPlan, everything_to, stamp
from evermodel.deployment.rollout.plan_store import plan_of, write_plan
from evermodel.deployment.rollout.strategies import CONTROLLERS
from evermodel.deployment.rollout.verdict import Move, Verdict
from evermodel.registry import tags as tag
from evermodel.registry.approval import Approval
from evermodel.registry.ownership import require_own
from evermodel.registry.registry import AUTOMATIC, ModelRegistry
from evermodel.registry.registry_entry import RegistryEntry
from evermodel.registry.retrain_run import note_outcome
from evermodel.registry.tags import RetrainOutcome
from evermodel.spec import ModelSpec
from evermodel.spec.rollout import Strategy

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_OUTCOMES: dict[PlanState, RetrainOutcome] = {
    "promoted": RetrainOutcome.DEPLOYED,
    "rolled_back": RetrainOutcome.REJECTED,
    "stopped": RetrainOutcome.STOPPED,
}
_CONFLICTS = 4  # in a row; each means that somebody else moved


@dataclass(frozen=True)
class RolloutEvaluation:
    """What one look led to.

    Parameters
    ----------
    state
        Of the rollout after the look.
    move
        What the controller said; ``stay`` also when there was nothing to look at any more.
    figures
        What it went by.
    """

    model: str
    version: str
    champion: str
    strategy: Strategy
    state: PlanState
    step: int
    share: float
    move: Move
    why: str
    run_key: str
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Tell whether the rollout has ended."""
        return self.state != "running"

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@dataclass(frozen=True)
class RolloutService:
    """The rollouts of one model.

    Parameters
    ----------
    settings
        Where the lake is, in which serving processes report.
    """

    spec: ModelSpec
    client: MlflowClient
    settings: Settings

    def start(
        self,
        version: str,
        *,
        by: str,
        reason: str,
        run_key: str,
        strategy: Strategy | None = None,
        now: datetime | None = None,
    ) -> TrafficPlan:
        """Begin to roll a registered version out.

        Parameters
        ----------
        run_key
            Idempotency key: the same one again returns the plan as it is by now.
        strategy
            That of the spec if not given.

        Raises
        ------
        RolloutError
            Another rollout is under way, there is no champion yet, or the version may not be rolled out.
        PromotionError
            There is no such version, or it was never judged.
        """
        model, seen = self.spec.name, self._registry.read(self.spec.name)
        there = plan_of(seen.tags)
        if there is not None and there.run_key == run_key:
            RolloutRecord(self.client, there).open()
            return there
        serves = seen.require_champion()
        require_own(model, seen.tags)
        if there is not None:
            there, serves = _again(self._caught_up)
        if there is not None and there.holds(serves):
            raise RolloutError(
                f"model {model}: version {there.challenger} is being rolled out ({there.strategy}, since {there.since})",
                f"wait for its end, or stop it (evermodel rollout stop {model})",
            )
        if there is not None:
            self._settled(there)
        self._require_allowed(version, serves, reason)
        at, kind = stamp(now or datetime.now(UTC)), strategy or self.spec.rollout.strategy
        plan = TrafficPlan(
            model=model,
            strategy=kind,
            champion=serves,
            challenger=version,
            arms=everything_to(serves),
            salt=hashlib.sha256(run_key.encode()).hexdigest()[:16],
            since=at,
            step_since=at,
            by=by,
            reason=reason,
            run_key=run_key,
            revision=1 if there is None else there.revision + 1,
        )
        plan = CONTROLLERS[kind].begin(self.spec.rollout, plan)
        RolloutRecord(self.client, plan).open()
        return write_plan(self.client, plan, after=there)

    def advance(self, now: datetime | None = None) -> RolloutEvaluation:
        """Look at the evidence once, and do what it says.

        Raises
        ------
        RolloutError
            There never was a rollout.
        SourceError
            The labels cannot be read.
        """
        moment = now or datetime.now(UTC)
        return _again(lambda: self._look(moment))

    def _look(self, moment: datetime) -> RolloutEvaluation:
        plan, seen = self._plan()
        if plan.state != "running":
            return self._settled(plan)
        if not plan.holds(seen.require_champion()):
            return self._settled(self._overtaken(plan, seen))
        record = RolloutRecord(self.client, plan)
        evidence, stored = collect_evidence(
            self.spec, self.client, self.settings, plan, record.read(), moment
        )
        verdict = CONTROLLERS[plan.strategy].decide(self.spec.rollout, plan, evidence, moment)
        record.look(stored, evidence, verdict, moment)
        return self._settled(self._moved(plan, verdict, moment), verdict)

    def stop(self, *, by: str, reason: str) -> TrafficPlan:
        """End the rollout that is under way; the champion answers everything.

        Raises
        ------
        RolloutError
            None is under way.
        """
        plan = _again(lambda: self._stopped(by, reason))
        self._settled(plan)
        return plan

    def _stopped(self, by: str, reason: str) -> TrafficPlan:
        plan, seen = self._plan()
        if plan.state == "running":
            over = ended_plan(plan, "stopped", f"stopped by {by}: {reason}", seen.require_champion())
            return write_plan(self.client, over, after=plan, by=by)
        if plan.state != "stopped":
            raise RolloutError(
                f"model {self.spec.name}: no rollout is under way; the last one, of version {plan.challenger}, was "
                f"{plan.state.replace('_', ' ')}",
                "to go back to an earlier version use evermodel rollback",
            )
        return plan

    @property
    def _registry(self) -> ModelRegistry:
        return ModelRegistry(self.client)

    def _plan(self) -> tuple[TrafficPlan, RegistryEntry]:
        """Read the last plan, and the model that it was read from."""
        seen = self._registry.read(self.spec.name)
        plan = plan_of(seen.tags)
        if plan is None:
            raise RolloutError(
                f"model {self.spec.name}: there never was a rollout",
                f"start one: evermodel rollout start {self.spec.name} VERSION",
            )
        return plan, seen

    def _require_allowed(self, version: str, champion: str, reason: str) -> None:
        model = self.spec.name
        if not reason.strip():
            raise RolloutError(f"model {model}: a rollout needs a reason", "say why; it is kept")
        found = self._registry.version(model, version)
        if version == champion:
            raise RolloutError(
                f"model {model}: version {version} is the champion already", "name another one"
            )
        refusal = refusal_of(self.client, found, champion)
        if refusal is not None:
            raise RolloutError(refusal[0], "retrain, so that a version is judged against today's champion")
        answer = Approval.from_version(found)
        if not (self.spec.approval == "auto" if answer is None else answer.approved):
            by_hand = f'evermodel promote {model} {version} --approve --reason "…"'
            asked = f"answer its question in the DAG retrain_{model} (task approve)"
            raise RolloutError(
                f"model {model}: version {version} was not approved",
                by_hand if tag.ORIGIN in found.tags else asked,
            )

    def _moved(self, plan: TrafficPlan, verdict: Verdict, now: datetime) -> TrafficPlan:
        if verdict.move == "next" and verdict.plan is not None:
            return self._write(replace(verdict.plan, verdict=verdict.why), plan)
        if verdict.move == "promote":
            return self._promoted(plan, verdict.why, now)
        if verdict.move == "roll_back":
            return self._back(plan, verdict.why)
        return plan

    def _promoted(self, plan: TrafficPlan, why: str, now: datetime) -> TrafficPlan:
        """Promote the challenger unless it is champion already, and write the plan that follows."""
        if plan.champion != plan.challenger:
            self._promote(
                plan, plan.challenger, f"{plan.reason}; {plan.strategy}: {why}", _key(plan, "promote")
            )
        if plan.strategy == "blue_green" and plan.step == blue_green.SMOKE:
            after = replace(blue_green.switched(plan, now), verdict=why)
        else:
            after = ended_plan(plan, "promoted", why, plan.challenger)
        return self._write(after, plan)

    def _back(self, plan: TrafficPlan, why: str) -> TrafficPlan:
        """Give everything back to the champion; where the challenger had become it, make the old one champion again."""
        serves = plan.champion
        if plan.champion == plan.challenger and plan.warm:
            serves = plan.warm[0]
            self._promote(plan, serves, f"{plan.strategy}: {why}", _key(plan, "back"), back=True)
        return self._write(ended_plan(plan, "rolled_back", why, serves), plan)

    def _promote(
        self, plan: TrafficPlan, version: str, reason: str, run_key: str, *, back: bool = False
    ) -> None:
        self._registry.promote(
            self._registry.read(plan.model),
            version,
            expected=plan.champion,
            by=AUTOMATIC if back else plan.by,
            reason=reason,
            run_key=run_key,
            kind="rollback" if back else "promotion",
        )

    def _caught_up(self) -> tuple[TrafficPlan, str]:
        """Return the plan, ended if it no longer holds, and the version that serves."""
        plan, seen = self._plan()
        serves = seen.require_champion()
        overtaken = plan.state == "running" and not plan.holds(serves)
        return (self._overtaken(plan, seen) if overtaken else plan), serves

    def _overtaken(self, plan: TrafficPlan, seen: RegistryEntry) -> TrafficPlan:
        """Complete what was begun before a crash, or note that somebody else changed the champion."""
        serves = seen.require_champion()
        if serves == plan.challenger and seen.begun(_key(plan, "promote")) is not None:
            return self._promoted(plan, "promoted", datetime.now(UTC))
        if serves in plan.warm and seen.begun(_key(plan, "back")) is not None:
            return self._back(plan, f"back to version {serves}")
        why = f"version {serves} is champion now, which was not this rollout's doing"
        return self._write(ended_plan(plan, "stopped", why, serves), plan)

    def _write(self, plan: TrafficPlan, after: TrafficPlan) -> TrafficPlan:
        """Write what the evidence led to, and no person asked for."""
        return write_plan(self.client, plan, after=after, by=AUTOMATIC)

    def _settled(self, plan: TrafficPlan, verdict: Verdict | None = None) -> RolloutEvaluation:
        """Note the end on the version and in MLflow, once, and return the look."""
        if plan.state != "running" and not RolloutRecord(self.client, plan).noted:
            said = "rejected" if plan.state == "rolled_back" else plan.state
            version = self.client.get_model_version(plan.model, plan.challenger)
            self.client.set_model_version_tag(plan.model, plan.challenger, tag.ROLLOUT_OUTCOME, said)
            self.client.set_model_version_tag(
                plan.model, plan.challenger, tag.ROLLOUT_REASON, plan.verdict[:1000]
            )
            note_outcome(self.client, version, _OUTCOMES[plan.state])
            RolloutRecord(self.client, plan).end()  # last: whoever dies before it does all of this again
        return RolloutEvaluation(
            model=plan.model,
            version=plan.challenger,
            champion=plan.champion,
            strategy=plan.strategy,
            state=plan.state,
            step=plan.step,
            share=plan.share_of(plan.challenger),
            move=verdict.move if verdict else "stay",
            why=verdict.why if verdict else plan.verdict,
            run_key=plan.run_key,
            figures=dict(verdict.figures) if verdict else {},
        )


def _again(act: Callable[[], T]) -> T:
    """Do something, and do it anew when somebody changed champion or plan since it had read them."""
    for _ in range(_CONFLICTS):
        try:
            return act()
        except RegistryConflictError as error:
            _LOG.info("once more: %s", error.problem)
    return act()


def _key(plan: TrafficPlan, what: str) -> str:
    return f"{plan.run_key}/{what}"
