"""How much the metric varies from window to window, by the matured windows before the evaluated one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from evermodel.core.storage import StoragePath
from evermodel.data.prediction_log import read_log
from evermodel.monitoring.performance.answers import enough, metric_to_watch, truth_and_scores
from evermodel.monitoring.performance.label_join import (
    answer_columns,
    deduplicated,
    matured_window,
    spans_of,
    with_known_labels,
)
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window
from evermodel.stats.successive import SeriesVariance, successive_variance

if TYPE_CHECKING:
    import pyarrow as pa

WINDOWS = 12
LEAST_FREEDOM = 5.0  # below, with fewer than nine windows, the verdict rests on the window alone
FEWEST_FREEDOM = 2.0  # below, with fewer than four windows, nothing stands in for days that are too few


class PastWindows:
    """The windows before the evaluated one, with the labels that earlier evaluations had kept.

    They are read when something is asked of them, which is when a shortfall might be more than chance.
    Rows count whatever version answered them: what is easy or hard about a week is much the same for all.
    """

    def __init__(self, spec: ModelSpec, lake: StoragePath, as_of: datetime) -> None:
        self._spec, self._lake, self._as_of = spec, lake, as_of

    def variance(
        self, keep: Callable[[pa.Table], pa.Table] | None = None, least: float = LEAST_FREEDOM
    ) -> SeriesVariance | None:
        """Return the variance of the metric from window to window; None with too few windows.

        Parameters
        ----------
        keep
            Picks the rows of a slice.
        least
            Degrees of freedom that the windows must have.
        """
        spec, metric, values = self._spec, metric_to_watch(self._spec), []
        for rows in self._windows:
            chosen = rows if keep is None else keep(rows)
            if enough(spec, chosen):
                values.append(metric(*truth_and_scores(spec, chosen)))
        found = successive_variance(value for value in values if np.isfinite(value))
        return None if found is None or found.freedom < least else found

    @cached_property
    def _windows(self) -> list[pa.Table]:
        spec, last = self._spec, matured_window(self._spec, self._as_of)
        reach = Window(last.start - WINDOWS * spec.performance.window, last.start)
        searched = spec.features.names if spec.performance.search else ()
        columns = list(dict.fromkeys([*answer_columns(spec), *spec.performance.slices, *searched]))
        log = deduplicated(read_log(spec, self._lake, reach, columns))
        rows = with_known_labels(spec, self._lake, log, reach, self._as_of)
        return list(spans_of(rows, spec.performance.window, last.start).values())
