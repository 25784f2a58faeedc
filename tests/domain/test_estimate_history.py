"""Intervals of estimates learn from the labels that come: as wide as 95 % need, for any sequence of windows."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest

from evermodel.core.errors import NewerFormatError
from evermodel.monitoring.performance.estimate_history import EstimateHistory, tracked_width
from evermodel.monitoring.performance.monitor import evaluate_performance
from support.performance_log import START, PerformanceWorlds

WEEK = timedelta(days=7)


@pytest.mark.parametrize("world", ["too narrow", "wandering", "breaks"])
def test_in_the_long_run_95_of_100_values_lie_inside(world: str) -> None:
    """Of intervals that hold 60 % of the values, as on the flights, and of misses that come in stretches."""
    draw = np.random.default_rng(1)
    misses = np.abs(draw.normal(size=400)) / 0.84
    if world == "wandering":
        misses *= 1 + np.sin(np.arange(400) / 20)
    if world == "breaks":
        misses[200:] *= 4

    inside = [missed <= tracked_width(misses[:place].tolist()) for place, missed in enumerate(misses)]

    assert 0.93 <= np.mean(inside) <= 0.97


def test_a_window_is_settled_when_its_labels_are_due_and_a_miss_widens_the_next(
    performance_world: PerformanceWorlds,
) -> None:
    world = performance_world(label={"column": "late", "delay": "7d"})
    world.label(world.predict(range(21), concept=1.0))  # the scores mean nothing, which no estimate can know
    promise = world.promise()

    first, second, third = (
        evaluate_performance(world.spec, world.lake, START + week * WEEK, promise).report.estimate
        for week in (1, 2, 3)
    )

    assert first is not None
    assert second is not None
    assert third is not None
    assert [one.past_windows for one in (first, second, third)] == [0, 1, 2]
    kept = json.loads((world.lake / "estimates" / f"{world.spec.name}.json").read_text())
    assert kept["format"] == 1
    entry = kept["windows"][(START + WEEK).isoformat()]
    assert abs(entry["actual"] - entry["value"]) > entry["half"]
    raw = kept["windows"][(START + 2 * WEEK).isoformat()]["half"]
    assert (second.high - second.low) / 2 == pytest.approx(1.95 * raw)

    again = evaluate_performance(world.spec, world.lake, START + 2 * WEEK, promise).report.estimate
    assert again == second  # a day that is evaluated again knows no later labels


def test_a_newer_history_is_refused(performance_world: PerformanceWorlds) -> None:
    world = performance_world()
    file = world.lake / "estimates" / f"{world.spec.name}.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"format": 99, "windows": {}}')
    with pytest.raises(NewerFormatError):
        EstimateHistory(world.spec, world.lake)
