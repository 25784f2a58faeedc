"""False alarms: how often a calm column is called drifting, ours and Evidently's, by cell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration_columns import Array, Column, columns
from benchmarks.calibration_peer import says_drift
from evermodel.monitoring.drift.bins import CategoryBins, NumberBins
from evermodel.monitoring.drift.two_sample import categorical_p_value, numeric_p_value
from evermodel.stats.sample import CategoricalSample, NumericSample, Sample
from evermodel.stats.stability import stability

LEVEL, SMALL_LEVEL = 0.01, 0.0005
FAMILY, BAND = 20, 0.1
_LARGE = 100_000


@dataclass(frozen=True)
class Cell:
    """Rates of false alarms in one cell.

    Parameters
    ----------
    significant, at_small_level
        Share of p-values at or under 1 % and 0.05 %.
    verdict
        Share that is significant at 1 % and has an index of at least 0.1.
    evidently
        Share that Evidently calls drifting by default.
    """

    reference: int
    window: int
    column: str
    trials: int
    significant: float
    at_small_level: float
    verdict: float
    evidently: float

    @property
    def error(self) -> float:
        """Standard error of a rate that is exactly at the level."""
        return math.sqrt(LEVEL * (1 - LEVEL) / self.trials)

    def line(self) -> list[str]:
        """Return the row of the table."""
        rates = (self.significant, self.at_small_level, self.verdict)
        said = [f"{100 * rate:.2f} %" for rate in rates]
        size = [f"{self.reference:,}", f"{self.window:,}"]
        return [*size, self.column, str(self.trials), *said, f"{100 * self.evidently:.0f} %"]


def cells(
    references: tuple[int, ...], windows: tuple[int, ...], trials: int, peer_trials: int
) -> Iterator[Cell]:
    """Simulate every cell; the last of each size is 20 columns together, judged at 1 % / 20 each."""
    for reference in references:
        for window in windows:
            kinds = columns()
            found = [_trials(column, reference, window, trials) for column in kinds]
            fewer = peer_trials // 3 if max(reference, window) >= _LARGE else peer_trials
            peer = [_evidently(column, reference, window, max(fewer, 5)) for column in kinds]
            for column, ours, theirs in zip(kinds, found, peer, strict=True):
                alarm = ours[:, 0] <= LEVEL
                yield Cell(
                    reference,
                    window,
                    column.name,
                    trials,
                    float(alarm.mean()),
                    float((ours[:, 0] <= SMALL_LEVEL).mean()),
                    float((alarm & (ours[:, 1] >= BAND)).mean()),
                    theirs,
                )
            yield _family(reference, window, found, peer)


def judge(column: Column, before: Sample, now: Sample) -> tuple[float, float]:
    """Return the p-value and the index, as `compare` does."""
    if isinstance(before, NumericSample) and isinstance(now, NumericSample):
        bins = NumberBins.of(before)
        index = stability(bins.count(before), bins.count(now)).psi
        return numeric_p_value(before, now), index
    if isinstance(before, CategoricalSample) and isinstance(now, CategoricalSample):
        names = CategoryBins.of(before)
        old, new = (names.for_index(names.count(side)) for side in (before, now))
        return categorical_p_value(before, now), stability(old, new).psi
    raise TypeError(f"{column.name} has two kinds of sides")


def _trials(column: Column, reference: int, window: int, trials: int) -> NDArray[np.float64]:
    generator = np.random.default_rng([reference, window, len(column.name)])
    return np.array([judge(column, *_calm(column, generator, reference, window)) for _ in range(trials)])


def _calm(
    column: Column, generator: np.random.Generator, reference: int, window: int
) -> tuple[Sample, Sample]:
    before, now = (column.draw(generator, rows, "none", 0.0) for rows in (reference, window))
    return column.sample(before), column.sample(now)


def _evidently(column: Column, reference: int, window: int, trials: int) -> float:
    generator = np.random.default_rng([reference, window])

    def drawn(rows: int) -> Array:
        return column.draw(generator, rows, "none", 0.0)

    said = [says_drift(drawn(reference), drawn(window), column.numeric) for _ in range(trials)]
    return float(np.mean(said))


def _family(reference: int, window: int, found: list[NDArray[np.float64]], peer: list[float]) -> Cell:
    """Deal the simulated columns of a size, each used once, to models with 20 of them, all kinds alike."""
    every = np.concatenate(found)
    np.random.default_rng(0).shuffle(every)
    models = every[: len(every) // FAMILY * FAMILY].reshape(-1, FAMILY, 2)
    alarm = models[:, :, 0] <= LEVEL / FAMILY
    calm = np.prod([1 - rate for rate in peer]) ** (FAMILY / len(peer))
    return Cell(
        reference,
        window,
        f"{FAMILY} columns together",
        len(models),
        float(alarm.any(axis=1).mean()),
        float((models[:, :, 0] <= SMALL_LEVEL / FAMILY).any(axis=1).mean()),
        float((alarm & (models[:, :, 1] >= BAND)).any(axis=1).mean()),
        float(1 - calm),
    )
