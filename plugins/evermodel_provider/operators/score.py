"""Score a day with the champion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evermodel.window import whole_day
from evermodel_provider.operators.base import ModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ScoreOperator(ModelOperator):
    """Score the whole day before ``as_of`` with the champion and append it to the prediction log.

    Doing it again replaces that day's batch and nothing else. Returns day, version, rows, mean score and path.
    """

    def run_step(self, context: Context) -> dict[str, Any]:
        """Score the day."""
        from evermodel.scoring import score_day

        scored = score_day(self.spec, whole_day(self.as_of), self.hook.get_conn(), self.hook.settings)
        self.log.info("Scored %d rows of %s with version %s", scored.rows, scored.day, scored.version)
        return scored.to_json()
