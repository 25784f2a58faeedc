"""The verdict of a controller at one evaluation, and the plan that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from evermodel.deployment.rollout.evidence import Evidence
from evermodel.registry.traffic_plan import TrafficPlan
from evermodel.spec.rollout import RolloutSpec

Move = Literal["stay", "next", "promote", "roll_back"]


@dataclass(frozen=True)
class Verdict:
    """The move of one evaluation.

    Parameters
    ----------
    move
        ``stay`` until the next evaluation, ``next`` (the plan changes), ``promote`` or ``roll_back``.
    why
        One sentence with the figures that decided.
    figures
        All figures of the evaluation, for metrics.
    plan
        The changed plan of ``next``; for ``promote``, the plan that follows if the rollout continues.
    """

    move: Move
    why: str
    figures: Mapping[str, float] = field(default_factory=dict)
    plan: TrafficPlan | None = None


class Controller(Protocol):
    """The functions of a strategy's module: the first plan of a rollout, and the move at an evaluation."""

    def begin(self, spec: RolloutSpec, plan: TrafficPlan) -> TrafficPlan:
        """Return the first step's plan, from one in which the champion answers all requests."""

    def decide(self, spec: RolloutSpec, plan: TrafficPlan, evidence: Evidence, now: datetime) -> Verdict:
        """Return the move; a pure function of its arguments."""
