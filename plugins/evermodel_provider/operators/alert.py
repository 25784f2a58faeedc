"""Tell people about problems: one incident for each kind, and nothing twice."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel_provider.operators.base import ModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.alerts.incidents.handler import Handled, IncidentHandler
    from evermodel.monitoring.drift.verdict import DriftVerdict
    from evermodel.pipelines.drift import DriftRun


class DriftAlertOperator(ModelOperator):
    """Open, escalate, remind of, update or resolve the model's incidents, in Slack or, without a connection, in the outbox.

    Messages are queued before they are sent; what Slack does not take now is sent later, in order, and the task goes
    on. A calm window sends nothing. Returns action, severity and delivery of the most severe kind of problem, and all
    of them under ``incidents``.
    """

    def run_step(self, context: Context) -> dict[str, Any]:
        """Compare the verdict with what is open, queue what there is to say, and send what waits."""
        from evermodel_provider.notifications.delivery import require, send_queue

        watch = self.drift_watch()
        verdict, settings = watch.verdict(), self.hook.settings
        desk = self._desk(watch, verdict, context)
        with tempfile.TemporaryDirectory() as folder:
            handled = desk.handle(verdict, watch.as_of, Path(folder))
        reports = send_queue(settings)
        desk.remember_deliveries(handled)
        incidents = [self._said(done) for done in handled]
        for said in incidents:
            self.log.info("%s: %s, %s", said["kind"], said["severity"], said["action"])
        require(self.spec, reports)
        first = incidents[0]
        return {**{key: first[key] for key in ("action", "severity", "delivery")}, "incidents": incidents}

    def _said(self, done: Handled) -> dict[str, Any]:
        from evermodel_provider.notifications.delivery import delivery_of

        delivery = delivery_of(self.spec, self.hook.settings, done.message) if done.message else None
        return {**asdict(done), "delivery": delivery}

    def _desk(self, watch: DriftRun, verdict: DriftVerdict, context: Context) -> IncidentHandler:
        from evermodel.pipelines.incidents import incident_handler

        run = context["dag_run"]
        address = f"{self.hook.settings.airflow_url}/dags/{run.dag_id}/runs/{run.run_id}"
        return incident_handler(watch, verdict, {"Airflow run": address})
