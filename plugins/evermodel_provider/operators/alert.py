"""Tell people about drift: one message for one incident."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel_provider.operators.base import ModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.drift.verdict import DriftVerdict
    from evermodel.incidents import Action, Watchbook
    from evermodel.monitoring import DriftWatch


class DriftAlertOperator(ModelOperator):
    """Open, escalate, refresh or resolve the model's incident, in Slack or, without a connection, in the outbox.

    A calm window sends nothing. Returns the action, the severity and where the message went.
    """

    def run_step(self, context: Context) -> dict[str, Any]:
        """Compare the verdict with the open incident and send what is due."""
        from evermodel.incidents import alert_severity, read_watchbook, write_watchbook

        watch = self.drift_watch()
        verdict, book = watch.verdict(), read_watchbook(watch.client, self.spec.name)
        severity = alert_severity(verdict)
        action = book.next_action(severity, watch.as_of)
        delivery = None if action == "quiet" else self._send(action, watch, verdict, book, context)
        write_watchbook(watch.client, self.spec.name, book.after(action, severity, watch.as_of, delivery))
        self.log.info("Severity %s: %s", severity, "nothing to send" if action == "quiet" else action)
        return {"action": action, "severity": severity, "delivery": delivery}

    def _send(
        self, action: Action, watch: DriftWatch, verdict: DriftVerdict, book: Watchbook, context: Context
    ) -> dict[str, Any]:
        from evermodel.alerts.drift_message import drift_message
        from evermodel.alerts.plot import drift_plot
        from evermodel.alerts.resolved_message import resolved_message
        from evermodel.retrain_policy import current_wish
        from evermodel_provider.notifications.slack import Delivery, SlackSender

        alerts, bands = self.spec.alerts, self.spec.drift.psi
        sender = SlackSender(alerts.slack_connection, alerts.channel, self.hook.settings.outbox)
        links = self._links(watch, context)
        opened = book.incident.opened if book.incident else watch.as_of.isoformat()
        thread = book.incident.delivery.get("ts") if book.incident else None
        if action == "resolve":
            return asdict(sender.send(resolved_message(verdict, links, opened), thread=thread))
        wish = current_wish(self.spec, verdict, watch.as_of, watch.client)
        message = drift_message(verdict, links, wish.wanted, opened, "" if wish.wanted else wish.note)
        if action == "update" and book.incident:
            return asdict(sender.update(Delivery(**book.incident.delivery), message))
        with tempfile.TemporaryDirectory() as folder:
            image = drift_plot(verdict, Path(folder) / "drift.png", bands=(bands.warning, bands.critical))
            return asdict(sender.send(message, image, thread))

    def _links(self, watch: DriftWatch, context: Context) -> dict[str, str]:
        from evermodel.tracking import run_url

        settings, run = self.hook.settings, context["dag_run"]
        page = run_url(settings.tracking_uri, watch.mlflow_run())
        return {
            "Evidently report": f"{page}/artifacts/evidently.html",
            "MLflow run": page,
            "Airflow run": f"{settings.airflow_url}/dags/{run.dag_id}/runs/{run.run_id}",
        }
