"""Leakage hints: features that alone predict the label, or identify the row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from evermodel.data.validation.profile import ColumnProfile, SnapshotProfile
from evermodel.data.validation.report import CheckResult, Severities
from evermodel.spec import ModelSpec
from evermodel.spec.parts import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAK = 0.98
_BINS = 50
_MIN_ROWS, _MIN_POSITIVES = 200, 20
_ID_LIKE = 0.95
_NUMBERS = ("regression", "ranking")
_MEASURES = {"binary": "ROC AUC", "multiclass": "accuracy", "regression": "R²", "ranking": "R²"}


def suspicious_features(
    spec: ModelSpec, profile: SnapshotProfile, sample: Mapping[str, Any], severities: Severities
) -> Iterator[CheckResult]:
    """Check each feature for leaking the label and for being an identifier."""
    power = predictive_power(spec.task, spec.label.column, spec.features.names, sample)
    for column, value in power.items():
        found = f"{_MEASURES[spec.task]} {value:.3f} from this column alone"
        title, fine = f"label leaked by {column}", value < LEAK
        yield severities.check("leakage", title, fine, found, f"less than {LEAK}", column)
    for column in spec.features.names:
        values = profile.columns.get(column)
        if values is not None and is_id_like(values, profile.rows):
            found = f"about {values.distinct} different values in {profile.rows} rows"
            allowed = f"at most {_ID_LIKE:.0%} of the rows"
            yield severities.check("id_like", f"identifier {column}", False, found, allowed, column)


def is_id_like(column: ColumnProfile, rows: int) -> bool:
    """Tell whether nearly every row has a value of its own; fractions may."""
    return rows >= _MIN_ROWS and column.distinct is not None and column.distinct >= _ID_LIKE * rows


def predictive_power(
    task: Task, label: str, features: list[str], sample: Mapping[str, Any]
) -> dict[str, float]:
    """Tell how well each feature alone predicts the label of rows that it was not learnt on.

    A feature is cut into bins (numbers by quantiles, categories as they are, missing values apart); the label's mean, or
    its commonest class, per bin is learnt on a random half of the rows and measured on the other.

    Returns
    -------
    By feature ROC AUC, accuracy (0 where one class has nearly all rows) or R²; nothing where there are too few rows.
    """
    import numpy as np

    if label not in sample or len(sample[label]) < _MIN_ROWS:
        return {}
    target = np.ma.getdata(sample[label])
    if task in _NUMBERS:
        target = np.ma.filled(sample[label].astype(float), np.nan)
        keep = np.isfinite(target)
    else:
        keep = ~np.ma.getmaskarray(sample[label])
    target = target[keep]
    learn = np.random.default_rng(0).random(len(target)) < 0.5
    if not _can_tell(task, target, learn):
        return {}
    return {
        column: _power(task, _bins(sample[column], keep, learn), target, learn)
        for column in features
        if column in sample
    }


def _can_tell(task: Task, target: NDArray[Any], learn: NDArray[np.bool_]) -> bool:
    import numpy as np

    if task in _NUMBERS:
        return bool(len(target) >= _MIN_ROWS and np.ptp(target[~learn]) > 0)
    counts = np.unique(target[~learn], return_counts=True)[1]
    return bool(len(counts) > 1 and counts.max() <= counts.sum() - _MIN_POSITIVES)


def _bins(values: Any, keep: NDArray[np.bool_], learn: NDArray[np.bool_]) -> NDArray[np.int64]:
    import numpy as np

    if values.dtype.kind in "ui":
        codes: NDArray[np.int64] = np.unique(np.ma.getdata(values)[keep], return_inverse=True)[1]
        return codes
    numbers = np.ma.filled(values.astype(float), np.nan)[keep]
    known = numbers[learn & np.isfinite(numbers)]
    edges = np.unique(np.quantile(known, np.arange(1, _BINS) / _BINS)) if len(known) else known
    binned = np.searchsorted(edges, numbers, side="right")
    return np.where(np.isnan(numbers), len(edges) + 1, binned).astype(np.int64)


def _power(task: Task, bins: NDArray[np.int64], target: NDArray[Any], learn: NDArray[np.bool_]) -> float:
    import numpy as np

    if task == "multiclass":
        return _accuracy(bins, target, learn)
    size = int(bins.max()) + 1
    known, asked = target[learn].astype(float), target[~learn].astype(float)
    counts = np.bincount(bins[learn], minlength=size)
    # One row's worth of the overall mean: a bin without rows says nothing, a small one says little.
    means = (np.bincount(bins[learn], known, size) + known.mean()) / (counts + 1)
    guesses = means[bins[~learn]]
    if task in _NUMBERS:
        return float(max(0.0, 1 - np.mean((asked - guesses) ** 2) / np.var(asked)))
    return _auc(asked > 0, guesses)


def _auc(positive: NDArray[np.bool_], guesses: NDArray[np.float64]) -> float:
    import numpy as np

    levels, places = np.unique(guesses, return_inverse=True)
    ups = np.bincount(places[positive], minlength=len(levels)).astype(float)
    downs = np.bincount(places[~positive], minlength=len(levels)).astype(float)
    below = np.cumsum(downs) - downs
    return float((ups * (below + downs / 2)).sum() / (ups.sum() * downs.sum()))


def _accuracy(bins: NDArray[np.int64], target: NDArray[Any], learn: NDArray[np.bool_]) -> float:
    import numpy as np

    classes, codes = np.unique(target, return_inverse=True)
    table = np.zeros((int(bins.max()) + 1, len(classes)))
    np.add.at(table, (bins[learn], codes[learn]), 1)
    commonest = np.bincount(codes[~learn]).max() / (~learn).sum()
    right = np.mean(table.argmax(axis=1)[bins[~learn]] == codes[~learn])
    return float(right) if commonest < 0.9 else 0.0
