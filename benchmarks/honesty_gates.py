"""Stated rates of the gate's parts: slices, fairness, calibration; and of the estimate before labels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evermodel.evaluation.fairness import largest_difference
from evermodel.evaluation.slices import slice_gates
from evermodel.monitoring.performance.estimate import estimate_metric
from evermodel.monitoring.performance.estimate_history import tracked_width
from evermodel.spec import ModelSpec
from evermodel.stats.calibration import calibration_interval
from evermodel.stats.clusters import Clusters
from evermodel.stats.metrics import METRICS

Floats = NDArray[np.float64]
Measured = tuple[str, str, int, float, float]  # method, world, simulations, measured, stated
_GATE, _COVER = 0.025, 0.05


def gate_rates(times: int, spec: dict[str, Any]) -> Iterator[Measured]:
    """Measure how often equal models, groups that differ by the limit, and errors at the limit fail."""
    for clusters, share in ((7, 0.2), (30, 0.2), (100, 0.05)):
        world = f"4 slices, {clusters} days, intra-class correlation {share}"
        yield "slices: any fails", world, times // 2, _slices(times // 2, clusters, share, spec), _GATE
    for clusters in (6, 12, 60):
        world = f"two groups that differ by the limit, {clusters} days that lean"
        yield "fairness: fails", world, 5 * times, _groups(5 * times, clusters), _GATE
    for clusters, shift in ((7, 0.0), (7, 0.06), (30, 0.06), (500, 0.06)):
        world = f"answers too high by the limit of {shift}, {clusters} clusters that differ"
        yield "calibration: fails", world, times, _calibrated(times, clusters, shift), _GATE


def estimate_rates(times: int) -> Iterator[Measured]:
    """Measure how often what labels show is outside the interval that the estimate before them had, windows 11 to 30."""
    for world, drift in {
        "weeks alike": 0.0,
        "a score's meaning differs by week (0.3 in log odds)": 0.3,
        "and wanders (0.8)": -0.3,
    }.items():
        outside = [miss for seed in range(max(times // 60, 1)) for miss in _estimates(drift, seed)]
        yield "estimate: outside", world, len(outside), float(np.mean(outside)), _COVER
    windows = min(20 * times, 1000)
    yield (
        "estimate: outside",
        "an opponent within four half widths",
        windows,
        _opponent(windows),
        _COVER + 5 / windows,
    )


def _slices(times: int, clusters: int, share: float, sections: dict[str, Any]) -> float:
    generator, failed = np.random.default_rng(clusters), 0
    gate = {
        "metric": "brier",
        "margin": 0.0,
        "resamples": 200,
        "slices": [{"column": "amount", "min_rows": 30}],
    }
    spec = ModelSpec.model_validate({**sections, "gate": gate})
    for _ in range(times):
        codes = np.arange(600) % clusters
        noise = generator.normal(size=(2, 600)) * math.sqrt(1 - share)
        noise += (generator.normal(size=(2, clusters)) * math.sqrt(share))[:, codes]
        labels = generator.random(600) < 0.4
        sides = 1 / (1 + np.exp(-(1.5 * labels - 0.8 + noise)))
        features = pd.DataFrame({"amount": generator.integers(0, 4, 600).astype(float)})
        gates = slice_gates(spec, features, labels, *sides, 0.0, Clusters.of(codes))
        failed += any(found.verdict == "fail" for found in gates)
    return failed / times


def _groups(times: int, clusters: int) -> float:
    generator, failed = np.random.default_rng(clusters), 0
    days, groups = np.arange(1200) // (1200 // clusters), np.arange(1200) % 2
    for _ in range(times):
        lean = (0.12 * generator.normal(size=clusters))[days]
        yes = (generator.random(1200) < np.where(groups, 0.55 - lean, 0.45 + lean)).astype(int)
        failed += largest_difference([(yes, groups, Clusters.of(days))], 0.95)[0] > 0.1
    return failed / times


def _calibrated(times: int, clusters: int, shift: float) -> float:
    generator, failed = np.random.default_rng(clusters), 0
    codes = np.arange(1000) % clusters
    for _ in range(times):
        chances = generator.uniform(0.1, 0.9, 1000)
        shares = chances + 0.7 * generator.normal(size=clusters)[codes] * chances * (1 - chances)
        happened = generator.random(1000) < shares
        failed += calibration_interval(happened, chances + shift, Clusters.of(codes), 0.95).low > shift
    return failed / times


def _estimates(drift: float, seed: int) -> list[bool]:
    """Return which windows of one model are missed, each estimated by the four before it."""
    generator, count = np.random.default_rng((seed, round(100 * abs(drift)))), 34
    moves = generator.normal(size=count)
    if drift < 0:
        for week in range(1, count):
            moves[week] = 0.8 * moves[week - 1] + 0.6 * moves[week]
    weeks = []
    for move in moves:
        odds = generator.normal(size=400)
        labels = generator.random(400) < 1 / (1 + np.exp(-1.5 * odds * (1 + abs(drift) * move)))
        weeks.append((1 / (1 + np.exp(-odds)), labels))
    misses: list[float] = []
    outside = []
    for place in range(4, count):
        past = [np.concatenate(side) for side in zip(*weeks[place - 4 : place], strict=True)]
        found = estimate_metric(METRICS["roc_auc"], weeks[place][0], *past, seed=seed)
        assert found is not None
        missed = abs(METRICS["roc_auc"](weeks[place][1], weeks[place][0]) - found.value) / (
            (found.high - found.low) / 2
        )
        if place >= 14:
            outside.append(bool(missed > tracked_width(misses)))
        misses.append(missed)
    return outside


def _opponent(windows: int) -> float:
    """Return the share of misses where each value is chosen just outside the interval, if it is within four half widths.

    Beyond one in twenty there are at most five: each widens the interval, which stays below five half widths.
    """
    misses: list[float] = []
    outside = 0
    for _ in range(windows):
        width = tracked_width(misses)
        misses.append(width + 0.01 if width < 4 else 0.0)
        outside += misses[-1] > width
    return outside / windows
