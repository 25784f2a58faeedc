"""Validate the snapshot of a retrain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evermodel_provider.operators.base import RetrainStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ValidateOperator(RetrainStepOperator):
    """Check a snapshot against the spec; a failed check stops the run before training.

    Returns the number of rows and of checks. The whole report is kept on the MLflow run.

    :param snapshot: What `ExtractOperator` returned. (templated)
    """

    template_fields: Sequence[str] = (*RetrainStepOperator.template_fields, "snapshot")

    def __init__(self, *, snapshot: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot

    def run_step(self, context: Context) -> dict[str, int]:
        """Validate the snapshot."""
        report = self.retrain().validate(self.snapshot["path"])
        self.log.info("All %d checks passed on %d rows", len(report.checks), report.rows)
        return {"rows": report.rows, "checks": len(report.checks)}
