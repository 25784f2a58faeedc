"""Train one candidate on a snapshot and log it: its measures, its trials, and the model that ships."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from evermodel.core.errors import TrainingError
from evermodel.core.formats import JsonData, json_digest
from evermodel.core.settings import Settings, trusted_packages
from evermodel.core.time_limit import Emit, run_limited
from evermodel.data.snapshots.snapshot import read_snapshot
from evermodel.modeling.boosting.libraries import LIBRARIES, distribution_of
from evermodel.modeling.estimators import iterations_of
from evermodel.modeling.fitting import (
    Fitted,
    TrainingJob,
    TrainingRows,
    can_stop_early,
    rows_from,
    stops_early,
    training_job,
)
from evermodel.modeling.model_store import is_ready, log_model, models_of
from evermodel.modeling.networks.kept_epochs import EpochStore, KeptEpoch, keeping_epochs
from evermodel.modeling.own_packages import distribution_pin
from evermodel.modeling.search import Trial
from evermodel.modeling.tasks import FittedPipeline, primary
from evermodel.modeling.trials import TrialLog, candidate_run, log_measures
from evermodel.registry.tags import CHOSEN, TRAINED
from evermodel.registry.tracking import ending_run
from evermodel.spec import CandidateSpec, ModelSpec
from evermodel.spec.window import Window

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd

    from evermodel.registry.client import MlflowClient, Run

_LOG = logging.getLogger(__name__)
_REQUIREMENTS = ("scikit-learn", "skops", "numpy", "pandas", "scipy")


@dataclass(frozen=True)
class TrainedCandidate(JsonData):
    """One candidate's outcome.

    Parameters
    ----------
    model_uri, mlflow_run
        The logged model and the MLflow run that made it.
    metric, validation
        Name of the primary metric, and its value on the validation part (its mean, where there are several folds).
    params
        The parameters that it was fitted with: declared, searched and early-stopped ones.
    threshold
        From which on a probability is decided positive; None without a rule for decisions.
    """

    candidate: str
    model_uri: str
    mlflow_run: str
    metric: str
    validation: float
    params: dict[str, Any] = field(default_factory=dict)
    threshold: float | None = None

    def record(self, snapshot: str, as_of: datetime) -> tuple[str, str]:
        """Return the tag of the retrain's run, and its value, by which a later step recognizes this outcome."""
        return TRAINED + self.candidate, json_digest([self.to_json(), snapshot, as_of.isoformat()])


def rows_of(spec: ModelSpec, snapshot: str, window: Window, settings: Settings) -> TrainingRows:
    """Read one part of a snapshot."""
    return rows_from(spec, read_snapshot(snapshot, settings, window, spec.time_column))


def train_candidate(
    spec: ModelSpec,
    candidate: CandidateSpec,
    *,
    snapshot: str,
    as_of: datetime,
    run_key: str,
    parent_run: str,
    client: MlflowClient,
    settings: Settings,
    recorded: str = "",
) -> TrainedCandidate:
    """Choose a candidate's parameters, measure it before the test part, fit it as it ships, and log that model.

    The test part is not read here. Fitting is done in a child process that is ended at the candidate's time limit.

    Parameters
    ----------
    snapshot
        Path of the snapshot, relative to the lake.
    run_key
        Idempotency key of the retrain; a candidate that runs again goes on in its MLflow run, and with the
        parameters that its search chose if it came so far.
    recorded
        What the retrain's run says of this candidate (`TrainedCandidate.record`), if it was trained before. A model
        with that very outcome is not logged again.

    Raises
    ------
    TrainingError
        A part is empty or of one class, or the estimator throws, gives no finite metric, or takes too long.
    """
    job = _training_job(spec, candidate, snapshot, as_of, settings)
    key = f"{run_key}/{candidate.name}"
    run = candidate_run(client, job, key, parent_run, snapshot)
    job = _with_chosen(job, run)
    run_id = run.info.run_id
    with ending_run(client, run):
        log_measures(client, run, params=_fixed_params(job))
        epochs = EpochStore(
            settings.lake / "epochs" / spec.name,
            json_digest([run_key, snapshot])[:16],
            candidate.name,
        )
        fitted = _fit_limited(client, job, run, key, epochs)
        points = log_measures(client, run, params=fitted.params, folds=fitted.folds, metrics=_counts(job))
        example = job.rows.frame.tail(5).reset_index(drop=True)
        answers = _answers(fitted.pipeline, example)
        metric = spec.gate.metric
        outcome = partial(
            TrainedCandidate, candidate.name, mlflow_run=run_id, metric=metric,
            validation=fitted.metrics[metric], params=fitted.params, threshold=fitted.threshold,
        )  # fmt: skip
        earlier = models_of(client, run)
        ready = (outcome(model_uri=uri) for uri, model in earlier.items() if is_ready(model))
        same = next((one for one in ready if one.record(snapshot, as_of)[1] == recorded), None)
        if same is not None:
            return same
        unused = (model for model in earlier.values() if not (recorded and is_ready(model)))
        uri = log_model(
            client, run_id, fitted.pipeline, example, answers, _pins(spec, candidate), points, fitted.threshold,
            next(unused, None), spec.own_code,
        )  # fmt: skip
        epochs.clear()
    return outcome(model_uri=uri)


def fit_final(
    spec: ModelSpec, candidate: CandidateSpec, *, snapshot: str, as_of: datetime, settings: Settings
) -> Any:
    """Fit a candidate as it is shipped, with its parameters as they are; the same snapshot gives the same model.

    Raises
    ------
    TrainingError
        A part is empty or of one label, or the estimator throws.
    """
    return _training_job(spec, candidate, snapshot, as_of, settings).ship(dict(candidate.params))


def best_of(spec: ModelSpec, trained: list[TrainedCandidate]) -> TrainedCandidate:
    """Return the candidate with the best validation metric; the spec's order breaks ties.

    Raises
    ------
    TrainingError
        No candidate was trained, or none has a finite metric.
    """
    if not trained:
        raise TrainingError(
            f"model {spec.name}: no candidate could be trained", "see the logs of the mapped `train` tasks"
        )
    sound = [candidate for candidate in trained if np.isfinite(candidate.validation)]
    if not sound:
        raise TrainingError(
            f"model {spec.name}: no candidate has a finite {spec.gate.metric} on the validation part",
            "see the candidates' runs in MLflow",
        )
    sign = 1 if primary(spec).higher_is_better else -1
    return max(sound, key=lambda candidate: sign * candidate.validation)


def _training_job(
    spec: ModelSpec, candidate: CandidateSpec, snapshot: str, as_of: datetime, settings: Settings
) -> TrainingJob:
    return training_job(spec, candidate, as_of, lambda window: rows_of(spec, snapshot, window, settings))


def _with_chosen(job: TrainingJob, run: Run) -> TrainingJob:
    """Take over what an earlier attempt's search chose."""
    if job.candidate.search is None or CHOSEN not in run.data.tags:
        return job
    params = json.loads(run.data.tags[CHOSEN])
    known = job.candidate.model_copy(update={"params": params, "search": None})
    return TrainingJob(job.spec, known, job.rows, job.as_of)


def _fit_limited(client: MlflowClient, job: TrainingJob, run: Run, key: str, epochs: EpochStore) -> Fitted:
    spec, candidate = job.spec, job.candidate
    if spec.training.early_stopping and not can_stop_early(candidate):
        _LOG.info(
            "candidate %s: training.early_stopping applies to boosted trees and networks only, ignored",
            candidate.name,
        )
    log, known = TrialLog(client, run, key) if candidate.search else None, epochs.read()

    def fit(emit: Emit) -> Fitted:
        with keeping_epochs(known, emit):
            return job.run(emit)

    def receive(event: Trial | KeptEpoch) -> None:
        if isinstance(event, KeptEpoch):
            epochs.write(event)
        elif log is not None:
            log.write(event)

    fitted = run_limited(fit, candidate.time_limit.total_seconds(), _name(job), receive)
    if log is not None:
        log.close()
        client.set_tag(run.info.run_id, CHOSEN, json.dumps(fitted.searched))
    return fitted


def _name(job: TrainingJob) -> str:
    return f"model {job.spec.name}: candidate {job.candidate.name}"


def _fixed_params(job: TrainingJob) -> dict[str, Any]:
    """Return the parameters that neither a search nor early stopping will change."""
    candidate = job.candidate
    open_names: set[str | None] = set(candidate.search.space) if candidate.search else set()
    if stops_early(job.spec, candidate, candidate.params):
        open_names.add(iterations_of(candidate))
    return {name: value for name, value in candidate.params.items() if name not in open_names}


def _counts(job: TrainingJob) -> dict[str, float]:
    train = int((job.rows.times < job.rows.boundary(job.folds[-1].check.start)).sum())
    return {"train_rows": train, "validation_rows": len(job.rows.labels) - train}


def _pins(spec: ModelSpec, candidate: CandidateSpec) -> Iterable[str]:
    pins = {name: version(name) for name in _REQUIREMENTS}
    library = candidate.package
    if library in LIBRARIES:
        name, number = distribution_of(library)
        pins |= {
            name: number,
            "evermodel": version("evermodel"),
        }  # evermodel has the class that asks the library
    own = {candidate.package, *(name.partition(".")[0] for name in spec.trusted_types)} & trusted_packages()
    return [
        *(f"{name}=={number}" for name, number in pins.items()),
        *filter(None, map(distribution_pin, sorted(own))),
    ]


def _answers(pipeline: FittedPipeline, frame: pd.DataFrame) -> Any:
    return (pipeline.predict_proba if hasattr(pipeline, "predict_proba") else pipeline.predict)(frame)
