"""What a controller says at one look, and the plans that its moves lead to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from evermodel.deployment.rollout.evidence import Evidence
from evermodel.deployment.rollout.plan import TrafficPlan
from evermodel.spec.rollout import RolloutSpec

Move = Literal["stay", "next", "promote", "roll_back"]


@dataclass(frozen=True)
class Verdict:
    """The move of one look.

    Parameters
    ----------
    move
        ``stay`` until the next look, ``next`` (the plan changes), ``promote`` or ``roll_back``.
    why
        One sentence with the figures that decided.
    figures
        All figures of the look, ready for metrics.
    plan
        The changed plan of ``next``; of ``promote`` the plan to go on with afterwards, if the rollout is not over.
    """

    move: Move
    why: str
    figures: Mapping[str, float] = field(default_factory=dict)
    plan: TrafficPlan | None = None


class Controller(Protocol):
    """What each strategy's module has: where a rollout begins, and the move at a look."""

    def begin(self, spec: RolloutSpec, plan: TrafficPlan) -> TrafficPlan:
        """Return the first step's plan, made from one in which the champion answers everything."""

    def decide(self, spec: RolloutSpec, plan: TrafficPlan, evidence: Evidence, now: datetime) -> Verdict:
        """Return the move; pure, so that the same evidence gives the same verdict."""
