"""The incident handler of a drift run: next messages and their links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from evermodel.alerts.incidents.handler import IncidentHandler
from evermodel.alerts.plot import drift_plot
from evermodel.alerts.publisher import clock, message_queue
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.retrain_policy import current_recommendation
from evermodel.registry.tracking import artifact_url, run_url, version_url

if TYPE_CHECKING:
    from evermodel.monitoring.problems import ProblemKind
    from evermodel.pipelines.drift import DriftRun

_NEXT = {
    "quality": "No automatic retrain because of bad data. Fix the source first, then rerun this window.",
    "serving": "Check the serving app and its logs; a retrain does not help.",
}
ASKED = "A retrain was requested; the result will be posted here."


def incident_handler(
    watch: DriftRun, verdict: DriftVerdict, links: Mapping[str, str], asked: str = ASKED
) -> IncidentHandler:
    """Return the handler for the problems of a verdict.

    Parameters
    ----------
    links
        Further links, after those to MLflow.
    asked
        What happens where the policy wants a retrain, in a sentence.
    """
    spec, day, uri = watch.spec, watch.mlflow_run(), watch.settings.tracking_uri
    bands = spec.drift.psi

    def next_step(kind: ProblemKind) -> str:
        # Whether a retrain follows is looked up only for messages.
        if kind in _NEXT:
            return _NEXT[kind]
        recommendation = current_recommendation(spec, verdict, watch.as_of, watch.client)
        return asked if recommendation.wanted else recommendation.note

    return IncidentHandler(
        spec=spec,
        client=watch.client,
        queue=message_queue(watch.settings),
        run_id=day.info.run_id,
        links={
            "Evidently report": artifact_url(uri, day, "evidently.html"),
            "MLflow run": run_url(uri, day),
            "Model version": version_url(uri, spec.name, verdict.version),
            **links,
        },
        next_step=next_step,
        draw=lambda path: drift_plot(verdict, path, bands=(bands.warning, bands.critical)),
        now=clock(),
    )
