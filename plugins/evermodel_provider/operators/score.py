"""Scoring of a day with the champion."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.sdk import AssetAlias

from evermodel.core.errors import EmptyWindowError
from evermodel.spec.window import last_day, whole_day
from evermodel_provider.assets import predictions
from evermodel_provider.column_lineage import prediction_columns
from evermodel_provider.lineage import predictions_data, source_data, version_data
from evermodel_provider.links import ModelVersionLink
from evermodel_provider.metrics import measure
from evermodel_provider.operators.base import ALIAS, ModelOperator, optional

if TYPE_CHECKING:
    from airflow.sdk import Context, Param

    from evermodel_provider.operators.base import Lineage
    from evermodel_provider.results import ScoreResult


def score_form() -> dict[str, Param]:
    """Return the form that scores earlier days, or days again."""
    first = "First day (UTC) to score. Default: only the day before the run's date."
    last = "Last day to score. Default: the day before the run's date."
    return {"from": optional("From", first, format="date"), "to": optional("To", last, format="date")}


class ScoreOperator(ModelOperator):
    """Score the whole day before ``as_of`` with the champion and write it to the prediction log.

    A repetition replaces that day's batch only. Map it over what `DaysToScoreSensor` returns; in a range of days, a day
    without rows is skipped. Returns a `ScoreResult`.

    Without `outlets` the task updates the asset `predictions`.
    """

    kind = "scoring"
    operator_extra_links = (ModelVersionLink(),)

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("outlets", [AssetAlias(ALIAS)])
        super().__init__(**kwargs)

    def run_step(self, context: Context) -> ScoreResult:
        """Score the day."""
        began = time.monotonic()
        day = last_day(whole_day(self.as_of)).start
        context["day"] = f"{day:%Y-%m-%d}"  # type: ignore[typeddict-unknown-key]
        try:
            scored: ScoreResult = self.perform("score")
        except EmptyWindowError as error:
            if context["params"].get("from"):
                raise AirflowSkipException(error.problem) from error
            raise
        self.announce(context, predictions, day=scored["day"], version=scored["version"])
        said = (scored["rows"], scored["day"], scored["version"])
        self.log.info("Scored %d rows of %s with version %s", *said)
        measure(self.spec.name, scored_rows=scored["rows"], scoring_seconds=time.monotonic() - began)
        return scored

    def lineage(self, returned: ScoreResult) -> Lineage:
        """Return source and champion as inputs and the day of the prediction log as output."""
        settings, model = self.hook.settings, self.spec.name
        scored = replace(
            predictions_data(settings, model, returned["day"], returned["rows"]),
            columns=prediction_columns(self.spec),
        )
        return [*source_data(self.spec), version_data(settings, model, returned["version"])], [scored]
