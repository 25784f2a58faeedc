"""A boosting library's estimator that stores its model in the library's own format, and labels in one way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from evermodel.core.errors import ModelFormatError
from evermodel.core.extras import named_extras
from evermodel.core.formats import stamped, unstamped
from evermodel.modeling.boosting.libraries import LIBRARIES, FitData, Library, require_reviewed, with_threads

if TYPE_CHECKING:
    from evermodel.modeling.boosting.libraries import Floats

_STAGES = 32  # numbers of trees that early stopping tries


class Boosted(BaseEstimator):  # type: ignore[misc]
    """Boosted trees on a matrix of numbers and codes of categories.

    Categories are split as categories and missing values stay missing. What is stored is plain data: the parameters,
    the classes and the model's bytes.

    Parameters
    ----------
    estimator
        Import path of the library's class, such as ``lightgbm.LGBMClassifier``.
    params
        Its parameters.
    categorical
        Columns of the matrix that hold codes of categories.
    """

    def __init__(
        self, estimator: str = "", params: Mapping[str, Any] | None = None, categorical: Sequence[int] = ()
    ) -> None:
        self.estimator = estimator
        self.params = params
        self.categorical = categorical

    @property
    def library(self) -> str:
        """Import name of the library."""
        return str(self.estimator).partition(".")[0]

    @property
    def _adapter(self) -> Library:
        if self.library not in LIBRARIES:
            raise ModelFormatError(f"{self.estimator} is of none of {', '.join(LIBRARIES)}", "retrain")
        return LIBRARIES[self.library]

    def fit(self, X: Any, y: NDArray[Any], sample_weight: Any = None) -> Boosted:
        """Fit on a matrix and its labels."""
        adapter, rows = self._adapter, np.asarray(X, dtype=np.float64)
        rows, y, groups = self._grouped(rows, y)
        module, _, name = self.estimator.rpartition(".")
        with named_extras():
            kind = getattr(import_module(module), name)
        self.n_features_in_ = rows.shape[1]
        data = FitData(rows, self._target(y), sample_weight, list(self.categorical), groups)
        self.model_ = adapter.fit(kind(**with_threads(adapter, self.params or {})), data)
        self._load()
        return self

    def staged(self, X: Any) -> Iterator[tuple[int, Floats]]:
        """Yield numbers of trees, evenly spread, and what so many of the first trees answer."""
        rows = np.asarray(X, dtype=np.float64)
        for number in np.unique(np.linspace(0, self._adapter.trees(self._model), _STAGES + 1).astype(int))[
            1:
        ]:
            yield int(number), self._shaped(rows, int(number))

    def _grouped(self, rows: Floats, y: NDArray[Any]) -> tuple[Floats, NDArray[Any], NDArray[Any] | None]:
        return rows, y, None

    def _target(self, y: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(y, dtype=np.float64)

    def _shaped(self, rows: Floats, trees: int = 0) -> Floats:
        return self._adapter.predict(self._model, rows, list(self.categorical), trees)

    def _load(self) -> None:
        require_reviewed(self.library)
        self._model = self._adapter.load(bytes(self.model_), len(getattr(self, "classes_", ())))

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in super().__getstate__().items() if name != "_model"}
        return stamped(state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(unstamped(state, "the model"))
        if "model_" in state:
            self._load()


class BoostedClassifier(ClassifierMixin, Boosted):  # type: ignore[misc]
    """A classifier; the library sees its classes as 0, 1, ..., whatever they are."""

    def predict_proba(self, X: Any) -> Floats:
        """Return the probability of each class."""
        return self._shaped(np.asarray(X, dtype=np.float64))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the likeliest class."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])

    def _target(self, y: NDArray[Any]) -> NDArray[Any]:
        self.classes_, codes = np.unique(y, return_inverse=True)
        return codes

    def _shaped(self, rows: Floats, trees: int = 0) -> Floats:
        answers = super()._shaped(rows, trees)
        return answers if answers.ndim == 2 else np.column_stack([1 - answers, answers])


class BoostedRegressor(RegressorMixin, Boosted):  # type: ignore[misc]
    """A regressor."""

    def predict(self, X: Any) -> Floats:
        """Return the value of each row."""
        return self._shaped(np.asarray(X, dtype=np.float64))


class BoostedRanker(Boosted):
    """A ranker; its labels are those of `evermodel.stats.ranked_lists`: how relevant a row is, and a code of its list."""

    def predict(self, X: Any) -> Floats:
        """Return the score of each row; within a list, higher is earlier."""
        return self._shaped(np.asarray(X, dtype=np.float64))

    def _grouped(self, rows: Floats, y: NDArray[Any]) -> tuple[Floats, NDArray[Any], NDArray[Any] | None]:
        order = np.argsort(y[:, 1], kind="stable")  # the libraries want the rows of a list together
        return rows[order], y[order, 0], np.unique(y[:, 1], return_inverse=True)[1][order]
