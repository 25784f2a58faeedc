"""End of a retrain: the outcome in MLflow and a message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evermodel_provider.operators.base import RetrainStepOperator, run_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.alerts.retrain_message import RetrainSummary
    from evermodel.pipelines.retrain import Retrain
    from evermodel.registry.tags import RetrainOutcome


class RetrainReportOperator(RetrainStepOperator):
    """Report how a retrain ended: with a new champion, or why the champion stays.

    Returns the outcome.

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
        from evermodel_provider.notifications.delivery import tell

        retrain, ended = self.retrain(), self._ended()
        outcome = self._outcome(retrain, context, ended)
        retrain.finish(ended)
        message, url = retrain_message(outcome), next(iter(outcome["links"].values()), "")
        delivery = tell(self.spec, self.hook.settings, "retrain", message, url)
        return {"outcome": ended.value, "version": outcome["version"], "delivery": delivery}

    def _ended(self) -> RetrainOutcome:
        from evermodel.registry.tags import RetrainOutcome

        if self.promotion:
            return RetrainOutcome.ROLLING_OUT if "rollout" in self.promotion else RetrainOutcome.DEPLOYED
        rejected = self.approval and not self.approval["approved"]
        return RetrainOutcome.REJECTED if rejected else RetrainOutcome.KEPT

    def _outcome(self, retrain: Retrain, context: Context, ended: RetrainOutcome) -> RetrainSummary:
        from evermodel.pipelines.run_retrain import retrain_summary
        from evermodel.registry.approval import Approval

        return retrain_summary(
            retrain,
            version=str(self.version) if self.version else None,
            outcome=ended,
            approval=Approval(**self.approval) if self.approval else None,
            links={"Airflow run": run_url(context, self.hook.settings)},
        )
