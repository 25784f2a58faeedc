"""The MLflow run of one candidate: found or made by its key, and everything measured written with one request."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

from evermodel.fitting import Workbench
from evermodel.search import mean_of
from evermodel.tracking import RUN_KEY, find_run, keyed_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

CANDIDATE = "candidate"
_DIGEST = "evermodel.training_digest"


def candidate_run(client: MlflowClient, bench: Workbench, key: str, parent: str, snapshot: str) -> Run:
    """Find or make the candidate's run; one that was made from another spec or snapshot steps aside."""
    spec, candidate = bench.spec, bench.candidate
    made_from = json.dumps([spec.digest, candidate.model_dump(mode="json"), snapshot], sort_keys=True)
    digest = hashlib.sha256(made_from.encode()).hexdigest()[:16]
    found = find_run(client, spec.name, key, kind=CANDIDATE)
    if found is not None and found.data.tags.get(_DIGEST, digest) != digest:
        # MLflow never changes a logged parameter, so the old run is kept under another key.
        client.set_tag(found.info.run_id, RUN_KEY, f"{key}/replaced-{found.info.run_id}")
    return keyed_run(
        client,
        spec.name,
        key,
        kind=CANDIDATE,
        name=candidate.name,
        parent=parent,
        tags={"evermodel.estimator": candidate.estimator, _DIGEST: digest},
    )


def log_measures(
    client: MlflowClient,
    run: Run,
    *,
    params: dict[str, Any],
    folds: list[dict[str, float]] | None = None,
    metrics: dict[str, float] | None = None,
) -> None:
    """Log parameters, the metrics of each fold with their mean, and further metrics."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    values = {f"validation_{name}": value for name, value in mean_of(folds or []).items()}
    points = [Metric(name, value, now, 0) for name, value in {**values, **(metrics or {})}.items()]
    if folds is not None and len(folds) > 1:
        points += [
            Metric(f"fold_{name}", value, now, step)
            for step, fold in enumerate(folds)
            for name, value in fold.items()
        ]
    client.log_batch(
        run.info.run_id,
        metrics=points,
        params=[Param(f"params.{name}", str(value)) for name, value in params.items()],
    )
