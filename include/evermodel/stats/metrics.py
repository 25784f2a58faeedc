"""Metrics of each task, for many weightings of the same rows at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evermodel.spec.parts import Task
from evermodel.stats import decisions, ranked_lists
from evermodel.stats.ranking import average_precision, roc_auc

Floats = NDArray[np.float64]
# Takes an array of weights, resamples x rows, and returns one value for each resample.
WeightedMetric = Callable[[NDArray[Any]], Floats]


@dataclass(frozen=True)
class MetricParameters:
    """Parameters of metrics that have one.

    Parameters
    ----------
    beta
        How many times as much recall counts as precision in F-beta.
    precision
        Least precision of the recall at a precision.
    k
        How many of the likeliest classes count as right in top-k accuracy, and how many places of a ranked list count.
    quantile
        Quantile that the pinball loss is of.
    power
        Power of the variance of Tweedie's deviance, between 1 and 2.
    cost
        Cost of one row, by the names in `evermodel.stats.decisions.COST_CELLS`; None without a metric of costs.
    """

    beta: float = 1.0
    precision: float = 0.9
    k: int = 3
    quantile: float = 0.5
    power: float = 1.5
    cost: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Metric:
    """One metric: its name, its direction, and how to prepare it for given labels and scores.

    Parameters
    ----------
    decides
        It is of decisions, which `answers` makes of scores, and not of scores.
    constant
        The best constant answer to labels: the mean, unless given; of precision and recall, which no constant can be
        compared by, decisions at random as often as the given ones are positive.
    """

    name: str
    higher_is_better: bool
    prepare: Callable[[NDArray[Any], Floats], WeightedMetric]
    decides: bool = False
    constant: Callable[[NDArray[Any], Floats], Any] = lambda labels, answers: labels.astype(np.float64).mean()

    def answers(self, scores: Floats, threshold: float) -> Floats:
        """Return what the metric takes: the scores, or the decisions that they lead to at a threshold."""
        return (scores >= threshold).astype(np.float64) if self.decides else scores

    def __call__(self, labels: NDArray[Any], scores: Floats) -> float:
        """Return the plain, unweighted value."""
        return float(self.prepare(labels, scores)(np.ones((1, len(labels))))[0])

    def gain(self, challenger: Any, champion: Any) -> Any:
        """Return how much better the challenger is; positive is better in either direction."""
        return challenger - champion if self.higher_is_better else champion - challenger


def _binary_log_loss(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    tiny = np.finfo(np.float64).eps
    clipped = np.clip(scores, tiny, 1 - tiny)
    return decisions.mean(-np.where(np.asarray(labels, dtype=bool), np.log(clipped), np.log1p(-clipped)))


def _log_loss(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    """Mean of minus the logarithm of the true class's probability; labels are columns of the scores."""
    tiny = np.finfo(np.float64).eps
    return decisions.mean(-np.log(np.clip(scores[np.arange(len(labels)), labels], tiny, 1.0)))


def _accuracy(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    return decisions.mean((scores.argmax(axis=1) == labels).astype(np.float64))


def _macro_f1(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    """Mean over the true classes of the harmonic mean of precision and recall."""
    truth, guess = _classes_in(labels, scores)

    def value(weights: Floats) -> Floats:
        both, either = weights @ (truth * guess), weights @ (truth + guess)
        f1: Floats = np.divide(2 * both, either, out=np.zeros_like(both), where=either > 0)
        return np.asarray(f1.mean(axis=1))

    return value


def _classes_in(labels: NDArray[Any], scores: Floats) -> tuple[Floats, Floats]:
    """Return, of each class that has a row, which rows are of it, and which are taken for it."""
    present, guesses = np.unique(labels), scores.argmax(axis=1)
    truth, guess = labels[:, None] == present, guesses[:, None] == present
    return truth.astype(np.float64), guess.astype(np.float64)


def _weighted_f1(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    """Mean of the F1 of each class, weighted by its rows."""
    truth, guess = _classes_in(labels, scores)

    def value(weights: Floats) -> Floats:
        rows, both, either = weights @ truth, weights @ (truth * guess), weights @ (truth + guess)
        f1: Floats = np.divide(2 * both, either, out=np.zeros_like(both), where=either > 0)
        return np.asarray((f1 * rows).sum(axis=1) / rows.sum(axis=1))

    return value


def _balanced_accuracy(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    """Mean of the recall of each class that a resample has."""
    truth, guess = _classes_in(labels, scores)

    def value(weights: Floats) -> Floats:
        rows, right = weights @ truth, weights @ (truth * guess)
        recall: Floats = np.divide(right, rows, out=np.zeros_like(right), where=rows > 0)
        return np.asarray(recall.sum(axis=1) / (rows > 0).sum(axis=1))

    return value


def _top_k(labels: NDArray[Any], scores: Floats, k: int) -> WeightedMetric:
    """Share of rows whose class is among the k likeliest; of equal probabilities the later class counts as likelier."""
    likeliest = np.argsort(scores, axis=1, kind="stable")[:, ::-1][:, :k]
    return decisions.mean((likeliest == labels[:, None]).any(axis=1).astype(np.float64))


def _one_against_rest(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    """Mean of the area under the ROC curve of each class that has a row against all others."""
    areas = [roc_auc(labels == number, scores[:, number]) for number in np.unique(labels)]
    return lambda weights: np.mean([area(weights) for area in areas], axis=0)


def _squared_error(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    return decisions.mean((scores - np.asarray(labels, dtype=np.float64)) ** 2)


def _rmse(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    mean_square = _squared_error(labels, scores)
    return lambda weights: np.sqrt(mean_square(weights))


def _mae(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    return decisions.mean(np.abs(scores - labels.astype(np.float64)))


def _r2(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    """Share of the labels' variance that is explained."""
    truth = labels.astype(np.float64)
    mean_square, first, second = (
        _squared_error(labels, scores),
        decisions.mean(truth),
        decisions.mean(truth**2),
    )

    def value(weights: Floats) -> Floats:
        variance = second(weights) - first(weights) ** 2
        unknown = np.full(len(variance), np.nan)
        return np.asarray(1 - np.divide(mean_square(weights), variance, out=unknown, where=variance > 0))

    return value


def _mape(labels: NDArray[Any], scores: Floats) -> WeightedMetric:
    truth = labels.astype(np.float64)
    return decisions.mean(np.abs(scores - truth) / np.maximum(np.abs(truth), np.finfo(np.float64).eps))


def _pinball(labels: NDArray[Any], scores: Floats, quantile: float) -> WeightedMetric:
    over = labels.astype(np.float64) - scores
    return decisions.mean(np.maximum(quantile * over, (quantile - 1) * over))


def _tweedie(labels: NDArray[Any], scores: Floats, power: float) -> WeightedMetric:
    """Mean unit deviance of a Tweedie distribution, Poisson's for power 1; not a number for values that it cannot have."""
    truth = labels.astype(np.float64)
    if (truth < 0).any() or (scores <= 0).any():
        return lambda weights: np.full(len(weights), np.nan)
    if power == 1:
        logarithm = np.log(np.divide(truth, scores, out=np.ones_like(scores), where=truth > 0))
        return decisions.mean(2 * (truth * logarithm - truth + scores))
    less, rest = 1 - power, 2 - power
    return decisions.mean(
        2 * (truth**rest / (less * rest) - truth * scores**less / less + scores**rest / rest)
    )


def _by_name(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


def _shares(labels: NDArray[Any], scores: Floats) -> Floats:
    return np.bincount(labels, minlength=scores.shape[1]) / len(labels)


def _median(labels: NDArray[Any], scores: Floats) -> float:
    return float(np.median(labels))


def _weighted_median(labels: NDArray[Any], scores: Floats) -> float:
    """Return the median of labels that weigh the less the larger they are, which has the least relative error."""
    ordered = np.sort(labels.astype(np.float64))
    weights = np.cumsum(1 / np.maximum(np.abs(ordered), np.finfo(np.float64).eps))
    return float(ordered[np.searchsorted(weights, weights[-1] / 2)])


def _quantile(labels: NDArray[Any], scores: Floats, quantile: float) -> float:
    return float(np.quantile(labels.astype(np.float64), quantile))


def _as_often(labels: NDArray[Any], chosen: Floats) -> float:
    return float(chosen.mean())


def _deciding(
    name: str,
    prepare: Callable[[NDArray[Any], Floats], WeightedMetric],
    *,
    higher_is_better: bool = True,
    constant: Callable[[NDArray[Any], Floats], Any] | None = None,
) -> Metric:
    """Return a metric of decisions, whose best constant is one of the two decisions for every row."""

    def better(labels: NDArray[Any], chosen: Floats) -> float:
        no, yes = (Metric(name, True, prepare)(labels, np.full(len(labels), each)) for each in (0.0, 1.0))
        return float((yes > no) == higher_is_better)

    return Metric(name, higher_is_better, prepare, True, constant or better)


METRICS = _by_name(
    Metric("roc_auc", True, roc_auc),
    Metric("average_precision", True, average_precision),
    Metric("log_loss", False, _binary_log_loss),
    Metric("brier", False, _squared_error),
)
# What is measured of every model of a task, whatever its spec names.
METRICS_BY_TASK: dict[Task, dict[str, Metric]] = {
    "binary": METRICS,
    "multiclass": _by_name(
        Metric("log_loss", False, _log_loss, constant=_shares),
        Metric("accuracy", True, _accuracy, constant=_shares),
        Metric("macro_f1", True, _macro_f1, constant=_shares),
    ),
    "regression": _by_name(
        Metric("rmse", False, _rmse), Metric("mae", False, _mae, constant=_median), Metric("r2", True, _r2)
    ),
    "ranking": {},
}


def metrics_by_name(task: Task, parameters: MetricParameters) -> dict[str, Metric]:
    """Return every metric of a task, by its name."""
    if task == "binary":
        found = _by_name(
            _deciding("accuracy", decisions.accuracy),
            _deciding("balanced_accuracy", decisions.balanced_accuracy),
            _deciding("precision", decisions.precision, constant=_as_often),
            _deciding("recall", decisions.recall, constant=_as_often),
            _deciding("f_beta", partial(decisions.f_beta, beta=parameters.beta)),
            Metric(
                "recall_at_precision",
                True,
                partial(decisions.recall_at_precision, least=parameters.precision),
            ),
        )
        if parameters.cost is not None:
            priced = partial(decisions.mean_cost, cost=parameters.cost)
            found["cost"] = _deciding("cost", priced, higher_is_better=False)
    elif task == "multiclass":
        found = _by_name(
            Metric("balanced_accuracy", True, _balanced_accuracy, constant=_shares),
            Metric("weighted_f1", True, _weighted_f1, constant=_shares),
            Metric("top_k_accuracy", True, partial(_top_k, k=parameters.k), constant=_shares),
            Metric("roc_auc_ovr", True, _one_against_rest, constant=_shares),
        )
    elif task == "ranking":
        found = _by_name(
            Metric("ndcg", True, partial(ranked_lists.ndcg, k=parameters.k)),
            Metric("precision_at_k", True, partial(ranked_lists.precision_at_k, k=parameters.k)),
            Metric("recall_at_k", True, partial(ranked_lists.recall_at_k, k=parameters.k)),
            Metric("mrr", True, ranked_lists.mrr),
        )
    else:
        found = _by_name(
            Metric("mape", False, _mape, constant=_weighted_median),
            Metric(
                "pinball",
                False,
                partial(_pinball, quantile=parameters.quantile),
                constant=partial(_quantile, quantile=parameters.quantile),
            ),
            Metric("poisson_deviance", False, partial(_tweedie, power=1.0)),
            Metric("tweedie_deviance", False, partial(_tweedie, power=parameters.power)),
        )
    return {**METRICS_BY_TASK[task], **found}
