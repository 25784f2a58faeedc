"""The rollouts of a model: start, advance, stop; each gives the same result when it is killed and run again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from evermodel.core.errors import RegistryConflictError, RolloutError
from evermodel.core.settings import Settings
from evermodel.deployment.eligibility import require_content, require_eligible
from evermodel.deployment.rollout.collect import collect_evidence
from evermodel.deployment.rollout.evidence import Move, Verdict
from evermodel.deployment.rollout.history import RolloutRecord
from evermodel.deployment.rollout.moves import RolloutMoves, ended_plan
from evermodel.deployment.rollout.strategies import CONTROLLERS
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import RegistryEntry
from evermodel.registry.traffic_plan import PlanState, TrafficPlan, everything_to, stamp
from evermodel.spec import ModelSpec
from evermodel.spec.rollout import Strategy

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_CONFLICTS = 4  # in a row; each is a change by another process


@dataclass(frozen=True)
class RolloutEvaluation:
    """The result of one evaluation.

    Parameters
    ----------
    move
        Move of the controller; ``stay`` also after the end.
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
        Locations of the lake and of the database, which has the reports of the serving processes, and the environment that
        acts.
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
        """Start the rollout of a registered version.

        Parameters
        ----------
        run_key
            Idempotency key: the same key again returns the current plan.
        strategy
            Strategy of the spec if not given.

        Raises
        ------
        RolloutError
            Another rollout is running, or the version is not eligible.
        PromotionError
            The version does not exist, or has no decision.
        """
        model, entry = self.spec.name, ModelRegistry(self.client).read(self.spec.name)
        last = entry.plan
        if last is not None and last.run_key == run_key:
            RolloutRecord(self.client, last).open()
            return last
        champion = entry.require_champion()
        entry.require_own(self.settings.environment)
        if last is not None:
            last, champion = _retried(self._caught_up)
            if last.holds(champion):
                raise RolloutError(
                    f"model {model}: a rollout of version {last.challenger} is running ({last.strategy}, since {last.since})",
                    f"wait for its end, or stop it (evermodel rollout stop {model})",
                )
            RolloutRecord(self.client, last).record_end()
        if not reason.strip():
            raise RolloutError(
                f"model {model}: a rollout needs a reason", "pass a reason; the history records it"
            )
        found = ModelRegistry(self.client).version(model, version)
        require_eligible(self.client, found, champion)
        require_content(self.client, found)
        at, kind = stamp(now or datetime.now(UTC)), strategy or self.spec.rollout.strategy
        plan = TrafficPlan(
            model=model,
            strategy=kind,
            champion=champion,
            challenger=version,
            arms=everything_to(champion),
            salt=hashlib.sha256(run_key.encode()).hexdigest()[:16],
            since=at,
            step_since=at,
            by=by,
            reason=reason,
            run_key=run_key,
            revision=1 if last is None else last.revision + 1,
        )
        plan = CONTROLLERS[kind].begin(self.spec.rollout, plan)
        RolloutRecord(self.client, plan).open()
        return ModelRegistry(self.client).write_plan(plan, after=last)

    def advance(self, now: datetime | None = None) -> RolloutEvaluation:
        """Evaluate the evidence once, and apply the verdict.

        Raises
        ------
        RolloutError
            The model never had a rollout.
        SourceError
            The labels cannot be read.
        """
        moment = now or datetime.now(UTC)
        return _retried(lambda: self._evaluated(moment))

    def _evaluated(self, moment: datetime) -> RolloutEvaluation:
        plan, entry = self._plan()
        if plan.state != "running":
            return self._evaluation(plan)
        if not plan.holds(entry.require_champion()):
            return self._evaluation(self._moves.overtaken(plan, entry))
        if plan.champion != plan.challenger:
            try:
                require_eligible(
                    self.client,
                    ModelRegistry(self.client).version(plan.model, plan.challenger),
                    plan.champion,
                )
            except RolloutError as error:
                verdict = Verdict("roll_back", error.problem)
                return self._evaluation(self._moves.apply(plan, verdict, moment), verdict)
        record = RolloutRecord(self.client, plan)
        evidence, stored = collect_evidence(
            self.spec, self.client, self.settings, plan, record.read(), moment
        )
        verdict = CONTROLLERS[plan.strategy].decide(self.spec.rollout, plan, evidence, moment)
        record.add(stored, evidence, verdict, moment)
        return self._evaluation(self._moves.apply(plan, verdict, moment), verdict)

    def stop(self, *, by: str, reason: str) -> TrafficPlan:
        """Stop the running rollout; the champion answers all requests. Raises `RolloutError` if none is running."""
        plan = _retried(lambda: self._stopped(by, reason))
        RolloutRecord(self.client, plan).record_end()
        return plan

    def _stopped(self, by: str, reason: str) -> TrafficPlan:
        plan, entry = self._plan()
        if plan.state == "running":
            over = ended_plan(plan, "stopped", f"stopped by {by}: {reason}", entry.require_champion())
            return ModelRegistry(self.client).write_plan(over, after=plan, by=by)
        if plan.state != "stopped":
            raise RolloutError(
                f"model {self.spec.name}: no rollout is running; the last one, of version {plan.challenger}, was "
                f"{plan.state.replace('_', ' ')}",
                "to return to an earlier version, run evermodel rollback",
            )
        return plan

    @property
    def _moves(self) -> RolloutMoves:
        return RolloutMoves(self.client)

    def _plan(self) -> tuple[TrafficPlan, RegistryEntry]:
        """Read the last plan, with the registry entry of the same moment."""
        entry = ModelRegistry(self.client).read(self.spec.name)
        plan = entry.plan
        if plan is None:
            raise RolloutError(
                f"model {self.spec.name} never had a rollout",
                f"start one: evermodel rollout start {self.spec.name} VERSION",
            )
        return plan, entry

    def _caught_up(self) -> tuple[TrafficPlan, str]:
        """Return the plan, ended if it no longer holds, and the champion."""
        plan, entry = self._plan()
        champion = entry.require_champion()
        overtaken = plan.state == "running" and not plan.holds(champion)
        return (self._moves.overtaken(plan, entry) if overtaken else plan), champion

    def _evaluation(self, plan: TrafficPlan, verdict: Verdict | None = None) -> RolloutEvaluation:
        """Record the end of the rollout if it has ended, and return the evaluation."""
        RolloutRecord(self.client, plan).record_end()
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


def _retried(act: Callable[[], T]) -> T:
    """Run an action, and run it again if another process changed the champion or the plan after it had read them."""
    for _ in range(_CONFLICTS):
        try:
            return act()
        except RegistryConflictError as error:
            _LOG.info("retrying: %s", error.problem)
    return act()
