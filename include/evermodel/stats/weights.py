"""How much each row counts when a candidate is fitted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evermodel.core.errors import TrainingError
from evermodel.spec.training import TrainingSpec


def sample_weights(
    training: TrainingSpec, labels: NDArray[Any], times: NDArray[np.datetime64]
) -> NDArray[np.float64] | None:
    """Return one weight a row, their mean being 1, or None if all weights are equal."""
    if training.class_weight is None and training.recency_half_life is None:
        return None
    weights = np.ones(len(labels))
    if training.recency_half_life is not None:
        weights *= recency_weights(times, training.recency_half_life)
    if training.class_weight == "balanced":
        weights *= balancing_weights(labels, weights)
    return np.asarray(weights / weights.mean())


def recency_weights(times: NDArray[np.datetime64], half_life: timedelta) -> NDArray[np.float64]:
    """Return 1 for the newest row, halved for each half-life of age.

    >>> days = np.array(["2024-01-01", "2024-01-08", "2024-01-15"], dtype="datetime64[us]")
    >>> recency_weights(days, timedelta(days=7)).tolist()
    [0.25, 0.5, 1.0]
    """
    age = (times.max() - times) / np.timedelta64(half_life)
    return np.asarray(np.exp2(-age), dtype=np.float64)


def balancing_weights(labels: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return factors that give every class the same total weight.

    >>> balancing_weights(np.array([0, 0, 0, 1]), np.ones(4)).round(3).tolist()
    [0.667, 0.667, 0.667, 2.0]
    """
    classes, place = np.unique(labels, return_inverse=True)
    totals = np.bincount(place, weights=weights)
    return np.asarray((weights.sum() / (len(classes) * totals))[place])


def fit_arguments(candidate: str, pipeline: Any, weights: NDArray[np.float64] | None) -> dict[str, Any]:
    """Return the fit parameters that pass the weights to the last step of a pipeline.

    Raises
    ------
    TrainingError
        The estimator takes no weights.
    """
    from sklearn.utils.validation import has_fit_parameter

    if weights is None:
        return {}
    name, estimator = pipeline.steps[-1]
    if not has_fit_parameter(estimator, "sample_weight"):
        raise TrainingError(
            f"candidate {candidate}: {type(estimator).__name__} takes no sample weights",
            "remove `training.class_weight` and `training.recency_half_life`, or choose another estimator",
        )
    return {f"{name}__sample_weight": weights}
