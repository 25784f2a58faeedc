"""Extraction of a retrain's snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evermodel_provider.column_lineage import snapshot_columns
from evermodel_provider.lineage import snapshot_data, source_data
from evermodel_provider.links import MlflowRunLink
from evermodel_provider.metrics import measure
from evermodel_provider.operators.base import RetrainStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel_provider.operators.base import Lineage
    from evermodel_provider.results import SnapshotResult


class ExtractOperator(RetrainStepOperator):
    """Extract the data of a retrain into an immutable snapshot, tracked and pushed by DVC.

    Returns a `SnapshotResult`: path in the lake, digest, md5, rows and window.
    """

    kind = "training"
    operator_extra_links = (MlflowRunLink(),)

    def run_step(self, context: Context) -> SnapshotResult:
        """Take the snapshot."""
        snapshot: SnapshotResult = self.perform("extract", airflow_run=context["dag_run"].run_id)
        window = f"{snapshot['start']} to {snapshot['end']}"
        self.log.info("Snapshot %s: %d rows, %s", snapshot["path"], snapshot["rows"], window)
        measure(self.spec.name, extracted_rows=snapshot["rows"])
        return snapshot

    def lineage(self, returned: SnapshotResult) -> Lineage:
        """Return the source as input and the snapshot, with what each column comes from, as output."""
        columns = snapshot_columns(self.spec)
        return source_data(self.spec), [snapshot_data(self.hook.settings, returned, columns)]
