"""What differs by task: how a model is asked, what its answers and the labels look like, and which metrics there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evermodel.spec import ModelSpec
from evermodel.spec.parts import METRIC_NAMES
from evermodel.stats.decisions import ThresholdRule
from evermodel.stats.metrics import METRICS_BY_TASK, Floats, Metric, MetricParameters, metrics_by_name
from evermodel.stats.ranked_lists import pairs

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


NEGATIVE, POSITIVE = "0", "1"  # decisions, in the prediction log
THRESHOLD = "threshold"  # among the measures of a fold


class Predictor(Protocol):
    """What gives answers: a fitted pipeline, or one of its stages; a regressor has neither classes nor probabilities."""

    @property
    def classes_(self) -> NDArray[Any]:
        """The classes, in the order of the probabilities."""

    def predict(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return one answer a row."""

    def predict_proba(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return the probability of each class, row by row."""


class FittedPipeline(Predictor, Protocol):
    """A fitted scikit-learn pipeline; what its steps are is known when it runs."""

    steps: list[tuple[str, Any]]

    def __getitem__(self, step: int | slice) -> Any: ...


def primary(spec: ModelSpec) -> Metric:
    """Return the metric that decides."""
    return metric_of(spec, spec.gate.metric)


def metric_of(spec: ModelSpec, name: str) -> Metric:
    """Return a metric of the spec's task by its name."""
    return metrics_by_name(spec.task, _parameters(spec))[name]


def metrics_of(spec: ModelSpec) -> list[Metric]:
    """Return what is measured of every model: the task's plain metrics, and those that the spec names."""
    named = [*spec.gate.metrics, *(METRIC_NAMES["ranking"] if spec.task == "ranking" else ())]
    if spec.decision is not None:
        named += ["precision", "recall", "f_beta", *(["cost"] if spec.metrics.cost else [])]
    return [metric_of(spec, name) for name in dict.fromkeys([*METRICS_BY_TASK[spec.task], *named])]


def _parameters(spec: ModelSpec) -> MetricParameters:
    kept = spec.metrics
    cost = None if kept.cost is None else kept.cost.model_dump()
    return MetricParameters(kept.beta, kept.precision, kept.k, kept.quantile, kept.power, cost)


def chosen_threshold(spec: ModelSpec, labels: NDArray[Any], scores: Floats) -> float:
    """Return the threshold that the spec's rule chooses on rows with known labels; see `ThresholdRule`."""
    if spec.decision is None or spec.task != "binary":
        return spec.performance.threshold
    parameters = _parameters(spec)
    value = {"f_beta": parameters.beta, "precision": parameters.precision}.get(
        spec.decision.rule, spec.decision.value
    )
    rule = ThresholdRule(spec.decision.rule, float("nan") if value is None else value, parameters.cost)
    return rule.choose(labels, scores)


def labels_in(spec: ModelSpec, table: pa.Table, column: str) -> NDArray[Any]:
    """Return the labels of a table's rows; of a ranking, with the group of each (`evermodel.stats.ranked_lists.pairs`)."""
    import pyarrow as pa

    labels = np.asarray(table[column].to_numpy())
    if spec.group_column is None:
        return labels
    return pairs(labels, table[spec.group_column].cast(pa.string()).to_numpy())


def distinct_labels(labels: NDArray[Any]) -> int:
    """Return how many different labels there are; the groups of a ranking do not count."""
    return len(np.unique(labels if labels.ndim == 1 else labels[:, 0]))


def classes_of(spec: ModelSpec, labels: NDArray[Any], *pipelines: Predictor) -> tuple[str, ...]:
    """Return the classes that labels or models know, sorted; empty unless the task is multiclass."""
    if spec.task != "multiclass":
        return ()
    known = {str(name) for name in np.unique(labels)}
    return tuple(sorted(known.union(*({str(c) for c in pipeline.classes_} for pipeline in pipelines))))


def encode(labels: NDArray[Any], classes: tuple[str, ...]) -> NDArray[Any]:
    """Return labels as columns of the score matrix; labels of other tasks are already numbers."""
    return np.searchsorted(np.array(classes), labels.astype(str)) if classes else labels


def predict(
    spec: ModelSpec, pipeline: Predictor, frame: pd.DataFrame, classes: tuple[str, ...] = ()
) -> Floats:
    """Ask a model.

    Parameters
    ----------
    classes
        Columns of the answer, for multiclass; the model's own if not given.

    Returns
    -------
    Binary: the probability of the positive class, one value a row. Regression and ranking: the predicted value, one a row.
    Multiclass: rows x classes, a class that the model does not know having probability 0.
    """
    if spec.numeric_answers:
        return np.asarray(pipeline.predict(frame), dtype=np.float64)
    answers = np.asarray(pipeline.predict_proba(frame), dtype=np.float64)
    if spec.task == "binary":
        return answers[:, 1]
    known = [str(name) for name in pipeline.classes_]
    wanted = classes or tuple(known)
    matrix = np.zeros((len(answers), len(wanted)))
    for column, name in enumerate(known):
        if name in wanted:
            matrix[:, wanted.index(name)] = answers[:, column]
    return matrix


def measure(
    spec: ModelSpec, pipeline: Predictor, frame: pd.DataFrame, labels: NDArray[Any]
) -> dict[str, float]:
    """Return the metrics on rows with known labels; with a rule for decisions, the ``threshold`` chosen on them, too."""
    classes = classes_of(spec, labels, pipeline)
    scores, truth = predict(spec, pipeline, frame, classes), encode(labels, classes)
    threshold = chosen_threshold(spec, truth, scores)
    found = {metric.name: metric(truth, metric.answers(scores, threshold)) for metric in metrics_of(spec)}
    return found if spec.decision is None else {**found, THRESHOLD: threshold}


def scores_and_classes(
    spec: ModelSpec, pipeline: Predictor, frame: pd.DataFrame, threshold: float | None = None
) -> tuple[Floats, list[str] | None]:
    """Return one score a row, and what is predicted: for multiclass the class, for binary the decision.

    Parameters
    ----------
    threshold
        Of the decision; None without one.
    """
    answers = predict(spec, pipeline, frame)
    if spec.task != "multiclass":
        return answers, decided(answers, threshold)
    best = answers.argmax(axis=1)
    return answers[np.arange(len(best)), best], [str(pipeline.classes_[i]) for i in best]


def decided(scores: Floats, threshold: float | None) -> list[str] | None:
    """Return the decision of each row, as the prediction log has it; None without a threshold."""
    return (
        None
        if threshold is None
        else [POSITIVE if yes else NEGATIVE for yes in (scores >= threshold).tolist()]
    )


def confidence_of(spec: ModelSpec, labels: NDArray[Any], scores: Floats) -> tuple[NDArray[Any], Floats]:
    """Return what calibration is measured on: of many classes, whether the likeliest was right, and its probability."""
    if spec.task != "multiclass":
        return labels, scores
    best = scores.argmax(axis=1)
    return best == labels, scores[np.arange(len(best)), best]


def sound(spec: ModelSpec, answers: Floats) -> bool:
    """Tell whether answers are what the task allows: finite, and probabilities unless it is a regression."""
    if not np.isfinite(answers).all():
        return False
    return spec.numeric_answers or answers.size == 0 or bool(answers.min() >= 0 and answers.max() <= 1)
