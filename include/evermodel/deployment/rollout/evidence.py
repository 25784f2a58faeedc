"""The evidence about a step of a rollout: counts of the serving processes, matured labels, and the smoke test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from evermodel.registry.serving_heartbeats import VersionCounts
from evermodel.stats.sequential import Moments


@dataclass(frozen=True)
class Smoke:
    """The result of a version on its stored example and on logged rows.

    Parameters
    ----------
    rows
        Number of rows.
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
    rows
        Rows that both answered.
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
    smoke
        Result of the smoke test, if the strategy has one.
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
