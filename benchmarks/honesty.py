"""Stated rates beside measured ones, on data whose rows, days and weeks depend on each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmarks.honesty_gates import estimate_rates, gate_rates
from benchmarks.honesty_watch import watch_rates
from benchmarks.outcome import Outcome
from evermodel.evaluation.decision import compare
from evermodel.evaluation.next_window import next_gain
from evermodel.monitoring.drift.by_day import clustered_p_value
from evermodel.monitoring.drift.reference_and_current import ExactRows
from evermodel.monitoring.performance.answers import Level
from evermodel.monitoring.performance.decay import DecayTest
from evermodel.spec import ModelSpec
from evermodel.stats.bootstrap import ConfidenceInterval, paired_gain
from evermodel.stats.classifier import classifier_test
from evermodel.stats.clusters import Clusters
from evermodel.stats.metrics import METRICS, Metric, MetricParameters, metrics_by_name
from evermodel.stats.serial import serial_effect
from evermodel.stats.successive import SeriesVariance, successive_variance

Floats = NDArray[np.float64]
_GATE, _WATCH, _COVER = 0.025, 0.01, 0.05
_SPEC = {
    "name": "honesty",
    "source": {"path": "none.parquet"},
    "time_column": "at",
    "id_column": "id",
    "label": {"column": "late", "delay": "1d"},
    "features": {"numeric": ["amount"]},
    "candidates": [{"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}],
}


@dataclass(frozen=True)
class Cell:
    """How often something was said, beside how often it may be; ``least`` turns it round: it must be said as often."""

    method: str
    world: str
    times: int
    rate: float
    stated: float
    least: bool = False

    @property
    def error(self) -> float:
        """Standard error of the simulation."""
        return math.sqrt(self.stated * (1 - self.stated) / self.times)

    @property
    def excess(self) -> float:
        """By how many standard errors the stated rate is missed; negative where it holds."""
        return (self.rate - self.stated) / self.error * (-1 if self.least else 1)

    def line(self) -> list[str]:
        """Return the row of the table."""
        said = [f"{100 * value:.2f} %" for value in (self.rate, self.stated, self.error)]
        verdict = "" if self.least else ("exceeded" if self.excess > 2 else "holds")
        return [self.method, self.world, str(self.times), *said, verdict]


def run(small: bool) -> Outcome:
    """Simulate every method in every world it speaks of."""
    times = 40 if small else 1600
    cells = [
        *_gate(times // 4),
        *_next_window(times),
        *_performance(times),
        *_concept(times),
        *_drift(times // 4),
        *_whole_rows(times // 4),
        *(Cell(*measured) for measured in gate_rates(times // 2, _SPEC)),
        *(Cell(*measured) for measured in estimate_rates(times // 2)),
        *(Cell(*measured) for measured in watch_rates(times // 4)),
    ]
    rates, powers = [c for c in cells if not c.least], [c for c in cells if c.least]
    over = [c for c in rates if c.excess > 2]
    return Outcome(
        peer="the rates that evermodel states",
        ratios={},
        figures={
            "cells": len(rates),
            "cells_exceeded": len(over),
            "worst_excess_se": max(c.excess for c in rates),
            "worst_power_deficit": max(c.stated - c.rate for c in powers),
        },
        header=["method", "world", "simulated", "measured", "stated", "± (1 s.e.)", ""],
        rows=[cell.line() for cell in cells],
        notes=("", "Rows of power: found, beside what a test that takes days for independent finds there."),
    )


def _gate(times: int) -> Iterator[Cell]:
    """Count *better* of two models that are equal over all clusters."""
    generator = np.random.default_rng(1)
    for clusters in (5, 7, 30, 100, 500):
        for share in (0.05, 0.2, 0.5):
            world = f"{clusters} clusters, intra-class correlation {share}"
            yield _better(world, METRICS["brier"], times, clusters, share, generator)
    yield _better("30 clusters, 1 % positives", METRICS["roc_auc"], times, 30, 0.2, generator, positives=0.01)
    for metric in ("rmse", "mae"):
        yield _better(
            f"30 clusters, heavy tails (t, 3 df), {metric}",
            metrics_by_name("regression", MetricParameters())[metric],
            times,
            30,
            0.2,
            generator,
            tails=True,
        )


def _better(
    world: str,
    metric: Metric,
    times: int,
    count: int,
    share: float,
    generator: np.random.Generator,
    positives: float = 0.4,
    tails: bool = False,
) -> Cell:
    codes = np.repeat(np.arange(count), max(2000 // count, 4))
    better = 0
    for _ in range(times):
        noise = generator.normal(size=(2, len(codes))) * math.sqrt(1 - share)
        noise += (generator.normal(size=(2, count)) * math.sqrt(share))[:, codes]
        if tails:
            labels = 3 * generator.standard_t(3, len(codes))
            sides = labels + noise
        else:
            labels = generator.random(len(codes)) < positives
            sides = 1 / (1 + np.exp(-(1.5 * labels - 0.8 + noise)))
        gain = paired_gain(
            metric, labels, *sides, confidence=0.95, resamples=200, seed=0, clusters=Clusters.of(codes)
        )
        better += compare(gain.low, gain.high, 0.0) == "better"
    return Cell("gate: better", world, times, better / times, _GATE)


def _days(
    generator: np.random.Generator,
    times: int,
    days: int,
    memory: float,
    trend: float = 0.0,
    season: float = 0.0,
) -> Floats:
    """Return times x days: an AR(1) of unit variance, with a trend over all days and a weekly season."""
    values = generator.normal(size=(times, days))
    for day in range(1, days):
        values[:, day] = memory * values[:, day - 1] + math.sqrt(1 - memory**2) * values[:, day]
    place = np.arange(days)
    found: Floats = values + trend * place / days + season * np.sin(2 * np.pi * place / 7)
    return found


def _next_window(times: int) -> Iterator[Cell]:
    """Count how often the next week's gain is outside the interval that this week's days gave."""
    generator = np.random.default_rng(2)
    worlds = {
        "days independent": (0.0, 0.0, 0.0),
        "days wander (0.5)": (0.5, 0.0, 0.0),
        "days wander (0.8)": (0.8, 0.0, 0.0),
        "a weekly season": (0.0, 0.0, 1.0),
        "weeks differ by 0.5 of a day": (0.0, 0.0, 0.0),
        "a trend of one day's deviation over both": (0.0, 1.0, 0.0),
    }
    for world, (memory, trend, season) in worlds.items():
        values = _days(generator, times, 14, memory, trend, season)
        if world.startswith("weeks"):
            values += np.repeat(0.5 * generator.normal(size=(times, 2)), 7, axis=1)
        outside = 0
        for now, following in zip(values[:, :7], values[:, 7:], strict=True):
            half = student.ppf(0.975, 6) * now.std(ddof=1) / math.sqrt(7)
            found = next_gain(ConfidenceInterval(now.mean(), now.mean() - half, now.mean() + half))
            outside += found is None or not found.low <= following.mean() <= found.high
        yield Cell("gate: the next week is outside", world, times, outside / times, _COVER)


class _Past:
    def __init__(self, values: Floats) -> None:
        self.values = values

    def variance(self, keep: object = None, least: float = 0.0) -> SeriesVariance | None:
        return successive_variance(self.values)


def _performance(times: int) -> Iterator[Cell]:
    """Count weeks with an alarm, twelve weeks before them matured, with no margin: the worst case that must hold."""
    generator, spec = np.random.default_rng(3), ModelSpec.model_validate(_SPEC)
    error, width = 0.012, student.ppf(0.975, 6) * 0.012
    for between in (0.0, 0.01, 0.02, 0.03):
        for memory in (0.0, 0.5):
            weeks = between * _days(generator, times, 14, memory)
            weeks += error * generator.normal(size=weeks.shape)
            alarms = 0
            for values in weeks:
                then, now = (Level(700, v, v - width, v + width, 6.0) for v in (values[0], values[-1]))
                test = DecayTest(spec, (0.0, 0.03), _Past(values[1:-1]), 1.0)  # type: ignore[arg-type]
                alarms += test.standing("all rows", now, then, _WATCH).severity != "none"
            world = f"weekly AUC varies by {between}" + (f", weeks wander ({memory})" if memory else "")
            yield Cell("performance: alarm", world, times, alarms / times, _WATCH)


def _concept(times: int) -> Iterator[Cell]:
    """Count alarms of the comparison of days, and how often it finds a shift of 2.5 days' standard deviations."""
    generator = np.random.default_rng(4)
    for before, now in ((7, 7), (14, 7), (28, 7), (56, 7)):
        for memory in (0.0, 0.3, 0.5, 0.8):
            sides = _days(generator, times, before, memory), _days(generator, times, now, memory)
            world = f"{before} days against {now}, days wander ({memory})"
            yield Cell("concept: alarm", world, times, _alarms(*sides, _serial), _WATCH)
    sides = _days(generator, times, 28, 0.0), _days(generator, times, 7, 0.0) + 2.5
    power = _alarms(*sides, lambda one, other: (1.0, float(len(one) + len(other) - 2)))
    yield Cell(
        "concept: power", "28 days against 7, independent", times, _alarms(*sides, _serial), power, least=True
    )


def _serial(before: Floats, now: Floats) -> tuple[float, float]:
    found = serial_effect(before, now)
    return found.inflation, found.freedom


def _alarms(before: Floats, now: Floats, effect: Callable[[Floats, Floats], tuple[float, float]]) -> float:
    alarms = 0
    for one, other in zip(before, now, strict=True):
        inflation, freedom = effect(one, other)
        squares = sum(float(((side - side.mean()) ** 2).sum()) for side in (one, other))
        variance = squares / (len(one) + len(other) - 2) * (1 / len(one) + 1 / len(other)) * inflation
        apart = abs(other.mean() - one.mean()) / math.sqrt(variance)
        alarms += freedom >= 1 and 2 * student.sf(apart, freedom) <= _WATCH
    return alarms / len(before)


def _drift(times: int) -> Iterator[Cell]:
    """Count p-values by day at or under 1 % where only days differ, 56 of them against a week, 40 rows each."""
    generator = np.random.default_rng(5)
    worlds = {
        "rows independent": (0.0, 0.0, 0.0, 0.0),
        "days differ": (0.5, 0.0, 0.0, 0.0),
        "days wander (0.5)": (0.5, 0.5, 0.0, 0.0),
        "days wander (0.8)": (0.5, 0.8, 0.0, 0.0),
        "a weekly season": (0.5, 0.0, 0.0, 1.0),
        "a trend of two days' deviations": (0.5, 0.0, 2.0, 0.0),
    }
    codes = np.repeat(np.arange(63), 40)
    for world, (spread, memory, trend, season) in worlds.items():
        alarms = 0
        for days in _days(generator, times, 63, memory, trend, season):
            values = spread * days[codes] + generator.normal(size=len(codes))
            found = clustered_p_value(
                *(_side(values, codes, part) for part in (codes < 56, codes >= 56)), "x"
            )
            alarms += found is not None and found <= _WATCH
        yield Cell("drift before a history: a column by days", world, times, alarms / times, _WATCH)
    yield _wide(max(times // 8, 2), generator)


def _wide(times: int, generator: np.random.Generator) -> Cell:
    """Count tables of which any of 500 columns has a p-value by day at or under its share of 5 %."""
    codes, alarms, columns = np.repeat(np.arange(35), 20), 0, 500
    for _ in range(times):
        days = 0.5 * generator.normal(size=(columns, 35))[:, codes]
        for values in days + generator.normal(size=days.shape):
            sides = (_side(values, codes, part) for part in (codes < 28, codes >= 28))
            found = clustered_p_value(*sides, "x")
            if found is not None and found <= _COVER / columns:
                alarms += 1
                break
    return Cell("drift before a history: any of 500 columns", "days differ", times, alarms / times, _COVER)


def _whole_rows(times: int) -> Iterator[Cell]:
    """Count p-values of the classifier at or under 5 % where both samples are of one distribution, rows being the draws."""
    generator = np.random.default_rng(6)
    worlds: dict[str, tuple[int, Callable[[tuple[int, int]], Floats], int]] = {
        "300 rows against 150, 5 columns": (5, generator.standard_normal, times // 2),
        "heavy tails (t, 3 df)": (5, lambda shape: generator.standard_t(3, shape), times // 2),
        "500 columns": (500, generator.standard_normal, max(times // 16, 2)),
    }
    for world, (columns, draw, count) in worlds.items():
        tests = [
            classifier_test(draw((300, columns)), draw((150, columns)), seed=seed) for seed in range(count)
        ]
        alarms = sum(test is not None and test.p_value <= _COVER for test in tests)
        yield Cell("drift: whole rows", world, count, alarms / count, _COVER)


def _side(values: Floats, days: NDArray[np.intp], part: NDArray[np.bool_]) -> ExactRows:
    moments = pa.array(days[part] * 86_400_000_000).cast(pa.timestamp("us", tz="UTC"))
    return ExactRows(pa.table({"x": values[part], "at": moments}), frozenset(["x"]), "at")
