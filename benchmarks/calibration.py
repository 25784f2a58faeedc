"""Drift's false-alarm rate by cell beside Evidently's defaults, and power beside it at an equal false-alarm rate."""

from __future__ import annotations

import time

import numpy as np
from scipy.special import bdtrc

from benchmarks.calibration_alarms import LEVEL, Cell, cells
from benchmarks.calibration_power import Curve, curves
from benchmarks.outcome import Outcome

REFERENCES = (1_000, 5_000, 100_000)
WINDOWS = (100, 200, 500, 1_000, 10_000, 100_000)
POWER_SIZES = ((1_000, 100), (1_000, 1_000), (5_000, 500), (5_000, 10_000), (100_000, 1_000))
TRIALS, PEER_TRIALS, CALM_TRIALS, POWER_TRIALS = 2000, 120, 1500, 300


def run(small: bool) -> Outcome:
    """Simulate both tables."""
    start = time.perf_counter()
    if small:
        found = list(cells((1_000,), (100, 1_000), 60, 5))
        power = list(
            curves(((1_000, 100),), 100, 20, lambda column: column.name in ("normal", "10 categories"))
        )
    else:
        found = list(cells(REFERENCES, WINDOWS, TRIALS, PEER_TRIALS))
        power = list(curves(POWER_SIZES, CALM_TRIALS, POWER_TRIALS, lambda column: True))
    known = [curve for curve in power if not _any_new_value_is_drift(curve)]
    expected = _expected_worst([cell.trials for cell in found])
    figures = {
        "worst_false_alarm_rate": max(cell.verdict for cell in found),
        "worst_significant_rate": max(cell.significant for cell in found),
        "mean_significant_rate": float(np.mean([cell.significant for cell in found])),
        "mean_rate_at_small_level": float(np.mean([cell.at_small_level for cell in found])),
        "stated_rate": LEVEL,
        "expected_worst_if_exact": expected,
        "cells": len(found),
        "cells_above_beyond_chance": sum(_beyond_chance(cell, len(found)) for cell in found),
        "simulation_standard_error": max(cell.error for cell in found),
        "evidently_worst_false_alarm_rate": max(cell.evidently for cell in found),
        "worst_power_deficit": max(curve.deficit for curve in known),
        "worst_power_deficit_new_category": max(curve.deficit for curve in power if curve not in known),
        "mean_power_gain": float(np.mean([np.subtract(c.ours, c.theirs).mean() for c in power])),
        "seconds": time.perf_counter() - start,
    }
    return Outcome(
        peer="Evidently's default tests",
        ratios={},
        figures=figures,
        header=[
            "reference",
            "window",
            "column",
            "trials",
            "significant at 1 %",
            "at 0.05 %",
            "verdict (and PSI ≥ 0.1)",
            "Evidently",
        ],
        rows=[cell.line() for cell in found],
        notes=_notes(found, power, expected),
    )


def _any_new_value_is_drift(curve: Curve) -> bool:
    """Tell the curves where Evidently's chi-square is infinite as soon as one new value appears."""
    return curve.drift == "new" and curve.peer == "chi-square"


def _beyond_chance(cell: Cell, cells_in_all: int) -> bool:
    """Tell whether so many alarms would be a surprise at the level, in any of all cells (5 %, Bonferroni)."""
    alarms = round(cell.significant * cell.trials)
    return bool(bdtrc(alarms - 1, cell.trials, LEVEL) < 0.05 / cells_in_all) if alarms else False


def _expected_worst(trials: list[int]) -> float:
    """Return the mean of the largest rate over all cells if each has exactly the level."""
    drawn = np.random.default_rng(0).binomial(trials, LEVEL, (2000, len(trials))) / np.array(trials)
    return float(drawn.max(axis=1).mean())


def _notes(found: list[Cell], power: list[Curve], expected: float) -> tuple[str, ...]:
    worst = max(found, key=lambda cell: cell.significant)
    return (
        "",
        f"Standard error of a rate of 1 %: {100 * min(c.error for c in found):.2f} % a column, "
        f"{100 * max(c.error for c in found):.2f} % for 20 together. Worst cell by significance: {worst.column} at "
        f"{worst.reference:,}/{worst.window:,}, {100 * worst.significant:.2f} %; with exactly 1 % everywhere the "
        f"largest of {len(found)} cells would be {100 * expected:.2f} % on average.",
        "",
        "Power at an equal false-alarm rate of 1 % (both thresholds from the same calm trials): "
        "strength of the drift: ours / Evidently's default.",
        *(curve.line() for curve in power),
        "Evidently's chi-square calls any value that the reference never had drift, with certainty: unbeatable where all "
        "categories are common, and the reason for its false alarms where some are rare.",
    )
