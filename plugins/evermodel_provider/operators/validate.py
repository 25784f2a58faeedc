"""Validation of a retrain's snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from evermodel.core.errors import ValidationError
from evermodel_provider.lineage import snapshot_data
from evermodel_provider.metrics import measure
from evermodel_provider.operators.base import SnapshotStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel_provider.operators.base import Lineage
    from evermodel_provider.results import SnapshotResult


class ValidateOperator(SnapshotStepOperator):
    """Check a snapshot against spec, schema file and the last good snapshot; a fatal check stops the run before training.

    Returns the `SnapshotResult` for the next step, as `ExtractOperator`: the same one, or one without the quarantined
    rows. The report is stored on the MLflow run.
    """

    kind = "training"

    def run_step(self, context: Context) -> SnapshotResult:
        """Validate the snapshot."""
        try:
            report = self.perform("validate", snapshot=self.snapshot)
        except ValidationError as error:
            measure(self.spec.name, failed_checks=error.failed)
            raise
        measure(
            self.spec.name,
            failed_checks=0,
            warned_checks=report["warned"],
            quarantined_rows=report["quarantined_rows"],
        )
        for line in report["lines"]:
            self.log.warning("%s", line)
        self.log.info("%d checks on %d rows: %s", report["checks"], report["rows"], report["verdict"])
        return cast("SnapshotResult", report["snapshot"])

    def lineage(self, returned: SnapshotResult) -> Lineage:
        """Return the two snapshots if rows were quarantined."""
        if returned["digest"] == self.snapshot["digest"]:
            return [], []
        settings = self.hook.settings
        return [snapshot_data(settings, self.snapshot)], [snapshot_data(settings, returned)]
