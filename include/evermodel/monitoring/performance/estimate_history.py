"""Estimates of past windows beside what their labels showed: how wide the next interval has to be."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from evermodel.core.atomic import write_text
from evermodel.core.formats import loads, stamped
from evermodel.core.storage import StoragePath
from evermodel.monitoring.performance.answers import enough, metric_to_watch, truth_and_scores
from evermodel.monitoring.performance.report import Estimate
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa

_MOST = 1000  # windows kept
_MISSED = 0.05
_STEP = 1.0  # of the width, in half widths: a miss widens by .95, a hit narrows by .05
_NARROWEST = 0.5


def tracked_width(misses: list[float]) -> float:
    """Return the width of the next interval, in half widths of the model's own, after some windows.

    Each window whose value lies outside widens the next interval, each other one narrows it a little, so that in the long
    run 95 % of the values lie inside, whatever the sequence of windows is (Gibbs, Candès: Adaptive conformal inference under
    distribution shift, NeurIPS 34, 2021; by tracking the quantile: Angelopoulos, Candès, Tibshirani: Conformal PID
    control for time series prediction, NeurIPS 36, 2023).

    Parameters
    ----------
    misses
        Of each window, the oldest first: distance of the value from the estimate, in half widths.

    Examples
    --------
    >>> tracked_width([]), round(tracked_width([0.5, 0.9]), 2), round(tracked_width([3.0, 2.5, 1.0]), 2)
    (1.0, 0.9, 2.85)
    """
    width = 1.0
    for missed in misses:
        width = max(width + _STEP * ((missed > width) - _MISSED), _NARROWEST)
    return width


class EstimateHistory:
    """The estimates of one model in the lake, by the end of their window; settled when the labels have matured."""

    def __init__(self, spec: ModelSpec, lake: StoragePath) -> None:
        self._spec, self._file = spec, lake / "estimates" / f"{spec.name}.json"
        self._kept: dict[str, dict[str, Any]] = {}
        if self._file.exists():
            self._kept = loads(self._file.read_text(encoding="utf-8"), self._file)["windows"]

    def settle(self, timeline: pa.Table, until: datetime) -> None:
        """Note what the labels of past windows show.

        Parameters
        ----------
        timeline
            Rows with a label.
        until
            Labels of predictions before have matured.
        """
        import pyarrow.compute as pc

        spec = self._spec
        for text, entry in self._kept.items():
            end = datetime.fromisoformat(text)
            if "actual" in entry or end > until:
                continue
            times = timeline["event_time"]
            inside = pc.and_(pc.greater_equal(times, end - spec.performance.window), pc.less(times, end))
            rows = timeline.filter(pc.and_(inside, pc.equal(timeline["model_version"], entry["version"])))
            if enough(spec, rows):
                entry["actual"] = float(metric_to_watch(spec)(*truth_and_scores(spec, rows)))

    def adapted(self, estimate: Estimate, version: str, end: datetime) -> Estimate:
        """Keep an estimate, and return it as wide as past windows of the same length call for."""
        half = (estimate.high - estimate.low) / 2
        entry = {"version": version, "value": estimate.value, "half": half}
        self._kept[end.isoformat()] = {**self._kept.get(end.isoformat(), {}), **entry}
        misses = self._misses(end)
        if not misses:
            return estimate
        width = half * tracked_width(misses)
        return replace(
            estimate, low=estimate.value - width, high=estimate.value + width, past_windows=len(misses)
        )

    def save(self) -> None:
        """Write the history to the lake."""
        newest = dict(sorted(self._kept.items())[-_MOST:])
        write_text(self._file, json.dumps(stamped({"windows": newest}), sort_keys=True))

    def _misses(self, end: datetime) -> list[float]:
        """Return how far off the windows before were that follow each other without overlap, the oldest first."""
        last, found = end - self._spec.label.delay, []
        for place in range(1, _MOST):
            moment = end - place * self._spec.performance.window
            entry = self._kept.get(moment.isoformat(), {})
            if moment.isoformat() < min(self._kept):
                break
            if moment <= last and "actual" in entry and entry["half"] > 0 and np.isfinite(entry["actual"]):
                found.append(abs(entry["actual"] - entry["value"]) / entry["half"])
        return found[::-1]
