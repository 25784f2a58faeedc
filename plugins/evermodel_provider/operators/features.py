"""Writing of the features that the serving app looks up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from evermodel_provider.lineage import source_data
from evermodel_provider.metrics import measure
from evermodel_provider.operators.base import ModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel_provider.operators.base import Lineage
    from evermodel_provider.results import FeaturesResult


class WriteFeaturesOperator(ModelOperator):
    """Write the aggregates of the period that has begun at ``as_of``, by key, into the feature store.

    A repetition replaces them as a whole. The spec needs `features.online`. Returns a `FeaturesResult`.
    """

    kind = "scoring"

    def run_step(self, context: Context) -> FeaturesResult:
        """Write them."""
        began = time.monotonic()
        written: FeaturesResult = self.perform("write_features")
        for view in written["views"]:
            said = (view["view"], view["keys"], ", ".join(view["features"]), view["period"])
            self.log.info("%s: %d keys with %s, as of %s", *said)
        measure(self.spec.name, features_seconds=time.monotonic() - began)
        return written

    def lineage(self, returned: FeaturesResult) -> Lineage:
        """Return the source as input."""
        return source_data(self.spec), []
