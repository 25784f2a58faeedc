"""End of a retrain: the outcome in MLflow and a message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evermodel_provider.links import DecisionLink, MlflowRunLink, ModelVersionLink
from evermodel_provider.operators.base import RetrainStepOperator, run_url
from evermodel_provider.run_notes import leave_note, told_in

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.alerts.retrain_message import RetrainSummary
    from evermodel_provider.results import RetrainReportResult


class RetrainReportOperator(RetrainStepOperator):
    """Report how a retrain ended: with a new champion, or why the champion stays.

    Returns a `RetrainReportResult`: outcome, version, and where the message went.

    :param version: The registered version, if there is one. (templated)
    :param approval: What `ApproveOperator` pushed, if it ran. (templated)
    :param promotion: What `DeployOperator` returned, if it ran. (templated)
    """

    template_fields: Sequence[str] = (
        *RetrainStepOperator.template_fields,
        "version",
        "approval",
        "promotion",
    )
    objects = ("version", "approval", "promotion")
    operator_extra_links = (
        DecisionLink(),
        ModelVersionLink(),
        MlflowRunLink(),
    )

    def __init__(
        self, *, version: Any = None, approval: Any = None, promotion: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.version = version
        self.approval = approval
        self.promotion = promotion

    def run_step(self, context: Context) -> RetrainReportResult:
        """Report the outcome."""
        from evermodel.alerts.retrain_message import retrain_message
        from evermodel_provider.notifications.delivery import tell

        links = {"Airflow run": run_url(context, self.hook.settings)}
        ended = self.perform(
            "finish",
            version=self.version,
            approval=self.approval,
            promotion=self.promotion,
            links=links,
        )
        summary: RetrainSummary = ended["summary"]
        message, url = retrain_message(summary), next(iter(summary["links"].values()), "")
        said = f"{told_in(message)} Reason for the retrain: {summary['reason']}"
        leave_note(context, said, {"Decision": summary["links"].get("Decision", "")})
        delivery = tell(
            self.spec, self.hook.settings, "retrain", message, url, thread=summary.get("thread", "")
        )
        return {"outcome": ended["outcome"], "version": summary["version"], "delivery": delivery}
