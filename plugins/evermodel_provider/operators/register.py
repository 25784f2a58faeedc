"""Registration of the challenger as a model version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evermodel_provider.lineage import snapshot_data, version_data
from evermodel_provider.metrics import count
from evermodel_provider.operators.base import RetrainStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel_provider.operators.base import Lineage


class RegisterOperator(RetrainStepOperator):
    """Register the challenger of the decision, once per run key, with its lineage as tags.

    Returns the version.

    :param snapshot: What `ExtractOperator` returned. (templated)
    """

    template_fields: Sequence[str] = (*RetrainStepOperator.template_fields, "snapshot")

    def __init__(self, *, snapshot: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot

    def run_step(self, context: Context) -> str:
        """Register the challenger."""
        version = self.retrain().register(self.snapshot)
        self.log.info("Registered %s version %s", self.spec.name, version.version)
        count(self.spec.name, "registered_total")
        return str(version.version)

    def lineage(self, returned: str) -> Lineage:
        """Return the snapshot as input and the version as output."""
        settings = self.hook.settings
        return [snapshot_data(settings, self.snapshot)], [version_data(settings, self.spec.name, returned)]
