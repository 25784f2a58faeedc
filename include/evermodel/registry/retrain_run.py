"""A retrain's identity and its run in MLflow: what every step, report and message of one retrain shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from evermodel.core.settings import Settings
from evermodel.registry.tags import AS_OF, OUTCOME, REASON, RetrainOutcome
from evermodel.registry.tracking import keyed_run
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, Run

RETRAIN = "retrain"
DECISION_FILE = "decision.json"


@dataclass(frozen=True)
class RetrainRun:
    """One retrain: its model, its key, and the moment as of which it sees the world.

    Parameters
    ----------
    run_key
        Idempotency key; everything that the retrain leaves behind carries it.
    as_of
        No data and no label known later is used.
    reason
        Why it was started.
    """

    spec: ModelSpec
    run_key: str
    as_of: datetime
    reason: str
    client: MlflowClient
    settings: Settings

    def mlflow_run(self, tags: Mapping[str, str] | None = None) -> Run:
        """Find or make the MLflow run of this retrain."""
        name = f"retrain {self.as_of:%Y-%m-%d}"
        known = {AS_OF: self.as_of.isoformat(), REASON: self.reason}
        return keyed_run(
            self.client, self.spec.name, self.run_key, kind=RETRAIN, name=name, tags={**known, **(tags or {})}
        )

    def finish(self, outcome: RetrainOutcome) -> None:
        """End the MLflow run."""
        run = self.mlflow_run({OUTCOME: outcome})
        self.client.set_terminated(run.info.run_id, "FINISHED")
