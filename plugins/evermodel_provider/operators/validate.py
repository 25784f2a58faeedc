"""Validation of a retrain's snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evermodel.core.errors import ValidationError
from evermodel_provider.lineage import snapshot_data
from evermodel_provider.metrics import measure
from evermodel_provider.operators.base import SnapshotStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel_provider.operators.base import Lineage


class ValidateOperator(SnapshotStepOperator):
    """Check a snapshot against spec, schema file and the last good snapshot; a fatal check stops the run before training.

    Returns the snapshot for the next step, in the form of `ExtractOperator`: the same one, or one without the quarantined
    rows. The report is stored on the MLflow run.
    """

    def run_step(self, context: Context) -> dict[str, Any]:
        """Validate the snapshot."""
        from evermodel.data.snapshots.snapshot import Snapshot

        try:
            validated = self.retrain().validate(Snapshot(**self.snapshot))
        except ValidationError as error:
            measure(self.spec.name, failed_checks=error.failed)
            raise
        report = validated.report
        measure(
            self.spec.name,
            failed_checks=0,
            warned_checks=len(report.warnings),
            quarantined_rows=report.set_aside,
        )
        for check in (*report.warnings, *report.quarantines):
            self.log.warning("%s: %s", check.severity, check.line())
        self.log.info("%d checks on %d rows: %s", len(report.checks), report.rows, report.verdict)
        return validated.snapshot.to_json()

    def lineage(self, returned: dict[str, Any]) -> Lineage:
        """Return the two snapshots if rows were quarantined."""
        if returned["digest"] == self.snapshot["digest"]:
            return [], []
        settings = self.hook.settings
        return [snapshot_data(settings, self.snapshot)], [snapshot_data(settings, returned)]
