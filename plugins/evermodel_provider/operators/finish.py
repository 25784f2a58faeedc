"""End a retrain: note the outcome in MLflow and tell people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evermodel_provider.operators.base import RetrainStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.gate.decision import Decision


class RetrainReportOperator(RetrainStepOperator):
    """Report how a retrain ended: a new champion, or why the old one stays.

    Returns the outcome.

    :param version: The registered version, if there is one. (templated)
    :param approval: The answer that `ApproveOperator` pushed, if it was asked. (templated)
    :param promotion: What `DeployOperator` returned, if it ran. (templated)
    """

    template_fields: Sequence[str] = (
        *RetrainStepOperator.template_fields,
        "version",
        "approval",
        "promotion",
    )

    def __init__(
        self, *, version: Any = None, approval: Any = None, promotion: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.version = version
        self.approval = approval
        self.promotion = promotion

    def run_step(self, context: Context) -> dict[str, Any]:
        """Report the outcome."""
        from evermodel.alerts.retrain_message import retrain_message
        from evermodel_provider.notifications.office import tell

        retrain = self.retrain()
        outcome = self._outcome(retrain.decision(), context)
        ended = "deployed" if self.promotion else ("rejected" if self._rejected() else "kept the champion")
        retrain.finish(ended)
        message, url = retrain_message(outcome), next(iter(outcome["links"].values()), "")
        delivery = tell(self.spec, self.hook.settings, "retrain", message, url)
        return {"outcome": ended, "version": outcome["version"], "delivery": delivery}

    def _version_link(self, model: str) -> dict[str, str]:
        from evermodel.tracking import version_url

        if not self.version:
            return {}
        return {"Model version": version_url(self.hook.settings.tracking_uri, model, str(self.version))}

    def _rejected(self) -> bool:
        return bool(self.approval) and not self.approval["approved"]

    def _approval_word(self) -> str:
        if not self.approval:
            return "not asked"
        if self.approval["by"] == "auto":
            return "auto"
        return "approved" if self.approval["approved"] else "rejected"

    def _outcome(self, decision: Decision, context: Context) -> dict[str, Any]:
        from evermodel.evidence.links import evidence_links

        run, settings = context["dag_run"], self.hook.settings
        gain = decision.gain or (None, None, None)
        return {
            "model": decision.model,
            "run_key": decision.run_key,
            "reason": str(self.reason),
            "verdict": decision.verdict,
            "shipped": bool(self.promotion),
            "version": self.version and str(self.version),
            "previous": decision.parent,
            "metric": decision.metric,
            "challenger": decision.challenger[0],
            "champion": decision.champion[0] if decision.champion else None,
            "difference": gain[0],
            "low": gain[1],
            "high": gain[2],
            "rows": decision.rows,
            "gates": [
                {
                    "name": g.name,
                    "verdict": g.verdict,
                    "value": g.value,
                    "threshold": g.threshold,
                    "detail": g.detail,
                }
                for g in decision.gates
            ],
            "approval": self._approval_word(),
            "by": self.approval["by"] if self.approval else "",
            "as_of": self.as_of[:10],
            "links": {
                **evidence_links(
                    settings.tracking_uri, self.retrain().mlflow_run(), registered=bool(self.version)
                ),
                **self._version_link(decision.model),
                "Airflow run": f"{settings.airflow_url}/dags/{run.dag_id}/runs/{run.run_id}",
            },
        }
