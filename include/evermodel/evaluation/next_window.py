"""The gain that the next window will show, as predicted on the test window, and how such predictions have fared."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from evermodel.core.formats import JsonData, loads, stamped
from evermodel.registry.tags import GATE_PREDICTION
from evermodel.stats.bootstrap import ConfidenceInterval, MeasuredMetric

_PRIOR = 3.0  # predictions that are taken to have held before there is a past


@dataclass(frozen=True)
class GainPrediction(JsonData):
    """What a decision promises of a version, kept in its tag `GATE_PREDICTION`.

    Parameters
    ----------
    gain
        Over the champion on the test window, positive where the version is better, in units of the metric.
    lower, upper
        Bounds of the gain that a later window of the same length will show.
    level
        How often they hold it, e.g. 0.95.
    window
        The test window: start and end, as ISO text.
    champion
        The version that it was compared with.
    optimism
        By how much the version looks better on its test window than it is, because it was chosen there; see `optimism_of`.
    """

    metric: str
    gain: float
    lower: float
    upper: float
    level: float
    window: tuple[str, str]
    champion: str
    optimism: float = 0.0

    def to_text(self) -> str:
        """Return the text of the tag."""
        return json.dumps(stamped(self.to_json()), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> GainPrediction:
        """Read what `to_text` wrote; raises `NewerFormatError` if a newer release wrote it."""
        return cls.from_json(loads(text, f"tag {GATE_PREDICTION}"))


def next_gain(gain: ConfidenceInterval, factor: float = 1.0) -> ConfidenceInterval | None:
    """Return the interval of the gain that the next window of the same length will show; None if it cannot be told.

    The next window has an error of its own, as large as that of this one: the difference of two such estimates has twice
    the variance of one (prediction interval of a second sample's mean; Hahn, Meeker: Statistical Intervals, 1991, 4.8).

    Parameters
    ----------
    factor
        By how much windows differ more than their clusters do; see `window_factor`.

    Examples
    --------
    >>> found = next_gain(ConfidenceInterval(0.01, -0.01, 0.03))
    >>> round(found.low, 4), round(found.high, 4)
    (-0.0183, 0.0383)
    """
    found = _times(gain, math.sqrt(2.0) * factor)
    return found if all(map(math.isfinite, (found.value, found.low, found.high))) else None


def window_factor(past: Sequence[tuple[GainPrediction, float]]) -> float:
    """Return by how much later gains were further from their predictions than these said, at least 1.

    The mean square of their distances, in standard errors, together with some that are as large as predicted: a few
    predictions that missed count, but not fully (the mean of a scale's posterior under its conjugate prior; Gelman and
    others: Bayesian Data Analysis, 2013, section 2.6).

    Parameters
    ----------
    past
        Earlier predictions of the model, with the gain that came.

    Examples
    --------
    >>> made = GainPrediction("roc_auc", 0.01, -0.01, 0.03, 0.95, ("", ""), "1")
    >>> window_factor([]), window_factor([(made, 0.01)]), round(window_factor([(made, 0.06)] * 9), 1)
    (1.0, 1.0, 4.3)
    """
    squares = []
    for made, came in past:
        error = (made.upper - made.lower) / 2 / NormalDist().inv_cdf((1 + made.level) / 2)
        if error > 0 and math.isfinite(came):
            squares.append(((came - made.gain) / error) ** 2)
    return math.sqrt(max(1.0, (_PRIOR + sum(squares)) / (_PRIOR + len(squares))))


def over_windows(measured: MeasuredMetric, factor: float) -> MeasuredMetric:
    """Return a comparison whose gain is that of the next window, not of this one alone.

    What windows differ by beyond their clusters adds to the error of this one and to that of the next.
    """
    if measured.gain is None or factor <= 1:
        return measured
    return replace(measured, gain=_times(measured.gain, math.sqrt(2 * factor**2 - 1)))


def _times(interval: ConfidenceInterval, factor: float) -> ConfidenceInterval:
    value = interval.value
    low, high = (value + factor * (bound - value) for bound in (interval.low, interval.high))
    return ConfidenceInterval(value, low, high)


def optimism_of(
    measured: MeasuredMetric, margin: float, allowed: Collection[str], confidence: float
) -> float:
    """Return by how much the metric of a version that ships exceeds its true value on average, as a positive gain.

    Only gains above a threshold ship, so that luck is part of those that do (the winner's curse). The gain is estimated
    again by maximum likelihood, given that it is above the threshold (Zhong, Prentice: Bias-reduced estimators and
    confidence intervals for odds ratios in genome-wide association studies, Biostatistics 9(4), 2008), but not below 0, where
    that estimate is wild; of what is taken off the gain, the version has the part that its errors have in those of the gain.

    Parameters
    ----------
    margin
        Of *not worse*, in units of the metric.
    allowed
        Outcomes that may ship.
    confidence
        Of the intervals.

    Examples
    --------
    >>> from evermodel.stats.metrics import METRICS
    >>> own, theirs = ConfidenceInterval(0.80, 0.78, 0.82), ConfidenceInterval(0.77, 0.75, 0.79)
    >>> gain = ConfidenceInterval(0.03, 0.002, 0.058)
    >>> found = MeasuredMetric(METRICS["roc_auc"], own, theirs, gain)
    >>> round(optimism_of(found, 0.0, ["better"], 0.95), 3)
    0.015
    """
    gain, theirs = measured.gain, measured.theirs
    chosen = {"better", "not_worse"} & set(allowed)
    if gain is None or theirs is None or len(chosen) < len(set(allowed)) or not chosen:
        return 0.0
    errors = [(i.high - i.low) / 2 for i in (measured.own, theirs, gain)]
    if not all(math.isfinite(error) for error in errors) or errors[2] <= 0 or gain.value <= 0:
        return 0.0
    reach = gain.value - gain.low
    threshold = reach - (margin if "not_worse" in chosen else 0.0)
    width = 1.0 if measured.clusters is None else measured.clusters.widening(confidence)
    error = errors[2] / width / NormalDist().inv_cdf((1 + confidence) / 2)
    own, other, both = (e**2 for e in errors)
    share = min(max((own + both - other) / (2 * both), 0.0), 1.0)
    return share * (gain.value - max(_given_selection(gain.value, threshold, error), 0.0))


def _given_selection(gain: float, threshold: float, error: float) -> float:
    """Return the mean whose normal distribution above a threshold has a given mean; far below 0 where that is near it."""
    from scipy.optimize import brentq
    from scipy.special import log_ndtr

    def excess(mean: float) -> float:
        far = (threshold - mean) / error
        return float(mean + error * math.exp(-(far**2) / 2 - _LOG_ROOT - log_ndtr(-far)) - gain)

    lowest = min(gain, threshold) - 30 * error
    return float(lowest if excess(lowest) >= 0 else brentq(excess, lowest, gain))


_LOG_ROOT = math.log(2 * math.pi) / 2
