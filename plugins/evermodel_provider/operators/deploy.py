"""Make a registered version the champion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evermodel_provider.operators.base import RetrainStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class DeployOperator(RetrainStepOperator):
    """Promote a version to champion, if the champion is still the one it was judged against.

    Serving processes pick the change up by themselves. Returns the promotion.

    :param version: The version, as `RegisterOperator` returned it. (templated)
    :param by: Who wants it, where nobody was asked. (templated)
    :param approval: The answer that `ApproveOperator` pushed. It must be a yes to this very version, and to the decision
        as it is now. (templated)
    """

    template_fields: Sequence[str] = (*RetrainStepOperator.template_fields, "version", "by", "approval")

    def __init__(self, *, version: str, by: str = "auto", approval: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version = version
        self.by = by
        self.approval = approval

    def run_step(self, context: Context) -> dict[str, Any]:
        """Promote the version."""
        from dataclasses import asdict

        from evermodel.approval import Approval

        answer = Approval(**self.approval) if self.approval else None
        promotion = self.retrain().deploy(str(self.version), self.by, answer)
        self.log.info(
            "Version %s is champion now (before: %s)", promotion.version, promotion.previous or "none"
        )
        return asdict(promotion)
