"""Drift verdict on a window of the prediction log, and Evidently's report of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from evermodel.monitoring.problems import RANK
from evermodel.spec.window import last_day, whole_day
from evermodel_provider.lineage import predictions_data, version_data
from evermodel_provider.links import MlflowRunLink, ReportLink
from evermodel_provider.metrics import measure
from evermodel_provider.operators.base import ModelOperator
from evermodel_provider.run_notes import leave_note

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel_provider.operators.base import Lineage
    from evermodel_provider.results import DriftResult


class DriftVerdictOperator(ModelOperator):
    """Evaluate the trailing window against the champion's training rows; the verdict goes to MLflow.

    Returns a `DriftResult`: severity, reason, rows, the drifting columns and the matured metric.
    """

    kind = "drift"
    operator_extra_links = (MlflowRunLink(),)

    def run_step(self, context: Context) -> DriftResult:
        """Evaluate the window."""
        verdict = self.perform("drift_verdict")
        self.log.info("%s: %s", verdict["severity"], verdict["reason"])
        for line in verdict.pop("lines"):
            self.log.info("  %s", line)
        for problem in verdict["quality"]:
            self.log.warning("  data quality: %s", problem)
        measure(
            self.spec.name,
            severity=RANK[verdict["severity"]],
            drifting_columns=len(verdict["drifting"]),
            window_rows=verdict["rows"],
            metric=verdict["metric_value"],
            metric_promised=verdict.pop("metric_promised"),
        )
        leave_note(context, f"{verdict['severity']}, {verdict['reason']}", self.links)
        return cast("DriftResult", verdict)

    def lineage(self, returned: DriftResult) -> Lineage:
        """Return the evaluated predictions and their model version."""
        settings, day = self.hook.settings, f"{last_day(whole_day(self.as_of)).start:%Y-%m-%d}"
        log = predictions_data(settings, self.spec.name, day)
        if self.spec.watch is not None:
            return [log], []
        return [log, version_data(settings, self.spec.name, returned["version"])], []


class EvidentlyReportOperator(ModelOperator):
    """Render Evidently's report of the window and store it on the MLflow run of the day and in Evidently's workspace.

    Returns the address of that run.
    """

    kind = "drift"
    operator_extra_links = (ReportLink(), MlflowRunLink())

    def run_step(self, context: Context) -> str:
        """Render the report."""
        return str(self.perform("drift_report")["url"])
