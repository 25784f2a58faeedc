"""Sequential tests, valid at any number of evaluations: a rate against a limit, two rates, two means, a mean of days."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaincc, betaln, logsumexp, stdtr, xlog1py, xlogy

from evermodel.stats.clusters import Clusters

Floats = NDArray[np.float64]
_WEIGHT = 10.0  # of the prior, in requests
_TARGET_ROWS = 5000  # the interval of a difference is tightest around so many rows
FEWEST_LABELS = 100  # of different subjects, of each version: below, a mean is no normal variable
_CORRELATIONS = (
    np.arange(9) / 10
)  # of neighbouring days, that are thought possible: the larger, the less likely
_LARGEST_LOG = 700.0
_DISTANCES = np.concatenate([[0.0], np.geomspace(0.1, 30, 40)])  # of a limit, in standard deviations


@dataclass(frozen=True)
class Moments:
    """The moments of a mean.

    Parameters
    ----------
    rows
        Independent observations.
    mean, variance
        Of one observation (``ddof`` 1).
    """

    rows: int
    mean: float
    variance: float

    @classmethod
    def of(cls, values: ArrayLike) -> Moments:
        """Return the moments of observations."""
        found = np.asarray(values, dtype=np.float64)
        spread = float(found.var(ddof=1)) if len(found) > 1 else 0.0
        return cls(len(found), float(found.mean()) if len(found) else 0.0, spread)

    @classmethod
    def of_clusters(
        cls, values: Floats, weights: Floats, strata: NDArray[Any], clusters: Clusters
    ) -> Moments:
        """Return the moments of a weighted mean of values that belong together in clusters.

        The variance is that of the mean over draws of whole clusters, around the means of the strata, times the clusters,
        which count as so many of equal size (`Clusters.effective`).

        Parameters
        ----------
        strata
            Number of each value's stratum, such as its day.

        References
        ----------
        Cochran: Sampling Techniques, 1977, sections 5A and 9A (stratified means; clusters of unequal size, linearised).

        Examples
        --------
        >>> twice = np.repeat(np.arange(200.0) % 5, 2)
        >>> same = Moments.of_clusters(twice, np.ones(400), np.zeros(400, int), Clusters.of(np.arange(400) // 2))
        >>> same.rows, same.mean, bool(abs(same.variance - Moments.of(twice[::2]).variance) < 0.02)
        (200, 2.0, True)
        """
        if not len(values):
            return cls(0, 0.0, 0.0)
        part, total = np.bincount(strata, weights), weights.sum()
        means = np.bincount(strata, weights * values) / np.where(part > 0, part, 1)
        errors = np.bincount(clusters.codes, weights * (values - means[strata])) / total
        sizes = np.bincount(clusters.codes, weights)
        number = round(float(sizes.sum() ** 2 / (sizes**2).sum()))
        lost = 1 / number + np.count_nonzero(part) / len(values)
        variance = float((errors**2).sum()) / (1 - lost) if lost < 1 else 0.0
        return cls(number, float(weights @ values / total), variance * number)


def above(hits: ArrayLike, tries: ArrayLike, limit: ArrayLike) -> Any:
    """Return the evidence that a rate is above a limit, as the logarithm of an e-value.

    Under "the rate is at most the limit" the e-value is a nonnegative supermartingale that starts at 1, so that it ever
    reaches ``1 / level`` with a chance of at most ``level``, at any number of evaluations (Ville's inequality). It is
    Robbins' mixture of likelihood ratios, over a beta distribution centred at the limit and cut off there.

    Parameters
    ----------
    hits, tries
        So many of so many; numbers or arrays.
    limit
        The rate in question, between 0 and 1.

    References
    ----------
    Robbins (1970), Statistical methods related to the law of the iterated logarithm, Ann. Math. Stat. 41.
    Howard, Ramdas, McAuliffe, Sekhon (2021), Time-uniform, nonparametric, nonasymptotic confidence sequences,
    Ann. Stat. 49, proposition 7 (the beta-binomial mixture).

    Examples
    --------
    >>> above([20, 60], 1000, 0.02).round(1).tolist()
    [-2.0, 24.8]
    """
    return _mixture(hits, tries, limit, betaincc)


def below(hits: ArrayLike, tries: ArrayLike, limit: ArrayLike) -> Any:
    """Return the evidence that a rate is below a limit, as the logarithm of an e-value; see `above` (Howard et al., 2021).

    >>> below([20, 2], 1000, 0.02).round(1).tolist()
    [-3.0, 12.1]
    """
    return _mixture(hits, tries, limit, betainc)


def larger_part(hits: ArrayLike, others: ArrayLike, share: ArrayLike) -> Any:
    """Return the evidence that a version's rate is above the other's, as the logarithm of an e-value.

    Of the requests that fail, a version whose rate is at most the other's gets at most its share of all requests: who
    fails next is a toss with a known coin, whatever the rates are. So this is `above` among the failures alone.

    Parameters
    ----------
    hits, others
        Failures of the version, and of the other one.
    share
        Share of the requests that the version gets.

    References
    ----------
    Przyborowski, Wilenski (1940), Homogeneity of results in testing samples from Poisson series, Biometrika 31.

    Examples
    --------
    >>> larger_part([10, 40], [90, 60], 0.1).round(1).tolist()
    [-1.1, 28.2]
    """
    hits, others = np.asarray(hits), np.asarray(others)
    return above(hits, hits + others, share)


def difference(first: Moments, second: Moments, level: float) -> tuple[float, float, float]:
    """Return the difference of two means, and an interval that contains it at all evaluations at once.

    A confidence sequence by normal mixture, asymptotic in the rows like any interval from the central limit theorem:
    only moments matter, not the distribution. The first `FEWEST_LABELS` of each side say nothing.

    Parameters
    ----------
    level
        Chance that the interval ever leaves the true difference out.

    Returns
    -------
    Mean of the first minus mean of the second, and the ends of the interval.

    References
    ----------
    Johari, Koomen, Pekelis, Walsh (2017), Peeking at A/B tests, KDD (the mixture for two samples).
    Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2024), Time-uniform central limit theory and asymptotic
    confidence sequences, Ann. Stat. 52 (its validity, and the choice of the mixture's width).

    Examples
    --------
    >>> found = difference(Moments(2000, 0.12, 0.1), Moments(2000, 0.05, 0.05), level=0.05)
    >>> [round(value, 3) for value in found]
    [0.07, 0.044, 0.096]
    """
    gap = first.mean - second.mean
    if min(first.rows, second.rows) < FEWEST_LABELS:
        return gap, -math.inf, math.inf
    variance = first.variance / first.rows + second.variance / second.rows
    if variance <= 0:
        return gap, gap, gap
    half = float(radius(variance, first.rows + second.rows, level))
    return gap, gap - half, gap + half


def radius(variance: ArrayLike, rows: ArrayLike, level: float) -> Floats:
    """Return half the width of the interval of `difference` (Waudby-Smith et al., 2024).

    Parameters
    ----------
    variance
        Of the difference of the two means.
    rows
        Of both together.

    >>> radius([0.0004, 0.0001], [1000, 4000], level=0.05).round(3).tolist()
    [0.067, 0.03]
    """
    now, wish = np.asarray(variance, dtype=np.float64), -2 * math.log(level)
    # The mixture's own variance: in units of that of the difference at the target, which goes with 1 / rows.
    mixed = now * np.asarray(rows) / _TARGET_ROWS * (wish + math.log1p(wish))
    width: Floats = np.sqrt(now * (now + mixed) / mixed * (wish + np.log1p(mixed / now)))
    return width


_MULTIPLES = np.array([1.5, 2.0, 4.0, 16.0, 64.0])  # of the odds at the limit: rises that are looked for


@dataclass(frozen=True)
class RateDetector:
    """Detects that a rate has risen above a limit, whenever it does.

    An e-detector of Shiryaev and Roberts' kind: at each look the evidence grows by the time since the last one and is
    multiplied by the likelihood ratio of what is new, for each of some rises; their mean counts. While the rate is at
    most the limit, the mean run length until the evidence reaches ``a`` is at least ``a``, in units of that time.

    Parameters
    ----------
    evidence
        Logarithms, by rise; empty at the start.
    hits, tries
        Since the evidence last was that of no rise.

    References
    ----------
    Shin, Ramdas, Rinaldo (2023), E-detectors: a nonparametric framework for sequential change detection,
    New England J. Statist. Data Sci. 2 (theorem 2.4).

    Examples
    --------
    >>> found = RateDetector()
    >>> for day in range(200):
    ...     found = found.after(hits=10, tries=1000, limit=0.02, elapsed=1)
    >>> round(found.run_length, 1) <= 1
    True
    >>> for day in range(2):
    ...     found = found.after(hits=60, tries=1000, limit=0.02, elapsed=1)
    >>> found.run_length > 1e6, found.hits, found.tries
    (True, 120, 2000)
    """

    evidence: tuple[float, ...] = ()
    hits: int = 0
    tries: int = 0

    def after(self, hits: int, tries: int, limit: float, elapsed: float) -> RateDetector:
        """Return the state after a look.

        Parameters
        ----------
        hits, tries
            So many of so many since the last look.
        elapsed
            Time since then, in the unit of the run length.
        """
        if not 0 < limit < 1:
            return RateDetector(hits=self.hits + hits, tries=self.tries + tries)
        before = np.array(self.evidence) if self.evidence else np.full(len(_MULTIPLES), -math.inf)
        rate = _MULTIPLES * limit / (1 - limit + _MULTIPLES * limit)
        ratio = xlogy(hits, rate / limit) + (tries - hits) * (np.log1p(-rate) - math.log1p(-limit))
        found = RateDetector(tuple((np.logaddexp(before, math.log(elapsed)) + ratio).tolist()))
        if found.run_length <= 2 * elapsed:
            return found
        return RateDetector(found.evidence, self.hits + hits, self.tries + tries)

    @property
    def run_length(self) -> float:
        """The evidence: a rate at the limit reaches it after this time, or later, on average."""
        if not self.evidence:
            return 0.0
        return math.exp(min(float(logsumexp(self.evidence)) - math.log(len(_MULTIPLES)), _LARGEST_LOG))


@dataclass(frozen=True)
class DailyMean:
    """The mean of one value a day, between limits that hold at all evaluations at once; infinite with too few days."""

    days: int
    mean: float
    low: float
    high: float


def daily_mean(values: ArrayLike, level: float) -> DailyMean:
    """Return the mean of values in the order of time, one for each day, with limits that hold at all evaluations at once.

    The limits are those of a t-test that may be repeated every day: the likelihood ratio of normal values of unknown
    variance, mixed over a half-normal effect on the side in question. Days may resemble the day before: the ratio is
    also mixed over correlations of a first-order autoregression from 0 to 0.8. It is exact on average over that prior,
    not for each correlation: at level 0.05 a limit is passed wrongly within 30 days in 0.3, 1.3, 4.8 and 10.3 % of
    2,000 simulations with correlations of 0, 0.3, 0.6 and 0.8.

    Parameters
    ----------
    level
        Chance that the true mean is ever below `low`; the same for ever above `high`.

    References
    ----------
    Lai (1976), On confidence sequences, Ann. Stat. 4; Wang, Ramdas (2025), Anytime-valid t-tests and confidence
    sequences for Gaussian means with unknown variance, Sequential Analysis 44 (the mixture, and its validity).
    Harville (1974), Bayesian inference for variance components using only error contrasts, Biometrika 61 (the
    likelihood of a correlation).

    Examples
    --------
    >>> worse = daily_mean([-0.031, -0.024, -0.045, -0.028, -0.036, -0.030, -0.041, -0.033, -0.026], level=0.05)
    >>> worse.days, round(worse.mean, 3), round(worse.high, 3)
    (9, -0.033, -0.019)
    >>> daily_mean([-0.03, -0.02], level=0.05).high
    inf
    """
    found = np.asarray(values, dtype=np.float64)
    count, mean = len(found), float(found.mean()) if len(found) else math.nan
    spread = float(found.std()) if count else math.nan
    if not found.any() and count:
        return DailyMean(count, 0.0, 0.0, 0.0)  # two versions that answer the same
    if count < 2 or spread == 0:
        return DailyMean(count, mean, -math.inf, math.inf)
    scaled = (found - mean) / spread
    above, under = _provable(scaled, level), _provable(-scaled, level)
    return DailyMean(count, mean, mean - spread * under, mean + spread * above)


def _provable(values: Floats, level: float) -> float:
    """Return the smallest limit, at least 0, that the mean of values is proved to be below; infinite without one."""
    proof = -math.log(level)
    proved = np.flatnonzero(_evidence_below(values, _DISTANCES) >= proof)
    if not len(proved):
        return math.inf
    low, high = _DISTANCES[proved[0] - 1], _DISTANCES[proved[0]]
    finer = np.linspace(low, high, 30)
    return float(finer[np.argmax(_evidence_below(values, finer) >= proof)])


def _evidence_below(values: Floats, limits: Floats) -> Floats:
    """Return the evidence that a mean is below each limit, as the logarithm of an e-value."""
    count, rho = len(values), _CORRELATIONS[:, None]
    root = np.sqrt(1 - rho**2)
    # Values and a constant, as if each day had told what the day before did not.
    told = np.concatenate(
        [np.broadcast_to(values[:1], (len(rho), 1)), (values[1:] - rho * values[:-1]) / root], 1
    )
    constant = np.concatenate(
        [np.ones_like(rho), np.broadcast_to((1 - rho) / root, (len(rho), count - 1))], 1
    )
    days = (constant**2).sum(1, keepdims=True)  # so many independent ones tell as much of the mean
    mean = (told * constant).sum(1, keepdims=True) / days
    rest = ((told - mean * constant) ** 2).sum(1, keepdims=True)
    effect = limits - mean
    null, shrunk = rest + days * effect**2, rest + days * effect**2 / (1 + days)
    likelihood = np.log1p(-rho) - (count - 1) / 2 * np.log1p(-(rho**2)) - count / 2 * np.log(null)
    side = np.sqrt(days * count / shrunk / (1 + days)) * effect * np.sqrt(days)
    ratio = count / 2 * np.log(null / shrunk) - np.log1p(days) / 2 + np.log(2 * stdtr(count, side))
    evidence: Floats = logsumexp(likelihood + ratio, axis=0) - logsumexp(likelihood, axis=0)
    return evidence


def _mixture(hits: ArrayLike, tries: ArrayLike, limit: ArrayLike, mass: Any) -> Any:
    """Return the log likelihood ratio of a beta mixture on one side of the limit, and the limit itself."""
    k, n = np.asarray(hits, dtype=np.float64), np.asarray(tries, dtype=np.float64)
    at = np.asarray(limit, dtype=np.float64)
    a, b = _WEIGHT * at, _WEIGHT * (1 - at)
    with np.errstate(divide="ignore"):
        seen = betaln(a + k, b + n - k) + np.log(mass(a + k, b + n - k, at))
        prior = betaln(a, b) + np.log(mass(a, b, at))
        ratio = seen - prior - xlogy(k, at) - xlog1py(n - k, -at)
    return float(ratio) if np.ndim(ratio) == 0 else ratio
