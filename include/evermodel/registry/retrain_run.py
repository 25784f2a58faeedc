"""A retrain's identity and its MLflow run, shared by its steps, reports and messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from evermodel.core.errors import ForeignInputError
from evermodel.core.settings import Settings
from evermodel.registry.tags import AS_OF, OUTCOME, REASON, RUN_KEY, VERSION, RetrainOutcome
from evermodel.registry.tracking import find_run, keyed_run
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion, Run

RETRAIN = "retrain"
DECISION_FILE = "decision.json"


@dataclass(frozen=True)
class RetrainRun:
    """One retrain: its model, its key, and its moment.

    Parameters
    ----------
    run_key
        Idempotency key, stored with all results of the retrain.
    as_of
        Data and labels known later are excluded.
    """

    spec: ModelSpec
    run_key: str
    as_of: datetime
    reason: str
    client: MlflowClient
    settings: Settings

    def mlflow_run(self, tags: Mapping[str, str] | None = None) -> Run:
        """Find or create the MLflow run of this retrain."""
        name = f"retrain {self.as_of:%Y-%m-%d}"
        known = {AS_OF: self.as_of.isoformat(), REASON: self.reason}
        return keyed_run(
            self.client, self.spec.name, self.run_key, kind=RETRAIN, name=name, tags={**known, **(tags or {})}
        )

    def read_run(self) -> Run:
        """Return the MLflow run as it is: an ended one stays ended."""
        return find_run(self.client, self.spec.name, self.run_key, kind=RETRAIN) or self.mlflow_run()

    def require(self, given: Mapping[str, str]) -> None:
        """Raise `ForeignInputError` unless the run's tags record what a step was given: users may write XComs."""
        tags = self.mlflow_run().data.tags
        for name, value in given.items():
            if tags.get(name) != value:
                raise ForeignInputError(
                    f"run {self.run_key}: {name} is {tags.get(name)}, but the step was given {value}",
                    "clear the task whose output it is (extract, validate or train), so that it runs again",
                )

    def finish(self, outcome: RetrainOutcome) -> None:
        """End the MLflow run."""
        run = self.mlflow_run({OUTCOME: outcome})
        self.client.set_terminated(run.info.run_id, "FINISHED")

    @contextmanager
    def failing(self) -> Iterator[None]:
        """End the MLflow run as failed if the block raises; the same run key resumes it."""
        try:
            yield
        except BaseException:
            with suppress(Exception):  # the error itself says more than that MLflow is away, too
                run = find_run(self.client, self.spec.name, self.run_key, kind=RETRAIN)
                if run is not None:
                    self.client.set_terminated(run.info.run_id, "FAILED")
            raise


def retrain_of(client: MlflowClient, version: ModelVersion) -> Run | None:
    """Return the MLflow run of the retrain that registered a version."""
    return find_run(client, version.name, version.tags.get(RUN_KEY, ""), kind=RETRAIN)


def note_outcome(client: MlflowClient, version: ModelVersion, outcome: RetrainOutcome) -> None:
    """Record the outcome of a version on the run of its retrain, if it still exists."""
    run = retrain_of(client, version)
    if run is not None:
        client.set_tag(run.info.run_id, OUTCOME, outcome)
        client.set_tag(run.info.run_id, VERSION, str(version.version))
