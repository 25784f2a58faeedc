"""Train one candidate on a snapshot: choose on the validation part, refit on train and validation together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from evermodel.errors import TrainingError
from evermodel.estimators import build_pipeline
from evermodel.frames import feature_frame
from evermodel.model_store import log_model
from evermodel.settings import Settings
from evermodel.snapshot import read_snapshot
from evermodel.spec import CandidateSpec, ModelSpec
from evermodel.tasks import measure, primary
from evermodel.tracking import active_run, keyed_run
from evermodel.window import Window, split_window, whole_day

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd
    from mlflow import MlflowClient

_REQUIREMENTS = ("scikit-learn", "skops", "numpy", "pandas", "scipy")


@dataclass(frozen=True)
class TrainedCandidate:
    """One candidate's outcome.

    Parameters
    ----------
    candidate
        Name in the spec.
    model_uri, mlflow_run
        The logged model and the MLflow run that made it.
    metric, validation
        Name of the primary metric, and its value on the validation part.
    """

    candidate: str
    model_uri: str
    mlflow_run: str
    metric: str
    validation: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for XCom."""
        return asdict(self)


def rows_of(
    spec: ModelSpec, snapshot: str, window: Window, settings: Settings
) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    """Read the features and labels of one part of a snapshot."""
    table = read_snapshot(snapshot, settings, window, spec.time_column)
    return feature_frame(spec, table), np.asarray(table[spec.label.column].to_numpy())


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
) -> TrainedCandidate:
    """Fit a candidate on the train part, measure it on validation, refit on both, and log that model.

    The test part is not read here.

    Parameters
    ----------
    snapshot
        Path of the snapshot, relative to the lake.
    run_key
        Idempotency key of the retrain; a candidate that runs again goes on in its MLflow run.
    parent_run
        MLflow run of the retrain.

    Raises
    ------
    TrainingError
        A part is empty or of one class, or the estimator throws.
    """
    import mlflow

    parts = split_window(spec, whole_day(as_of))
    train, train_labels = _part(spec, snapshot, parts.train, "train", settings)
    valid, valid_labels = _part(spec, snapshot, parts.validation, "validation", settings)
    run = keyed_run(
        client,
        spec.name,
        f"{run_key}/{candidate.name}",
        kind="candidate",
        name=candidate.name,
        parent=parent_run,
        tags={"evermodel.estimator": candidate.estimator},
    )
    with active_run(client, run):
        mlflow.log_params({f"params.{key}": value for key, value in candidate.params.items()})
        first = _fit(spec, candidate, train, train_labels)
        measured = _measured(spec, candidate, first, valid, valid_labels)
        values = {f"validation_{name}": value for name, value in measured.items()}
        mlflow.log_metrics({**values, "train_rows": len(train), "validation_rows": len(valid)})
        pipeline, example = _refit(spec, candidate, train, valid, train_labels, valid_labels)
        pins = [f"{package}=={version(package)}" for package in _REQUIREMENTS]
        uri = log_model(pipeline, example, _answers(pipeline, example), pins)
    return TrainedCandidate(
        candidate.name, uri, run.info.run_id, spec.gate.metric, values[f"validation_{spec.gate.metric}"]
    )


def fit_final(
    spec: ModelSpec, candidate: CandidateSpec, *, snapshot: str, as_of: datetime, settings: Settings
) -> Any:
    """Fit a candidate as it is shipped, on train and validation together; the same snapshot gives the same model.

    Raises
    ------
    TrainingError
        A part is empty or of one label, or the estimator throws.
    """
    parts = split_window(spec, whole_day(as_of))
    train, train_labels = _part(spec, snapshot, parts.train, "train", settings)
    valid, valid_labels = _part(spec, snapshot, parts.validation, "validation", settings)
    return _refit(spec, candidate, train, valid, train_labels, valid_labels)[0]


def best_of(spec: ModelSpec, trained: list[TrainedCandidate]) -> TrainedCandidate:
    """Return the candidate with the best validation metric; the spec's order breaks ties.

    Raises
    ------
    TrainingError
        No candidate was trained.
    """
    if not trained:
        raise TrainingError(
            f"model {spec.name}: no candidate could be trained", "read the logs of the mapped `train` tasks"
        )
    sign = 1 if primary(spec).higher_is_better else -1
    return max(trained, key=lambda candidate: sign * candidate.validation)


def _part(
    spec: ModelSpec, snapshot: str, window: Window, name: str, settings: Settings
) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    frame, labels = rows_of(spec, snapshot, window, settings)
    if len(frame) == 0 or len(np.unique(labels)) < 2:
        same = "with one label value only" if spec.task == "regression" else "of one class only"
        found = "no row" if len(frame) == 0 else f"{len(frame)} rows {same}"
        raise TrainingError(
            f"model {spec.name}: the {name} part ({window}) holds {found}",
            f"check the data of this interval, or widen `split.{name}`",
        )
    return frame, labels


def _refit(spec: ModelSpec, candidate: CandidateSpec, *parts: Any) -> tuple[Any, pd.DataFrame]:
    import pandas as pd

    train, valid, train_labels, valid_labels = parts
    both = pd.concat([train, valid], ignore_index=True)
    pipeline = _fit(spec, candidate, both, np.concatenate([train_labels, valid_labels]))
    return pipeline, both.tail(5).reset_index(drop=True)


def _answers(pipeline: Any, frame: pd.DataFrame) -> Any:
    return (pipeline.predict_proba if hasattr(pipeline, "predict_proba") else pipeline.predict)(frame)


def _measured(
    spec: ModelSpec,
    candidate: CandidateSpec,
    pipeline: Any,
    frame: pd.DataFrame,
    labels: np.ndarray[Any, Any],
) -> dict[str, float]:
    try:
        return measure(spec, pipeline, frame, labels)
    except (AttributeError, ValueError) as error:
        raise TrainingError(
            f"model {spec.name}: candidate {candidate.name} gives no probabilities: {error}",
            "correct its `params`; the other candidates go on without it",
        ) from error


def _fit(spec: ModelSpec, candidate: CandidateSpec, frame: pd.DataFrame, labels: np.ndarray[Any, Any]) -> Any:
    pipeline = build_pipeline(spec, candidate)
    try:
        return pipeline.fit(frame, labels)
    except (ValueError, TypeError, FloatingPointError) as error:
        raise TrainingError(
            f"model {spec.name}: candidate {candidate.name} cannot be fitted: {error}",
            "correct its `params`, or the data; the other candidates go on without it",
        ) from error
