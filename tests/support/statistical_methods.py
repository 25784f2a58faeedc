"""Every test and interval of `evermodel.stats`, as a p-value of data that have an effect of a given size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr

from evermodel.stats import sequential
from evermodel.stats.bootstrap import metric_interval, paired_gain, side_by_side
from evermodel.stats.calibration import calibration_error, calibration_interval
from evermodel.stats.classifier import classifier_test
from evermodel.stats.clusters import Clusters
from evermodel.stats.conformal import conformal_quantile, nonconformity, prediction_sets
from evermodel.stats.contingency import Contingency, gamma_tail, parts_of_rows, quadratic_tail
from evermodel.stats.metrics import METRICS
from evermodel.stats.ranks import Pooled
from evermodel.stats.sample import NumericSample
from evermodel.stats.serial import serial_effect
from evermodel.stats.stability import stability
from evermodel.stats.successive import joint_freedom, successive_variance

LEVEL = 0.05
Data = tuple[Any, ...]
Draw = Callable[[np.random.Generator, float], Data]
Change = Callable[[Data], Data]


@dataclass(frozen=True)
class Method:
    """One method before its contract.

    Parameters
    ----------
    subjects
        The functions, or methods, that are held to it.
    draw
        Makes data with an effect of a size; 0 is the hypothesis.
    p_value
        Of data; what states an interval or evidence at 5 % says 0 or 1.
    same
        Changes of the data that must not change the answer.
    silent
        Data of which nothing may be said: none at all, one side only, one cluster, one value.
    tied
        Leaves the data with few different values.
    """

    subjects: tuple[Callable[..., Any], ...]
    draw: Draw
    p_value: Callable[..., float]
    effects: tuple[float, float]
    same: tuple[Change, ...]
    silent: tuple[Data, ...]
    tied: Change | None = None
    times: int = 200


def _counts(generator: np.random.Generator, effect: float) -> Data:
    shares = np.array([0.3, 0.25, 0.2, 0.15, 0.08, 0.02])
    moved = shares + effect * np.array([1.0, 0, 0, 0, 0, -0.02]) * 0.1
    return generator.multinomial(600, shares) * 1.0, generator.multinomial(200, moved / moved.sum()) * 1.0


def _swapped(data: Data) -> Data:
    return data[1], data[0], *data[2:]


def _with_an_empty_cell(data: Data) -> Data:
    return tuple(np.append(side, 0.0) for side in data)


def _cells_reversed(data: Data) -> Data:
    return tuple(side[::-1] for side in data)


def _of_table(name: str, *arguments: Any) -> Callable[..., float]:
    return lambda before, now: getattr(Contingency.of(before, now), name)(*arguments)


def _part(before: Any, now: Any) -> float:
    if not len(before):
        return 1.0
    totals = before + now
    return float(parts_of_rows(totals[:1], now[:1], now.sum(), totals.sum())[0])


_NO_COUNTS = ((np.zeros(0), np.zeros(0)), (np.zeros(3), np.array([3.0, 2.0, 1.0])), (np.ones(1), np.ones(1)))


def _normals(generator: np.random.Generator, effect: float) -> Data:
    return generator.normal(size=300), generator.normal(size=150) + effect


def _spread(generator: np.random.Generator, effect: float) -> Data:
    return generator.normal(size=600), generator.normal(size=200) * (1 + 2 * effect)


def _inflated(generator: np.random.Generator, effect: float) -> Data:
    before, now = _normals(generator, 0.0)
    return before * (generator.random(300) > 0.1), now * (generator.random(150) > 0.1 + 0.2 * effect)


def _rounded(data: Data) -> Data:
    return tuple(np.round(side) for side in data)


def _exponential(data: Data) -> Data:
    return tuple(np.exp(side) for side in data)


def _reversed(data: Data) -> Data:
    return tuple(side[::-1] for side in data)


def _pooled(p_value: Callable[[Pooled], float]) -> Callable[..., float]:
    def found(before: Any, now: Any) -> float:
        pooled = Pooled(NumericSample(np.sort(before)), NumericSample(np.sort(now)))
        return p_value(pooled) if pooled.testable else 1.0

    return found


def _of_parts(pooled: Pooled, parts: Sequence[tuple[float, float]]) -> float:
    if not parts:
        return 1.0
    total, window = pooled.total
    totals, now = np.array(parts).T
    return min(1.0, len(parts) * float(parts_of_rows(totals, now, window, total).min()))


def _atom(pooled: Pooled) -> float:
    found = pooled.atom()
    return 1.0 if found is None else _of_parts(pooled, [found])


_NO_VALUES = ((np.zeros(0), np.zeros(0)), (np.zeros(0), np.ones(4)), (np.ones(20), np.ones(9)))


def _rows(generator: np.random.Generator, effect: float) -> Data:
    before, now = generator.normal(size=(90, 2)), generator.normal(size=(90, 2))
    now[:, 1] = effect * now[:, 0] + math.sqrt(1 - effect**2) * now[:, 1]
    before[:, 1] = -effect * before[:, 0] + math.sqrt(1 - effect**2) * before[:, 1]
    return before, now


def _whole_rows(before: Any, now: Any, groups: Any = None) -> float:
    found = classifier_test(before, now, groups=groups)
    return 1.0 if found is None else found.p_value


def _days_of_scores(generator: np.random.Generator, effect: float) -> Data:
    """Draw ten days of two models that are equally good over all days, and of which the first is better by the effect."""
    codes = np.repeat(np.arange(10), 40)
    labels = generator.random(400) < 0.5
    ahead = 0.5 * generator.normal(size=(2, 10))[:, codes] + np.array([[effect], [0.0]])
    one, other = 1 / (1 + np.exp(-((2 * labels - 1) * (0.5 + ahead) + generator.normal(size=(2, 400)))))
    return labels, one, other, codes


_BOOTSTRAP = {"confidence": 0.95, "resamples": 100, "seed": 0}


def _gain(labels: Any, one: Any, other: Any, codes: Any) -> float:
    gain = paired_gain(METRICS["brier"], labels, one, other, clusters=Clusters.of(codes), **_BOOTSTRAP)
    return float(not (gain.low > 0 or gain.high < 0))


def _area(labels: Any, one: Any, other: Any, codes: Any) -> float:
    found = side_by_side([METRICS["roc_auc"]], labels, one, other, clusters=Clusters.of(codes), **_BOOTSTRAP)
    gain = found[0].gain
    assert gain is not None
    return float(not (gain.low > 0 or gain.high < 0))


def _chance(labels: Any, one: Any, codes: Any) -> float:
    """Return whether the interval of an area holds one half."""
    found = metric_interval(METRICS["roc_auc"], labels, one, clusters=Clusters.of(codes), **_BOOTSTRAP)
    return float(not (found.low > 0.5 or found.high < 0.5))


def _scores_of_days(generator: np.random.Generator, effect: float) -> Data:
    labels, one, _, codes = _days_of_scores(generator, effect - 0.5)
    return labels, one, codes


def _days_renamed(data: Data) -> Data:
    return *data[:-1], 3 * data[-1] + 5


def _logits(data: Data) -> Data:
    return data[0], *(np.log(side / (1 - side)) for side in data[1:-1]), data[-1]


def _one_day(data: Data) -> Data:
    return *data[:-1], np.zeros_like(data[-1])


def _scores_rounded(data: Data) -> Data:
    return data[0], *(np.round(side, 1) for side in data[1:-1]), data[-1]


def _no_rows(data: Data) -> Data:
    return tuple(side[:0] for side in data)


def _probabilities(generator: np.random.Generator, effect: float) -> Data:
    """Draw fifteen days whose shares vary around the probabilities, which are too extreme by the effect."""
    chances, codes = generator.uniform(0.1, 0.9, 900), np.repeat(np.arange(15), 60)
    shares = chances + 0.2 * generator.normal(size=15)[codes] * chances * (1 - chances)
    return generator.random(900) < shares, (chances + effect * (chances - 0.5)).clip(0, 1), codes


def _calibrated(labels: Any, scores: Any, codes: Any) -> float:
    return float(calibration_interval(labels, scores, Clusters.of(codes), 0.95).low <= 0)


def _rows_reversed(data: Data) -> Data:
    return tuple(side[::-1] for side in data)


def _requests(generator: np.random.Generator, effect: float) -> Data:
    hits = generator.binomial(100, 0.05 * (1 + effect), 20).cumsum()
    return hits, np.arange(1, 21) * 100


def _falling(generator: np.random.Generator, effect: float) -> Data:
    return _requests(generator, -effect)


def _e_value(logarithms: Any) -> float:
    return min(1.0, math.exp(-float(np.max(logarithms, initial=0.0))))


def _added(data: Data) -> Data:
    """Look at the same requests again without any new one."""
    return tuple(np.append(side, side[-1:]) for side in data)


def _failures(generator: np.random.Generator, effect: float) -> Data:
    return generator.poisson(2 * (1 + effect), 20).cumsum(), generator.poisson(6, 20).cumsum()


def _subjects(generator: np.random.Generator, effect: float) -> Data:
    """Draw two versions' callers, five answers each."""
    sides = generator.normal(size=(2, 1200, 1)) + generator.normal(size=(2, 1200, 5))
    return sides[0] + effect, sides[1]


def _looks(one: Any, other: Any) -> float:
    """Return whether the interval of the difference ever leaves out 0, as callers arrive."""
    for callers in range(200, 1201, 200):
        moments = [_of_callers(side[:callers]) for side in (one, other)]
        _, low, high = sequential.difference(*moments, LEVEL)
        if low > 0 or high < 0:
            return 0.0
    return 1.0


def _of_callers(side: Any) -> sequential.Moments:
    clusters = Clusters.of(np.repeat(np.arange(len(side)), 5 * bool(len(side))))
    values = side.ravel()
    return sequential.Moments.of_clusters(
        values, np.ones(len(values)), np.zeros(len(values), dtype=int), clusters
    )


def _of_rows(one: Any, other: Any) -> float:
    found = sequential.difference(sequential.Moments.of(one[:, 0]), sequential.Moments.of(other[:, 0]), LEVEL)
    return float(found[1] <= 0 <= found[2])


def _radius(one: Any, other: Any) -> float:
    both = len(one) + len(other)
    if not both:
        return 1.0
    variance = one[:, 0].var(ddof=1) / len(one) + other[:, 0].var(ddof=1) / len(other)
    return float(abs(one[:, 0].mean() - other[:, 0].mean()) <= sequential.radius(variance, both, LEVEL))


def _run(hits: Any, tries: Any) -> float:
    """Return how likely the largest evidence is within that many looks at most."""
    found, longest = sequential.RateDetector(), 0.0
    for some, of in zip(np.diff(hits, prepend=0).tolist(), np.diff(tries, prepend=0).tolist(), strict=True):
        found = found.after(some, of, 0.05, elapsed=1.0)
        longest = max(longest, found.run_length)
    return min(1.0, len(hits) / longest) if longest else 1.0


def _series(generator: np.random.Generator, effect: float) -> Data:
    values = generator.normal(size=70)
    for day in range(1, 70):
        values[day] = 0.5 * values[day - 1] + math.sqrt(0.75) * values[day]
    values[56:] += effect
    return values[:56], values[56:]


def _serial(before: Any, now: Any) -> float:
    if not (len(before) and len(now)):
        return 1.0
    found = serial_effect(before, now)
    squares = sum(float(((side - side.mean()) ** 2).sum()) for side in (before, now))
    if found.freedom < 1 or squares <= 0:
        return 1.0
    variance = squares / (len(before) + len(now) - 2) * (1 / len(before) + 1 / len(now)) * found.inflation
    return float(2 * stdtr(found.freedom, -abs(now.mean() - before.mean()) / math.sqrt(variance)))


def _weeks(generator: np.random.Generator, effect: float) -> Data:
    return generator.normal(size=12), generator.normal(size=12) + effect


def _successive(before: Any, now: Any) -> float:
    found = [successive_variance(side) for side in (before, now)]
    parts = [side.variance / side.values for side in found if side]
    if len(parts) < 2 or sum(parts) <= 0:
        return 1.0
    freedom = joint_freedom(parts, [side.freedom for side in found if side])
    return float(2 * stdtr(freedom, -abs(now.mean() - before.mean()) / math.sqrt(sum(parts))))


def _daily(values: Any) -> float:
    """Return whether the mean is ever said to be below 0."""
    return float(
        not any(sequential.daily_mean(values[:days], LEVEL).high < 0 for days in range(4, len(values), 4))
    )


def _gains(generator: np.random.Generator, effect: float) -> Data:
    return (generator.normal(size=16) - effect,)


def _misses(generator: np.random.Generator, effect: float) -> Data:
    return generator.exponential(size=60), float(generator.exponential()) * (1 + 20 * effect)


def _missed(known: Any, new: float) -> float:
    return float(new <= conformal_quantile(known, 1 - LEVEL))


def _classes(generator: np.random.Generator, effect: float) -> Data:
    """Draw rows of three classes, and a last one whose class is an unlikely one with a chance of the effect."""
    chances = generator.dirichlet(np.ones(3), size=61)
    labels = (generator.random((61, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    if generator.random() < effect:
        chances[-1], labels[-1] = [0.99, 0.005, 0.005], 2
    return chances, labels


def _left_out(chances: Any, labels: Any) -> float:
    if not len(labels):
        return 1.0
    quantile = conformal_quantile(nonconformity(labels[:-1], chances[:-1]), 1 - LEVEL)
    return float(prediction_sets(chances[-1:], quantile)[0, labels[-1]])


def _squares(generator: np.random.Generator, effect: float) -> Data:
    weights = np.array([3.0, 1.0, 0.5, 0.1])
    return float(weights @ generator.normal(size=4) ** 2) * (1 + 20 * effect), weights


def _gamma(generator: np.random.Generator, effect: float) -> Data:
    return float(generator.gamma(2.0, 1.5)) * (1 + 20 * effect), 3.0, 4.5, 13.5


def _drawn(draw: Draw) -> Data:
    return draw(np.random.default_rng(0), 0.0)


_TABLE_SAME = (_swapped, _with_an_empty_cell, _cells_reversed)
_LEVELS = np.arange(6.0)
METHODS = {
    "omnibus": Method((Contingency.omnibus,), _counts, _of_table("omnibus"), (0.5, 4), _TABLE_SAME, _NO_COUNTS),
    "one_cell": Method(
        (Contingency.one_cell,), _counts, _of_table("one_cell"), (0.5, 4), (_swapped, _with_an_empty_cell), _NO_COUNTS
    ),
    "largest_cell": Method(
        (Contingency.largest_cell,), _counts, _of_table("largest_cell"), (0.5, 4), _TABLE_SAME, _NO_COUNTS
    ),
    "trend": Method(
        (Contingency.trend,),
        _counts,
        lambda before, now: Contingency(before, now).trend(np.arange(float(len(before)))),
        (0.5, 4),
        _TABLE_SAME,
        _NO_COUNTS,
    ),
    "parts_of_rows": Method((parts_of_rows,), _counts, _part, (0.5, 4), (_swapped,), _NO_COUNTS),
    "stability": Method(
        (stability,),
        _counts,
        lambda before, now: float(stability(before, now).low <= 0),
        (0.5, 4),
        (_with_an_empty_cell, _cells_reversed),
        _NO_COUNTS,
    ),
    "fine": Method(
        (Pooled.fine,),
        _normals,
        _pooled(lambda pooled: pooled.fine().omnibus()),
        (0.2, 1.0),
        (_swapped, _exponential, _reversed),
        _NO_VALUES,
        _rounded,
    ),
    "coarse": Method(
        (Pooled.coarse,),
        _normals,
        _pooled(lambda pooled: pooled.coarse().omnibus()),
        (0.2, 1.0),
        (_swapped, _exponential, _reversed),
        _NO_VALUES,
        _rounded,
    ),
    "tails": Method(
        (Pooled.tails,),
        _spread,
        _pooled(lambda pooled: _of_parts(pooled, pooled.tails())),
        (0.1, 1.0),
        (_swapped, _exponential, _reversed),
        _NO_VALUES,
        _rounded,
    ),
    "atom": Method(
        (Pooled.atom,), _inflated, _pooled(_atom), (0.3, 1.0), (_exponential, _reversed), _NO_VALUES
    ),
    "classifier": Method(
        (classifier_test,),
        _rows,
        _whole_rows,
        (0.3, 0.9),
        (_exponential,),
        (
            (np.zeros((0, 2)), np.zeros((0, 2))),
            (np.zeros((0, 2)), np.ones((9, 2))),
            (np.zeros((9, 2)), np.ones((9, 2)), (np.zeros(9), np.ones(9))),
        ),
        lambda data: tuple(np.round(3 * side) for side in data),
        times=10,
    ),
    "paired gain": Method(
        (paired_gain,),
        _days_of_scores,
        _gain,
        (0.4, 3.0),
        (_days_renamed,),
        (_one_day(_drawn(_days_of_scores)), _no_rows(_drawn(_days_of_scores))),
        _scores_rounded,
        times=100,
    ),
    "side by side": Method(
        (side_by_side, Clusters.widening),
        _days_of_scores,
        _area,
        (0.4, 3.0),
        (_days_renamed, _logits),
        (_one_day(_drawn(_days_of_scores)), _no_rows(_drawn(_days_of_scores))),
        _scores_rounded,
        times=60,
    ),
    "one metric": Method(
        (metric_interval,),
        _scores_of_days,
        _chance,
        (0.4, 3.0),
        (_days_renamed, _logits),
        (_one_day(_drawn(_scores_of_days)), _no_rows(_drawn(_scores_of_days))),
        _scores_rounded,
        times=60,
    ),
    "calibration": Method(
        (calibration_interval, calibration_error),
        _probabilities,
        _calibrated,
        (0.3, 1.0),
        (_days_renamed, _rows_reversed, lambda data: (~data[0], 1 - data[1], data[2])),
        (_one_day(_drawn(_probabilities)), _no_rows(_drawn(_probabilities))),
        _scores_rounded,
    ),
    "above": Method(
        (sequential.above,),
        _requests,
        lambda hits, tries: _e_value(sequential.above(hits, tries, 0.05)),
        (0.3, 1.0),
        (_added,),
        ((np.zeros(0), np.zeros(0)), (np.zeros(1), np.zeros(1))),
    ),
    "below": Method(
        (sequential.below,),
        _falling,
        lambda hits, tries: _e_value(sequential.below(hits, tries, 0.05)),
        (0.3, 0.8),
        (_added,),
        ((np.zeros(0), np.zeros(0)), (np.zeros(1), np.zeros(1))),
    ),
    "larger part": Method(
        (sequential.larger_part,),
        _failures,
        lambda hits, others: _e_value(sequential.larger_part(hits, others, 0.25)),
        (0.5, 2.0),
        (_added,),
        ((np.zeros(0), np.zeros(0)), (np.zeros(1), np.zeros(1))),
    ),
    "difference of callers": Method(
        (sequential.difference, sequential.Moments.of_clusters),
        _subjects,
        _looks,
        (0.1, 0.5),
        (_swapped,),
        ((np.zeros((0, 5)), np.zeros((0, 5))), (np.zeros((1, 5)), np.ones((1, 5)))),
        _rounded,
        times=60,
    ),
    "difference of rows": Method(
        (sequential.difference,),
        _subjects,
        _of_rows,
        (0.1, 0.5),
        (_swapped, _reversed),
        ((np.zeros((0, 5)), np.zeros((0, 5))), (np.zeros((1, 5)), np.ones((1, 5)))),
        _rounded,
        times=100,
    ),
    "radius": Method(
        (sequential.radius,),
        _subjects,
        _radius,
        (0.1, 0.5),
        (_swapped, _reversed),
        ((np.zeros((0, 5)), np.zeros((0, 5))),),
        _rounded,
        times=100,
    ),
    "rate detector": Method(
        (sequential.RateDetector,),
        _requests,
        _run,
        (0.5, 2.0),
        (),
        ((np.zeros(0), np.zeros(0)), (np.zeros(1), np.zeros(1))),
        times=40,
    ),
    "daily mean": Method(
        (sequential.daily_mean,),
        _gains,
        _daily,
        (0.5, 3.0),
        (lambda data: (1000 * data[0],),),
        ((np.zeros(0),), (np.full(1, -1.0),), (np.full(9, -1.0),)),
        times=40,
    ),
    "serial effect": Method(
        (serial_effect,),
        _series,
        _serial,
        (1.0, 6.0),
        (_swapped, _reversed, lambda data: tuple(3 - 5 * side for side in data)),
        ((np.zeros(0), np.zeros(0)), (np.zeros(1), np.ones(1)), (np.ones(9), np.ones(5))),
        lambda data: tuple(np.round(2 * side) for side in data),
    ),
    "successive": Method(
        (successive_variance, joint_freedom),
        _weeks,
        _successive,
        (0.7, 4.0),
        (_swapped, _reversed, lambda data: tuple(3 - 5 * side for side in data)),
        ((np.zeros(0), np.zeros(0)), (np.zeros(1), np.ones(1)), (np.ones(9), np.ones(5))),
        _rounded,
    ),
    "conformal quantile": Method(
        (conformal_quantile,),
        _misses,
        _missed,
        (0.05, 10.0),
        (lambda data: (data[0][::-1], data[1]), lambda data: tuple(np.log(side) for side in data)),
        ((np.zeros(0), 9.0), (np.zeros(1), 9.0)),
        _rounded,
    ),
    "prediction sets": Method(
        (nonconformity, prediction_sets),
        _classes,
        _left_out,
        (0.3, 1.0),
        (lambda data: (data[0][:, ::-1], 2 - data[1]),),
        ((np.zeros((0, 3)), np.zeros(0, dtype=int)), (np.array([[0.9, 0.05, 0.05]] * 2), np.array([2, 2]))),
    ),
    "quadratic form": Method(
        (quadratic_tail,),
        _squares,
        quadratic_tail,
        (0.05, 10.0),
        (lambda data: (7 * data[0], 7 * data[1]), lambda data: (data[0], np.append(data[1][::-1], 0.0))),
        ((0.0, np.ones(3)),),
    ),
    "three moments": Method(
        (gamma_tail,),
        _gamma,
        gamma_tail,
        (0.05, 10.0),
        (lambda data: (2 * data[0], 2 * data[1], 4 * data[2], 8 * data[3]),),
        ((5.0, 0.0, 0.0, 0.0),),
    ),
}  # fmt: skip
