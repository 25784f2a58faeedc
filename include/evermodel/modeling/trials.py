"""The trials of a search as runs in MLflow, nested in the candidate's run; one run a trial, however often it is tried."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from evermodel.core.formats import json_digest
from evermodel.modeling.fitting import TrainingJob
from evermodel.modeling.search import Trial, mean_of
from evermodel.registry.tags import ESTIMATOR, KIND, PROBLEM, RUN_KEY, STATE, TRAINING_DIGEST
from evermodel.registry.tracking import find_run, keyed_run, paged

if TYPE_CHECKING:
    from evermodel.registry.client import MetricPoint, MlflowClient, Run

TRIAL = "trial"
_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


class TrialLog:
    """Writes trials below one candidate's run.

    A task that runs again tries the same parameters in the same order: a trial's run is used again, or replaced if
    its parameters are others (MLflow never changes a logged parameter).

    Parameters
    ----------
    key
        Run key of the candidate; trial 3 has ``<key>/trial-3``.
    """

    def __init__(self, client: MlflowClient, parent: Run, key: str) -> None:
        self._client, self._parent, self._key = client, parent, key
        self._known = {run.data.tags.get(RUN_KEY, ""): run for run in self._nested()}

    def write(self, trial: Trial) -> None:
        """Write one trial with three requests: the run, everything measured, the end."""
        from mlflow.entities import Metric, Param, RunTag

        key = f"{self._key}/trial-{trial.number}"
        params = {f"params.{name}": str(value) for name, value in trial.params.items()}
        run_id = self._run(key, trial, params)
        metrics = [
            Metric(f"fold_{name}", value, trial.ended, step)
            for step, fold in enumerate(trial.folds)
            for name, value in fold.items()
        ]
        metrics += [Metric(f"validation_{name}", value, trial.ended, 0) for name, value in trial.mean.items()]
        tags = {STATE: trial.state, PROBLEM: trial.problem[:1000]}
        self._client.log_batch(
            run_id,
            metrics=metrics,
            params=[Param(*item) for item in params.items()],
            tags=[RunTag(*item) for item in tags.items()],
        )
        self._client.set_terminated(run_id, _STATUS[trial.state], end_time=trial.ended)

    def close(self) -> None:
        """Remove trials of an earlier attempt that this one did not come to."""
        for run in self._known.values():
            self._client.delete_run(run.info.run_id)
        self._known = {}

    def _run(self, key: str, trial: Trial, params: dict[str, str]) -> str:
        known = self._known.pop(key, None)
        if known is not None and known.data.params.items() <= params.items():
            return str(known.info.run_id)
        if known is not None:
            self._client.delete_run(known.info.run_id)
        tags = {RUN_KEY: key, KIND: TRIAL, "mlflow.parentRunId": self._parent.info.run_id}
        made = self._client.create_run(
            self._parent.info.experiment_id,
            start_time=trial.started,
            tags=tags,
            run_name=f"trial {trial.number}",
        )
        return str(made.info.run_id)

    def _nested(self) -> list[Run]:
        nested = f"tags.`mlflow.parentRunId` = '{self._parent.info.run_id}' and tags.`{KIND}` = '{TRIAL}'"
        experiment = self._parent.info.experiment_id
        return list(paged(self._client.search_runs, [experiment], nested, max_results=1000))


CANDIDATE = "candidate"


def candidate_run(client: MlflowClient, bench: TrainingJob, key: str, parent: str, snapshot: str) -> Run:
    """Find or make the candidate's run; one that was made from another spec or snapshot steps aside."""
    spec, candidate = bench.spec, bench.candidate
    digest = json_digest([spec.digest, candidate.model_dump(mode="json"), snapshot])[:16]
    found = find_run(client, spec.name, key, kind=CANDIDATE)
    if found is not None and found.data.tags.get(TRAINING_DIGEST, digest) != digest:
        # MLflow never changes a logged parameter, so the old run is kept under another key.
        client.set_tag(found.info.run_id, RUN_KEY, f"{key}/replaced-{found.info.run_id}")
    return keyed_run(
        client,
        spec.name,
        key,
        kind=CANDIDATE,
        name=candidate.name,
        parent=parent,
        tags={ESTIMATOR: candidate.estimator, TRAINING_DIGEST: digest},
    )


def log_measures(
    client: MlflowClient,
    run: Run,
    *,
    params: dict[str, Any],
    folds: list[dict[str, float]] | None = None,
    metrics: dict[str, float] | None = None,
) -> list[MetricPoint]:
    """Log parameters, the metrics of each fold with their mean, and further metrics; return those of no fold."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    values = {f"validation_{name}": value for name, value in mean_of(folds or []).items()}
    points = [Metric(name, value, now, 0) for name, value in {**values, **(metrics or {})}.items()]
    several = enumerate(folds) if folds is not None and len(folds) > 1 else ()
    by_fold = [
        Metric(f"fold_{name}", value, now, step) for step, fold in several for name, value in fold.items()
    ]
    client.log_batch(
        run.info.run_id,
        metrics=points + by_fold,
        params=[Param(f"params.{name}", str(value)) for name, value in params.items()],
    )
    return points
