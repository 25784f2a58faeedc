"""What is known about a step of a rollout: counts of the serving processes, matured labels, and the smoke test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from evermodel.registry.serving_heartbeats import VersionCounts
from evermodel.stats.sequential import Moments


@dataclass(frozen=True)
class Smoke:
    """What a version did with its stored example and with rows that were asked before.

    Parameters
    ----------
    rows
        Rows that it was asked.
    problem
        What went wrong: it threw, or an answer is none; empty if nothing did.
    milliseconds, champion_milliseconds
        Median time of one row.
    """

    rows: int
    problem: str
    milliseconds: float
    champion_milliseconds: float


@dataclass(frozen=True)
class Distribution:
    """How a shadow's answers are distributed beside the champion's to the same rows.

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
    """What is known at one look.

    Parameters
    ----------
    counts
        By version, summed over all serving processes, since the step began.
    losses
        By version, of predictions whose label has matured: since the rollout began for the strategies whose share
        does not change the question (A/B test, bandit), else since the step began.
    loss
        What one loss is, in words.
    smoke
        Of the smoke test, where the strategy has one.
    baseline
        What the champion counted before everything was switched away from it.
    distribution
        Of a shadow's answers, once its time is over.
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

    def with_smoke(self, smoke: Smoke) -> Evidence:
        """Return the evidence with a smoke test."""
        return replace(self, smoke=smoke)

    def with_distribution(self, distribution: Distribution) -> Evidence:
        """Return the evidence with the distribution of a shadow's answers."""
        return replace(self, distribution=distribution)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "counts": {version: asdict(counts) for version, counts in self.counts.items()},
            "losses": {version: asdict(moments) for version, moments in self.losses.items()},
            "loss": self.loss,
            "smoke": self.smoke and asdict(self.smoke),
            "baseline": self.baseline and asdict(self.baseline),
            "distribution": self.distribution and asdict(self.distribution),
        }
