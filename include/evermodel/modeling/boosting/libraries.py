"""What differs between LightGBM, XGBoost and CatBoost: how each is fitted, stored as data, loaded and asked."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from evermodel.core.errors import MissingExtraError, ModelFormatError
from evermodel.core.extras import install_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_LARGEST = (2 - 2**-23) * 2.0**127  # of 32 bits


class FitData(NamedTuple):
    """What a library is fitted on.

    Parameters
    ----------
    categorical
        Places of the columns with codes of categories.
    groups
        Of a ranker: the number of each row's list, from 0; rows of a list stand together.
    """

    rows: Floats
    target: NDArray[Any]
    weights: NDArray[Any] | None
    categorical: Sequence[int]
    groups: NDArray[Any] | None = None


class Library(ABC):
    """One library.

    Parameters
    ----------
    distributions
        The packages that bring it, by their names in an index.
    reviewed
        The series of versions whose reader of models was checked.
    defaults
        Parameters that a candidate gets unless it sets one of the names (the parameter's own and its aliases).
    managed
        Parameters that are not a spec's to set.
    iterations
        The parameter for the number of trees, and its aliases.
    threads
        The parameter for the number of threads, and its aliases.
    unknown_code
        What a category that training never saw becomes.
    """

    distributions: tuple[str, ...]
    reviewed: str
    defaults: ClassVar[Mapping[tuple[str, ...], Any]] = {}
    managed: tuple[str, ...]
    iterations: tuple[str, ...]
    threads: tuple[str, ...]
    unknown_code: float = math.nan

    @abstractmethod
    def fit(self, estimator: Any, data: FitData) -> bytes:
        """Fit an estimator of the library, and return its model in the library's own format."""

    @abstractmethod
    def load(self, content: bytes, classes: int) -> Any:
        """Read what `fit` returned; ``classes`` is 0 for a regression."""

    @abstractmethod
    def predict(self, model: Any, rows: Floats, categorical: Sequence[int], trees: int = 0) -> Floats:
        """Answer by the first trees (0: all): probabilities (binary: of the second class), or values.

        One thread: batches run side by side, and a thread pool costs more than it saves for a single row.
        """

    @abstractmethod
    def trees(self, model: Any) -> int:
        """Return the number of iterations."""


class LightGBM(Library):
    """LightGBM; its model is its text format."""

    distributions = ("lightgbm",)
    reviewed = "4"
    # The same rows give the same trees, whatever the machine's load.
    defaults: ClassVar[Mapping[tuple[str, ...], Any]] = {
        ("verbose", "verbosity"): -1,
        ("deterministic",): True,
        ("force_row_wise", "force_col_wise"): True,
    }
    managed = (
        "categorical_feature",
        "cat_feature",
        "categorical_column",
        "cat_column",
        "categorical_features",
    )
    threads = ("n_jobs", "num_threads", "num_thread", "nthread", "nthreads")
    iterations = ("n_estimators", "num_iterations", "num_iteration", "num_boost_round", "num_trees", "n_iter")

    def fit(self, estimator: Any, data: FitData) -> bytes:
        """Fit."""
        import numpy as np

        lists = {} if data.groups is None else {"group": np.bincount(data.groups)}
        codes = list(data.categorical)
        estimator.fit(data.rows, data.target, sample_weight=data.weights, categorical_feature=codes, **lists)
        text: str = estimator.booster_.model_to_string()
        return text.encode()

    def load(self, content: bytes, classes: int) -> Any:
        """Load."""
        import lightgbm

        del classes
        return lightgbm.Booster(model_str=content.decode())

    def predict(self, model: Any, rows: Floats, categorical: Sequence[int], trees: int = 0) -> Floats:
        """Answer."""
        import numpy as np

        del categorical
        return np.asarray(model.predict(rows, num_iteration=trees or None, num_threads=1), dtype=np.float64)

    def trees(self, model: Any) -> int:
        """Count the iterations."""
        return int(model.current_iteration())


class XGBoost(Library):
    """XGBoost; its model is Universal Binary JSON."""

    distributions = ("xgboost", "xgboost-cpu")
    reviewed = "3"
    managed = ("enable_categorical", "feature_types", "missing", "early_stopping_rounds")
    iterations = ("n_estimators",)
    threads = ("n_jobs", "nthread")

    def fit(self, estimator: Any, data: FitData) -> bytes:
        """Fit."""
        kinds = ["c" if place in set(data.categorical) else "q" for place in range(data.rows.shape[1])]
        estimator.set_params(enable_categorical=True, feature_types=kinds)
        lists = {} if data.groups is None else {"qid": data.groups}
        estimator.fit(_in_range(data.rows), data.target, sample_weight=data.weights, **lists)
        return bytes(estimator.get_booster().save_raw("ubj"))

    def load(self, content: bytes, classes: int) -> Any:
        """Load."""
        import xgboost

        del classes
        model = xgboost.Booster()
        model.load_model(bytearray(content))
        model.set_param({"nthread": 1})
        return model

    def predict(self, model: Any, rows: Floats, categorical: Sequence[int], trees: int = 0) -> Floats:
        """Answer."""
        import numpy as np

        del categorical
        return np.asarray(
            model.inplace_predict(_in_range(rows), iteration_range=(0, trees)), dtype=np.float64
        )

    def trees(self, model: Any) -> int:
        """Count the iterations."""
        return int(model.num_boosted_rounds())


class CatBoost(Library):
    """CatBoost; its model is its binary format, cbm."""

    distributions = ("catboost",)
    reviewed = "1"
    defaults: ClassVar[Mapping[tuple[str, ...], Any]] = {
        ("logging_level", "verbose", "silent", "verbose_eval"): "Silent",
        ("allow_writing_files",): False,
    }
    managed = ("cat_features", "text_features", "embedding_features", "early_stopping_rounds", "od_type")
    iterations = ("iterations", "n_estimators", "num_boost_round", "num_trees")
    threads = ("thread_count",)
    unknown_code = -1

    def fit(self, estimator: Any, data: FitData) -> bytes:
        """Fit."""
        from catboost import Pool

        columns = self._columns(data.rows, data.categorical)
        estimator.fit(Pool(columns, data.target, weight=data.weights, group_id=data.groups))
        content: bytes = estimator._serialize_model()
        return content

    def load(self, content: bytes, classes: int) -> Any:
        """Load."""
        from catboost import CatBoostClassifier, CatBoostRegressor

        return (CatBoostClassifier if classes else CatBoostRegressor)().load_model(blob=content)

    def predict(self, model: Any, rows: Floats, categorical: Sequence[int], trees: int = 0) -> Floats:
        """Answer."""
        import numpy as np

        columns = self._columns(rows, categorical)
        if hasattr(model, "predict_proba"):
            answers = np.asarray(model.predict_proba(columns, ntree_end=trees, thread_count=1))
            return answers[:, 1] if answers.shape[1] == 2 else answers
        return np.asarray(model.predict(columns, ntree_end=trees, thread_count=1), dtype=np.float64)

    def trees(self, model: Any) -> int:
        """Count the iterations."""
        return int(model.tree_count_)

    def _columns(self, rows: Floats, categorical: Sequence[int]) -> Any:
        """Return numbers in 32 bits, and categories as text, in which no category is one of its own."""
        import numpy as np
        from catboost import FeaturesData

        numeric = [place for place in range(rows.shape[1]) if place not in set(categorical)]
        codes = rows[:, list(categorical)]
        places = np.where(np.isnan(codes), -2, codes).astype(np.intp) + 2
        names = np.array([b"missing", *(b"%d" % n for n in range(-1, places.max(initial=0)))], dtype=object)
        return FeaturesData(
            num_feature_data=_in_range(rows[:, numeric]).astype(np.float32) if numeric else None,
            cat_feature_data=names[places] if categorical else None,
        )


LIBRARIES: Mapping[str, Library] = {"lightgbm": LightGBM(), "xgboost": XGBoost(), "catboost": CatBoost()}


def distribution_of(library: str) -> tuple[str, str]:
    """Return the package that brings a library here, and its version.

    Raises
    ------
    MissingExtraError
        None of its packages is installed.
    """
    for name in LIBRARIES[library].distributions if library in LIBRARIES else (library,):
        try:
            return name, version(name)
        except PackageNotFoundError:
            continue
    raise MissingExtraError(f"{library} is not installed in this environment", install_command(["boosting"]))


def with_threads(library: Library, params: Mapping[str, Any]) -> dict[str, Any]:
    """Add the number of threads of OMP_NUM_THREADS, which the libraries overrule, unless the candidate names one."""
    number = os.environ.get("OMP_NUM_THREADS", "")
    if not number.isdigit() or set(library.threads) & set(params):
        return dict(params)
    return {**params, library.threads[0]: int(number)}


def require_reviewed(library: str) -> None:
    """Raise `ModelFormatError` unless the installed version of a library is of the series that was checked."""
    name, number = distribution_of(library)
    series = LIBRARIES[library].reviewed
    if not f"{number}.".startswith(f"{series}."):
        raise ModelFormatError(
            f"the model is of {library}, and {name} {number} is installed (checked: {series})",
            f"install {name} {series}",
        )


def iterations_parameter(estimator: str, params: Mapping[str, Any]) -> str | None:
    """Return the parameter with the number of trees, by the name that a candidate uses; None if it cannot be chosen.

    >>> iterations_parameter("catboost.CatBoostClassifier", {"n_estimators": 100})
    'n_estimators'
    """
    library, _, name = estimator.partition(".")[0], *estimator.rpartition(".")[1:]
    if name.startswith("HistGradientBoosting"):
        return "max_iter"
    if library not in LIBRARIES or name.startswith("XGBRF"):
        return None
    names = LIBRARIES[library].iterations
    return next((alias for alias in names if alias in params), names[0])


def _in_range(rows: Floats) -> Floats:
    """Return numbers that 32 bits can hold: larger ones would be taken for infinite, and refused."""
    return rows.clip(-_LARGEST, _LARGEST)
