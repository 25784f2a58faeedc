"""The evidence about a step of a rollout, and the verdict of a controller on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from evermodel.registry.serving_heartbeats import VersionCounts
from evermodel.registry.traffic_plan import TrafficPlan
from evermodel.spec.rollout import RolloutSpec

if TYPE_CHECKING:
    from evermodel.stats.sequential import Moments


@dataclass(frozen=True)
class Smoke:
    """The result of a version on its stored example and on logged rows.

    Parameters
    ----------
    problem
        An error, or an answer that is not valid; empty if all answers are valid.
    milliseconds, champion_milliseconds
        Median time of one row.
    """

    rows: int
    problem: str
    milliseconds: float
    champion_milliseconds: float


@dataclass(frozen=True)
class Distribution:
    """The difference between the distributions of the shadow's and the champion's answers to the same rows.

    Parameters
    ----------
    psi
        Population stability index.
    """

    rows: int
    psi: float


@dataclass(frozen=True)
class Evidence:
    """The evidence of one evaluation.

    Parameters
    ----------
    counts
        By version, summed over all serving processes, since the step began.
    losses
        By version, of predictions with a matured label: since the rollout began for an A/B test and a bandit, else since
        the step began.
    loss
        Name of the loss.
    baseline
        Counts of the champion before all requests were switched to the challenger.
    distribution
        Of a shadow's answers, at the end of its duration.
    """

    counts: Mapping[str, VersionCounts] = field(default_factory=dict)
    losses: Mapping[str, Moments] = field(default_factory=dict)
    loss: str = ""
    smoke: Smoke | None = None
    baseline: VersionCounts | None = None
    distribution: Distribution | None = None

    def of(self, version: str) -> VersionCounts:
        """Return the counts of a version."""
        return self.counts.get(version, VersionCounts())


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
