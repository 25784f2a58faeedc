"""Alerts on a model's problems: one incident per kind of problem."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from evermodel_provider.operators.base import ModelOperator, run_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.alerts.incidents.handler import Handled, IncidentHandler
    from evermodel.monitoring.drift.verdict import DriftVerdict
    from evermodel.pipelines.drift import MonitoringRun
    from evermodel_provider.results import AlertResult, IncidentResult


class DriftAlertOperator(ModelOperator):
    """Open, escalate, remind of, update or resolve the model's incidents, in Slack or, without a connection, in the outbox.

    Messages are queued before they are sent; messages that Slack refuses are sent later, in order, and the task succeeds.
    A quiet window sends nothing. Returns an `AlertResult`: action, severity and delivery of the most
    severe kind of problem, and all of them under ``incidents``.
    """

    def run_step(self, context: Context) -> AlertResult:
        """Compare the verdict with the open incidents, queue messages, and send the queue."""
        from evermodel_provider.notifications.delivery import require, send_queue

        watch = self.drift_watch()
        verdict, settings = watch.verdict(), self.hook.settings
        handler = self._handler(watch, verdict, context)
        with tempfile.TemporaryDirectory() as folder:
            handled = handler.handle(verdict, watch.as_of, Path(folder))
        reports = send_queue(settings)
        handler.remember_deliveries(handled)
        incidents = [self._described(done) for done in handled]
        for incident in incidents:
            self.log.info("%s: %s, %s", incident["kind"], incident["severity"], incident["action"])
        require(self.spec, reports)
        first = incidents[0]
        return {
            "action": first["action"],
            "severity": first["severity"],
            "delivery": first["delivery"],
            "incidents": incidents,
        }

    def _described(self, done: Handled) -> IncidentResult:
        from evermodel_provider.notifications.delivery import delivery_of

        delivery = delivery_of(self.spec, self.hook.settings, done.message) if done.message else None
        return cast("IncidentResult", {**asdict(done), "delivery": delivery})

    def _handler(self, watch: MonitoringRun, verdict: DriftVerdict, context: Context) -> IncidentHandler:
        from evermodel.pipelines.drift import incident_handler
        from evermodel_provider.notifications.slack_app import slack_users

        links = {"Airflow run": run_url(context, self.hook.settings)}
        return incident_handler(watch, verdict, links, answerable=bool(slack_users()))
