"""Registration of the challenger as a model version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evermodel_provider.lineage import snapshot_data, version_data
from evermodel_provider.links import ModelVersionLink
from evermodel_provider.metrics import count
from evermodel_provider.operators.base import SnapshotStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel_provider.operators.base import Lineage


class RegisterOperator(SnapshotStepOperator):
    """Register the challenger of the decision, once per run key, with its lineage as tags.

    Returns the version.
    """

    operator_extra_links = (ModelVersionLink(),)

    def run_step(self, context: Context) -> str:
        """Register the challenger."""
        version = str(self.perform("register", snapshot=self.snapshot)["version"])
        self.log.info("Registered %s version %s", self.spec.name, version)
        count(self.spec.name, "registered_total")
        return version

    def lineage(self, returned: str) -> Lineage:
        """Return the snapshot as input and the version as output."""
        settings = self.hook.settings
        return [snapshot_data(settings, self.snapshot)], [version_data(settings, self.spec.name, returned)]
