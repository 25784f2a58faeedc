"""Tell people about problems: one incident for each kind, and nothing twice."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel_provider.operators.base import ModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.drift.verdict import DriftVerdict
    from evermodel.incidents.desk import Handled, IncidentDesk
    from evermodel.monitoring import DriftWatch
    from evermodel.problems import ProblemKind

_NEXT = {
    "quality": "No automatic retrain: the data itself has problems. Fix the source first, then rerun this window.",
    "serving": "Look at the serving app and its logs; a retrain does not help here.",
}


class DriftAlertOperator(ModelOperator):
    """Open, escalate, remind of, update or resolve the model's incidents, in Slack or, without a connection, in the outbox.

    Messages are queued before they are sent; what Slack does not take now is sent later, in order, and the task goes
    on. A calm window sends nothing. Returns action, severity and delivery of the most severe kind of problem, and all
    of them under ``incidents``.
    """

    def run_step(self, context: Context) -> dict[str, Any]:
        """Compare the verdict with what is open, queue what there is to say, and send what waits."""
        from evermodel_provider.notifications.office import require, send_queue

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
        from evermodel_provider.notifications.office import delivery_of

        delivery = delivery_of(self.spec, self.hook.settings, done.message) if done.message else None
        return {**asdict(done), "delivery": delivery}

    def _desk(self, watch: DriftWatch, verdict: DriftVerdict, context: Context) -> IncidentDesk:
        from evermodel.alerts.dispatch import clock, message_queue
        from evermodel.alerts.plot import drift_plot
        from evermodel.incidents.desk import IncidentDesk

        bands, day = self.spec.drift.psi, watch.mlflow_run()
        return IncidentDesk(
            spec=self.spec,
            client=watch.client,
            queue=message_queue(self.hook.settings),
            run_id=day.info.run_id,
            links=self._links(watch, verdict, context),
            next_step=lambda kind: self._next_step(kind, watch, verdict),
            draw=lambda path: drift_plot(verdict, path, bands=(bands.warning, bands.critical)),
            now=clock(),
        )

    def _next_step(self, kind: ProblemKind, watch: DriftWatch, verdict: DriftVerdict) -> str:
        """Say what happens now; whether a retrain follows is asked only where people are told."""
        from evermodel.retrain_policy import current_wish

        if kind in _NEXT:
            return _NEXT[kind]
        wish = current_wish(self.spec, verdict, watch.as_of, watch.client)
        return "A retrain was requested; its result will be reported here." if wish.wanted else wish.note

    def _links(self, watch: DriftWatch, verdict: DriftVerdict, context: Context) -> dict[str, str]:
        from evermodel.tracking import artifact_url, run_url, version_url

        settings, run, day = self.hook.settings, context["dag_run"], watch.mlflow_run()
        return {
            "Evidently report": artifact_url(settings.tracking_uri, day, "evidently.html"),
            "MLflow run": run_url(settings.tracking_uri, day),
            "Model version": version_url(settings.tracking_uri, self.spec.name, verdict.version),
            "Airflow run": f"{settings.airflow_url}/dags/{run.dag_id}/runs/{run.run_id}",
        }
