"""Comparison of policies on the same weeks, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evermodel.core.formats import json_digest
from evermodel.pipelines.backtest.outcome import PolicyOutcome, Week
from evermodel.stats.metrics import Metric

BASE = "never"
_RESAMPLES = 10_000
_TAILS = (0.025, 0.975)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PolicyStanding:
    """One policy beside the others.

    Parameters
    ----------
    mean, low, high
        Mean of the weekly metric with its 95 % interval over weeks.
    gain, gain_low, gain_high
        How much better than the base policy, by the same weeks of each resample; None for the base itself.
    behind, behind_low, behind_high
        The same against the policy with the best mean: at most 0 in the middle.
    worst
        The worst week; its interval is that of its rows.
    promotions, promotions_hurt, promotions_proved
        Those that could be compared with what they replaced, by day; those that lost more than the margin; and proved to.
    hurt_at_most
        Upper 95 % limit of the share that loses more than the margin; None without a promotion.
    """

    policy: str
    words: str
    weeks: int
    mean: float
    low: float
    high: float
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    behind: float
    behind_low: float
    behind_high: float
    worst: Week
    tried: int
    shipped: int
    rows_fitted: int
    incidents: int
    alerts: int
    reminders: int
    weeks_hurt: int
    weeks_surely_hurt: int
    weeks_exchanged: int
    promotions: int
    promotions_hurt: int
    promotions_proved: int
    hurt_at_most: float | None

    @property
    def verdict(self) -> str:
        """Return the result against the base policy in words."""
        if self.gain is None or self.gain_low is None or self.gain_high is None:
            return "the baseline of the comparison"
        if self.gain_low > 0:
            return "better"
        return "worse" if self.gain_high < 0 else "no difference shown"


@dataclass(frozen=True)
class PolicyComparison:
    """The result of a backtest; nothing in it depends on the machine.

    Parameters
    ----------
    base
        The policy that gains are against.
    block
        Weeks in a block of the bootstrap.
    standings, outcomes
        One for each policy.
    """

    facts: dict[str, Any]
    base: str
    block: int
    standings: tuple[PolicyStanding, ...]
    outcomes: tuple[PolicyOutcome, ...]

    @property
    def best(self) -> PolicyStanding:
        """The policy with the best mean."""
        return next(one for one in self.standings if one.behind == 0)

    @property
    def thriftiest(self) -> PolicyStanding:
        """Of the policies that the weeks do not show to be worse than the best, the one with the fewest retrains."""
        near = [one for one in self.standings if one.behind_high >= 0]
        return min(near, key=lambda one: (one.tried, -one.behind))

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON, without seconds, which depend on the machine."""
        outcomes = [asdict(one) for one in self.outcomes]
        for outcome in outcomes:
            outcome["retrains"] = [
                {k: v for k, v in one.items() if k != "seconds"} for one in outcome["retrains"]
            ]
        standings = [{**asdict(one), "verdict": one.verdict} for one in self.standings]
        data = {**self.facts, "base": self.base, "block_weeks": self.block}
        return {**data, "policies": standings, "outcomes": outcomes}

    @property
    def digest(self) -> str:
        """Digest of the result: the same data, spec and policies give the same one on any machine."""
        return json_digest(self.to_json())[:16]


def compare(facts: dict[str, Any], metric: Metric, outcomes: Sequence[PolicyOutcome]) -> PolicyComparison:
    """Compare policies.

    Each resample draws the same weeks for all policies (paired), in blocks of the cube root of their number around a
    circle, because one week resembles the next (Politis and Romano: A circular block-resampling procedure for
    stationary data, 1992; the length after Hall, Horowitz and Jing: Biometrika 82, 1995).

    Parameters
    ----------
    outcomes
        Of the same weeks; weeks in which any policy has no metric are left out.
    """
    base = BASE if any(one.policy == BASE for one in outcomes) else outcomes[0].policy
    together = list(zip(*(one.weeks for one in outcomes), strict=True))
    known = [weeks for weeks in together if all(week.value is not None for week in weeks)]
    values = np.array([[week.value for week in weeks] for weeks in known], dtype=np.float64)
    if not len(values):
        values = np.full((1, len(outcomes)), np.nan)
    block = max(1, round(len(values) ** (1 / 3)))
    draws = _means(values, block)
    means = values.mean(axis=0)
    sign = 1.0 if metric.higher_is_better else -1.0
    best = int(np.argmax(sign * means)) if np.isfinite(means).all() else 0
    held = [one.policy for one in outcomes].index(base)
    standings = []
    for place, outcome in enumerate(outcomes):
        low, high = _interval(draws[:, place])
        gain = None if place == held else _gain(sign, means, draws, place, held)
        behind = (0.0, 0.0, 0.0) if place == best else _gain(sign, means, draws, place, best)
        weeks = [weeks[place] for weeks in known] or list(outcome.weeks)
        worst = min(weeks, key=lambda week: sign * (week.value if week.value is not None else np.inf))
        standings.append(
            PolicyStanding(
                policy=outcome.policy,
                words=outcome.words,
                weeks=len(known),
                mean=float(means[place]),
                low=low,
                high=high,
                gain=None if gain is None else gain[0],
                gain_low=None if gain is None else gain[1],
                gain_high=None if gain is None else gain[2],
                behind=behind[0],
                behind_low=behind[1],
                behind_high=behind[2],
                worst=worst,
                tried=len(outcome.retrains),
                shipped=outcome.shipped,
                rows_fitted=sum(one.rows for one in outcome.retrains),
                incidents=outcome.opened,
                alerts=len(outcome.alerts),
                reminders=outcome.reminded,
                weeks_hurt=len(outcome.hurt),
                weeks_surely_hurt=sum(one.surely for one in outcome.exchanges),
                weeks_exchanged=len(outcome.exchanges),
                promotions=len(outcome.compared),
                promotions_hurt=len(outcome.costly),
                promotions_proved=sum(one.hurt for one in outcome.compared),
                hurt_at_most=upper_share(len(outcome.costly), len(outcome.compared)),
            )
        )
    return PolicyComparison(facts, base, block, tuple(standings), tuple(outcomes))


def upper_share(hits: int, cases: int) -> float | None:
    """Return the upper 95 % limit of a share; None without a case.

    Clopper, Pearson: The use of confidence or fiducial limits illustrated in the case of the binomial, Biometrika 26, 1934.

    >>> round(upper_share(0, 30), 3), round(upper_share(3, 15), 3), upper_share(0, 0)
    (0.095, 0.44, None)
    """
    from scipy.special import betaincinv

    if cases == 0:
        return None
    return 1.0 if hits == cases else float(betaincinv(hits + 1, cases - hits, 0.95))


def _means(values: Floats, block: int) -> Floats:
    """Return the mean of each column in each resample of the rows."""
    count = len(values)
    blocks = -(-count // block)
    generator = np.random.default_rng(0)
    starts = generator.integers(0, count, size=(_RESAMPLES, blocks))
    places = (starts[:, :, None] + np.arange(block)) % count
    chosen = places.reshape(_RESAMPLES, -1)[:, :count]
    return np.stack([values[:, column][chosen].mean(axis=1) for column in range(values.shape[1])], axis=1)


def _gain(sign: float, means: Floats, draws: Floats, place: int, other: int) -> tuple[float, float, float]:
    low, high = _interval(sign * (draws[:, place] - draws[:, other]))
    return float(sign * (means[place] - means[other])) + 0.0, low, high


def _interval(draws: Floats) -> tuple[float, float]:
    low, high = np.quantile(draws, _TAILS)
    return float(low) + 0.0, float(high) + 0.0  # no minus before a zero
