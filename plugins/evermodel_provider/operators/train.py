"""Training of one candidate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evermodel_provider.lineage import candidate_data, snapshot_data
from evermodel_provider.links import MlflowRunLink
from evermodel_provider.metrics import measure
from evermodel_provider.operators.base import SnapshotStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel_provider.operators.base import Lineage
    from evermodel_provider.results import CandidateResult


class TrainOperator(SnapshotStepOperator):
    """Train one candidate of the spec on a snapshot; map it over the candidates' names.

    Returns a `CandidateResult`, with the logged model and its validation metric, or None for a candidate that is not selected.

    :param candidate: Name of the candidate in the spec. (templated)
    :param chosen: Candidates to train; the others are left out. (templated)
    """

    kind = "training"
    operator_extra_links = (MlflowRunLink(),)
    template_fields: Sequence[str] = (*SnapshotStepOperator.template_fields, "candidate", "chosen")
    objects = ("snapshot", "chosen")

    def __init__(self, *, candidate: str, chosen: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.candidate = candidate
        self.chosen = chosen

    def run_step(self, context: Context) -> CandidateResult | None:
        """Train the candidate."""
        if self.chosen and self.candidate not in self.chosen:
            # Not skipped: the trigger rule of the next step counts a skipped candidate as not done.
            self.log.info("%s is not selected for this run", self.candidate)
            return None
        began = time.monotonic()
        trained: CandidateResult = self.perform("train", snapshot=self.snapshot, candidate=self.candidate)
        self.log.info("%s: validation %s %.4f", self.candidate, trained["metric"], trained["validation"])
        measure(
            self.spec.name,
            part=self.candidate,
            training_seconds=time.monotonic() - began,
            validation_metric=trained["validation"],
        )
        return trained

    def lineage(self, returned: CandidateResult) -> Lineage:
        """Return the snapshot as input and the candidate as output."""
        settings, uri = self.hook.settings, returned["model_uri"]
        made = candidate_data(settings, self.spec.name, self.candidate, uri)
        return [snapshot_data(settings, self.snapshot)], [made]
