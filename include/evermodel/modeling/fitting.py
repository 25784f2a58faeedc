"""Fit one candidate on rows in memory: choose parameters on folds, measure, and fit the final model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evermodel.core.errors import EvermodelError, TrainingError
from evermodel.data.dtypes import context_frame, feature_frame
from evermodel.modeling.estimators import build_pipeline, calibrated, iterations_of
from evermodel.modeling.search import FoldMetrics, Trial, mean_of, search
from evermodel.modeling.tasks import (
    THRESHOLD,
    FittedPipeline,
    chosen_threshold,
    classes_of,
    distinct_labels,
    encode,
    labels_in,
    measure,
    predict,
    primary,
)
from evermodel.spec import CandidateSpec, ModelSpec
from evermodel.spec.window import Fold, Window, folds_of, split_window, training_window, whole_day
from evermodel.stats.weights import fit_arguments, sample_weights

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class TrainingRows:
    """Features, labels and moments (UTC, without a zone) of the same rows.

    Parameters
    ----------
    context
        The columns of the spec's `context`, which no model sees; None where they are not needed.
    """

    frame: pd.DataFrame
    labels: NDArray[Any]
    times: NDArray[np.datetime64]
    context: pd.DataFrame | None = None

    @property
    def described(self) -> pd.DataFrame:
        """Features and context, by which rows are put into groups."""
        return self.frame if self.context is None else self.frame.join(self.context)

    def within(self, window: Window) -> TrainingRows:
        """Return the rows of a window."""
        start, end = self.boundary(window.start), self.boundary(window.end)
        inside = (self.times >= start) & (self.times < end)
        context = None if self.context is None else self.context[inside].reset_index(drop=True)
        frame = self.frame[inside].reset_index(drop=True)
        return TrainingRows(frame, self.labels[inside], self.times[inside], context)

    @staticmethod
    def boundary(moment: datetime) -> np.datetime64:
        """Return a moment as it is written in `times`."""
        return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")


@dataclass(frozen=True)
class Chosen:
    """The parameters of a candidate, and how good they are.

    Parameters
    ----------
    params
        Parameters of the estimator, searched and early-stopped ones included.
    searched
        The same before early stopping.
    folds
        What was measured on each fold, by a model fitted on the rows before it.
    """

    params: dict[str, Any]
    searched: dict[str, Any]
    folds: list[FoldMetrics]

    @property
    def last_threshold(self) -> float | None:
        """The threshold of decisions on the last fold, which is the validation part; None without a rule for them."""
        return self.folds[-1].get(THRESHOLD)

    @property
    def metrics(self) -> FoldMetrics:
        """The mean over the folds."""
        return mean_of(self.folds)


@dataclass(frozen=True)
class Fitted(Chosen):
    """The model that ships, how it was found, and the threshold of its decisions (None without a rule for them)."""

    pipeline: FittedPipeline
    threshold: float | None = None


@dataclass(frozen=True)
class TrainingJob:
    """One candidate and the rows of train and validation.

    Parameters
    ----------
    rows
        Both parts.
    as_of
        The midnight as of which the data is seen.
    """

    spec: ModelSpec
    candidate: CandidateSpec
    rows: TrainingRows
    as_of: datetime

    @property
    def folds(self) -> list[Fold]:
        """The folds of the spec; the last one is measured on the validation part."""
        return folds_of(self.spec, self.as_of)

    def run(self, on_trial: Callable[[Trial], None]) -> Fitted:
        """Choose the parameters if the spec asks for a search, and fit with them.

        Raises
        ------
        TrainingError
            The estimator cannot do it.
        """
        return self._shipped(self.choose(on_trial))

    def choose(self, on_trial: Callable[[Trial], None]) -> Chosen:
        """Choose the parameters as `run` does, and measure them; nothing that ships is fitted."""
        params = dict(self.candidate.params)
        if self.candidate.search is not None:
            self._check_space()
            folds = self.folds
            params = search(
                self.spec, self.candidate, lambda params, n: self._fold(params, folds[n])[0], on_trial
            )
        return self._measured(params)

    def fit(self, params: dict[str, Any]) -> Fitted:
        """Measure parameters on the folds and fit the model that ships, without a search."""
        return self._shipped(self._measured(params))

    def ship(self, params: dict[str, Any]) -> Any:
        """Fit on train and validation; where probabilities are calibrated, fit on train and calibrate on validation."""
        method = self.spec.training.calibrate
        if method is None:
            return self._fitted(params, self.rows)
        check = self.folds[-1].check
        start = training_window(self.spec, self.as_of).start
        pipeline = self._fitted(params, self.rows.within(Window(start, check.start)))
        valid = self.rows.within(check)
        with self._isolated("cannot be calibrated"):
            return calibrated(pipeline, method, valid.frame, valid.labels)

    def _measured(self, params: dict[str, Any]) -> Chosen:
        measured = [self._fold(params, fold) for fold in self.folds]
        iterations = measured[-1][1]
        name = iterations_of(self.candidate.model_copy(update={"params": params}))
        final = params if iterations is None or name is None else {**params, name: iterations}
        return Chosen(final, params, [metrics for metrics, _ in measured])

    def _shipped(self, chosen: Chosen) -> Fitted:
        pipeline = self.ship(chosen.params)
        return Fitted(
            chosen.params,
            chosen.searched,
            chosen.folds,
            pipeline,
            self.threshold(chosen.last_threshold, pipeline),
        )

    def threshold(self, on_last_fold: float | None, pipeline: FittedPipeline) -> float | None:
        """Return the threshold of the model that ships: that of the last fold, or of the calibrated model on the same rows.

        Calibration gives the scores another scale, and leaves no rows that its model has not seen.
        """
        if on_last_fold is None or self.spec.training.calibrate is None:
            return on_last_fold
        valid = self.rows.within(self.folds[-1].check)
        return chosen_threshold(self.spec, valid.labels, predict(self.spec, pipeline, valid.frame))

    def _fold(self, params: dict[str, Any], fold: Fold) -> tuple[FoldMetrics, int | None]:
        """Return every metric on a fold, and the number of iterations if it was chosen there."""
        fit, check = self.rows.within(fold.fit), self.rows.within(fold.check)
        for rows, window in ((fit, fold.fit), (check, fold.check)):
            require_labels(self.spec, rows, f"fold ({window})", "`training.folds`")
        model = self._fitted(params, fit)
        iterations = None
        wrong = "gives invalid answers" if self.spec.numeric_answers else "gives no probabilities"
        with self._isolated(wrong):
            if stops_early(self.spec, self.candidate, params):
                model = best_stage(self.spec, model, check.frame, check.labels)
                iterations = model.iterations
            metrics = measure(self.spec, model, check.frame, check.labels)
        if not np.isfinite(metrics[self.spec.gate.metric]):
            raise TrainingError(
                f"model {self.spec.name}: candidate {self.candidate.name}: {self.spec.gate.metric} on {fold.check} is "
                f"{metrics[self.spec.gate.metric]}: its answers are not finite numbers",
                "correct its `params`; the other candidates continue",
            )
        return metrics, iterations

    def _fitted(self, params: dict[str, Any], rows: TrainingRows) -> Any:
        pipeline = build_pipeline(self.spec, self.candidate.model_copy(update={"params": params}))
        weights = sample_weights(self.spec.training, rows.labels, rows.times)
        arguments = fit_arguments(self.candidate.name, pipeline, weights)
        with self._isolated("cannot be fitted"):
            return pipeline.fit(rows.frame, rows.labels, **arguments)

    def _check_space(self) -> None:
        """Raise at once if the space names a parameter that the estimator does not have."""
        assert self.candidate.search is not None
        anything = dict.fromkeys(self.candidate.search.space)
        known = {"params": {**self.candidate.params, **anything}}
        build_pipeline(self.spec, self.candidate.model_copy(update=known))

    @contextmanager
    def _isolated(self, what: str) -> Iterator[None]:
        try:
            yield
        except EvermodelError:
            raise
        except Exception as error:
            told = str(error) or type(error).__name__
            raise TrainingError(
                f"model {self.spec.name}: candidate {self.candidate.name} {what}: {told}",
                "correct its `params` or the data; the other candidates continue",
            ) from error


def rows_from(spec: ModelSpec, table: pa.Table) -> TrainingRows:
    """Return a table of labelled rows as training takes them."""
    import pandas as pd

    moments = pd.to_datetime(table[spec.time_column].to_pandas(), utc=True).dt.tz_localize(None)
    labels = labels_in(spec, table, spec.label.column)
    context = context_frame(spec, table) if spec.context else None
    times = moments.to_numpy().astype("datetime64[us]")
    return TrainingRows(feature_frame(spec, table), labels, times, context)


def training_job(
    spec: ModelSpec, candidate: CandidateSpec, as_of: datetime, read: Callable[[Window], TrainingRows]
) -> TrainingJob:
    """Lay out train and validation of a retrain as of a moment.

    Raises
    ------
    TrainingError
        A part is empty or of one label.
    """
    import pandas as pd

    midnight = whole_day(as_of)
    parts = split_window(spec, midnight)
    found = []
    for name, window in (("train", parts.train), ("validation", parts.validation)):
        rows = read(window)
        require_labels(spec, rows, f"{name} part ({window})", f"`split.{name}`")
        found.append(rows)
    both = TrainingRows(
        pd.concat([rows.frame for rows in found], ignore_index=True),
        np.concatenate([rows.labels for rows in found]),
        np.concatenate([rows.times for rows in found]),
    )
    return TrainingJob(spec, candidate, both, midnight)


def require_labels(spec: ModelSpec, rows: TrainingRows, what: str, widen: str) -> None:
    """Raise `TrainingError` unless there are rows with at least two different labels."""
    if len(rows.labels) == 0 or distinct_labels(rows.labels) < 2:
        same = "with one label value only" if spec.numeric_answers else "of one class only"
        found = "no row" if len(rows.labels) == 0 else f"{len(rows.labels)} rows {same}"
        raise TrainingError(
            f"model {spec.name}: the {what} has {found}",
            f"check the data of this interval, or widen {widen}",
        )


@dataclass(frozen=True)
class Stage:
    """What a model answers after some of its iterations, in the shape of a model."""

    iterations: int
    answers: Any
    classes_: Any = None

    def predict(self, frame: pd.DataFrame) -> Any:
        """Return the answers, which belong to the rows that the stage was made for."""
        del frame
        return self.answers

    predict_proba = predict


def can_stop_early(candidate: CandidateSpec) -> bool:
    """Tell whether a candidate's iterations can be chosen afterwards."""
    return iterations_of(candidate) is not None


def stops_early(spec: ModelSpec, candidate: CandidateSpec, params: Mapping[str, Any]) -> bool:
    """Tell whether iterations are chosen here; a candidate that asks for scikit-learn's own way is left alone."""
    asked = spec.training.early_stopping and can_stop_early(candidate)
    return asked and params.get("early_stopping") in (None, False)


def best_stage(spec: ModelSpec, pipeline: FittedPipeline, frame: pd.DataFrame, labels: NDArray[Any]) -> Stage:
    """Return the stage with the best primary metric; the earliest of equal ones.

    Parameters
    ----------
    frame, labels
        Rows later than those that it was fitted on.
    """
    metric = primary(spec)
    estimator = pipeline[-1]
    rows = pipeline[:-1].transform(frame)
    known = getattr(estimator, "classes_", None)
    best, best_value = None, 0.0
    for number, answers in _stages(spec, estimator, rows):
        stage = Stage(number, answers, known)
        classes = classes_of(spec, labels, stage)
        scores, truth = predict(spec, stage, frame, classes), encode(labels, classes)
        value = metric(truth, metric.answers(scores, chosen_threshold(spec, truth, scores)))
        if best is None or metric.gain(value, best_value) > 0:
            best, best_value = stage, value
    assert best is not None
    return best


def _stages(spec: ModelSpec, estimator: Any, rows: Any) -> Iterator[tuple[int, Any]]:
    """Yield numbers of iterations, and what the model answers after so many."""
    if hasattr(estimator, "staged"):
        yield from estimator.staged(rows)
    else:
        ask = estimator.staged_predict if spec.numeric_answers else estimator.staged_predict_proba
        yield from enumerate(ask(rows), start=1)
