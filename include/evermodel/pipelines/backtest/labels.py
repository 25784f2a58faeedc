"""Outcomes and the quality of answers: read after the replay, never by a decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from evermodel.data.dtypes import with_label
from evermodel.data.sources import read_labels
from evermodel.monitoring.performance.answers import (
    CONFIDENCE,
    enough,
    level,
    metric_to_watch,
    truth_and_scores,
)
from evermodel.pipelines.backtest.outcome import Exchange, Week
from evermodel.pipelines.backtest.plan import ONE_WEEK, Plan
from evermodel.spec.window import Window
from evermodel.stats.bootstrap import paired_gain

if TYPE_CHECKING:
    import pyarrow as pa

_RESAMPLES = 500
_EVER = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Truth:
    """The final labels of a backtest's days."""

    plan: Plan

    @cached_property
    def _labels(self) -> pa.Table:
        import pyarrow as pa

        spec = self.plan.history.at(_EVER).spec
        table = with_label(spec, read_labels(spec, Window(self.plan.start, self.plan.end)))
        ids = table[spec.id_column].cast(pa.string()).combine_chunks()
        return pa.table({"prediction_id": ids, "label": table[spec.label.column]})

    def of(self, answers: pa.Table) -> pa.Table:
        """Return answers with their labels; those without one are left out."""
        import pyarrow.compute as pc

        places = pc.index_in(answers["prediction_id"], self._labels["prediction_id"].combine_chunks())
        found = answers.append_column("label", pc.take(self._labels["label"], places))
        return found.filter(pc.is_valid(found["label"]))

    def week(self, start: datetime, champions: tuple[str, ...], answers: pa.Table) -> Week:
        """Measure the answers of a week."""
        joined, day = self.of(answers), f"{start:%Y-%m-%d}"
        found = level(self.plan.spec, joined) if enough(self.plan.spec, joined) else None
        if found is None:
            return Week(day, champions, joined.num_rows)
        return Week(day, champions, joined.num_rows, found.value, found.low, found.high)

    def exchange(
        self, start: datetime, champion: str, replaced: str, now: pa.Table, before: pa.Table
    ) -> Exchange | None:
        """Compare a champion with the one that it replaced, on the same rows; None if they are too few."""
        import pyarrow as pa

        spec = self.plan.spec
        new, old = self.of(now), self.of(before)
        if not enough(spec, new):
            return None
        # Both at once, because of many classes the columns are those that either has answered.
        truth, scores = truth_and_scores(spec, pa.concat_tables([new, old]))
        count = new.num_rows
        if spec.numeric_answers and len(np.unique(truth[:count])) < 2:
            return None
        gain = paired_gain(
            metric_to_watch(spec),
            truth[:count],
            scores[:count],
            scores[count:],
            confidence=CONFIDENCE,
            resamples=_RESAMPLES,
            seed=spec.seed,
        )
        return Exchange(f"{start:%Y-%m-%d}", champion, replaced, count, gain.value, gain.low, gain.high)


def paired(truth: Truth, now: pa.Table, before: pa.Table) -> pa.Table:
    """Return the labelled rows of a champion with the answers of the version that it replaced."""
    new, old = truth.of(now), truth.of(before)
    columns = ["prediction_id", "event_time", "score", "predicted", "label"]
    both = new.select(columns)
    for name in ("score", "predicted"):
        both = both.append_column(f"replaced_{name}", old[name])
    return both


def parts_of_week(
    start: datetime, services: list[tuple[datetime, datetime]]
) -> list[tuple[int, datetime, datetime]]:
    """Return which services fall into a week, each with its number and the part of the week that it covers.

    Parameters
    ----------
    services
        First day and the day after the last, in the order of time.
    """
    end = start + ONE_WEEK
    cut = [(number, max(first, start), min(last, end)) for number, (first, last) in enumerate(services)]
    return [(number, first, last) for number, first, last in cut if last - first > timedelta(0)]
