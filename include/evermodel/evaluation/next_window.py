"""The gain that the next window will show, as predicted on the test window, and how such predictions have fared."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from evermodel.core.formats import JsonData, loads, stamped
from evermodel.registry.tags import GATE_PREDICTION
from evermodel.stats.bootstrap import ConfidenceInterval


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
    """

    metric: str
    gain: float
    lower: float
    upper: float
    level: float
    window: tuple[str, str]
    champion: str

    def to_text(self) -> str:
        """Return the text of the tag."""
        return json.dumps(stamped(self.to_json()), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> GainPrediction:
        """Read what `to_text` wrote; raises `NewerFormatError` if a newer release wrote it."""
        return cls.from_json(loads(text, f"tag {GATE_PREDICTION}"))


def next_gain(gain: ConfidenceInterval) -> ConfidenceInterval | None:
    """Return the interval of the gain that the next window of the same length will show; None if it cannot be told.

    The next window has an error of its own, as large as that of this one: the difference of two such estimates has twice
    the variance of one (prediction interval of a second sample's mean; Hahn, Meeker: Statistical Intervals, 1991, 4.8).

    >>> found = next_gain(ConfidenceInterval(0.01, -0.01, 0.03))
    >>> round(found.low, 4), round(found.high, 4)
    (-0.0183, 0.0383)
    """
    root = math.sqrt(2.0)
    low, high = (gain.value + root * (bound - gain.value) for bound in (gain.low, gain.high))
    if not all(map(math.isfinite, (gain.value, low, high))):
        return None
    return ConfidenceInterval(gain.value, low, high)
