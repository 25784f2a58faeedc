"""Features that a user's own function derives, as the first step of a model's pipeline."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator, TransformerMixin

from evermodel.core.errors import ModelFormatError, SpecError, TrainingError

if TYPE_CHECKING:
    import pandas as pd

_CHECKED_ROWS = 20
_ALLOWED: ContextVar[str | None] = ContextVar("allowed_features_module", default=None)


class UserFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Add the columns that ``features(frame)`` of a module derives; the same in training, scoring and serving.

    A stored model keeps the module's name, never its code.

    Parameters
    ----------
    numeric, categorical
        The columns that its function gives.
    """

    def __init__(self, module: str, numeric: tuple[str, ...] = (), categorical: tuple[str, ...] = ()) -> None:
        self.module = module
        self.numeric = numeric
        self.categorical = categorical

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Refuse, while a stored model is loaded, a module that the spec does not name: its import would run it."""
        super().__setstate__(state)
        if (allowed := _ALLOWED.get()) is not None and not _same_package(self.module, allowed):
            raise ModelFormatError(
                f"the model derives features by {self.module}, and the spec names {allowed or 'no module'}",
                "set features.module to it, or to a module of the same package; otherwise retrain",
            )

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, frame: pd.DataFrame, labels: Any = None) -> UserFeatures:
        """Learn nothing, but make sure that the function looks at each row alone.

        Raises
        ------
        TrainingError
            A few rows by themselves get other features than among all the others, as they would when served.
        """
        # From all over the frame, so that a value taken from the row before shows too.
        picked = slice(None, None, max(1, len(frame) // _CHECKED_ROWS))
        few = frame.iloc[picked]
        alone, among = self.transform(few), self.transform(frame).iloc[picked]
        different = [name for name in among.columns if not alone[name].equals(among[name])]
        if different:
            raise TrainingError(
                f"{self.module}.features returns different values of {', '.join(different)} for {len(few)} rows alone and "
                "for the same rows among all",
                "make each row's features depend on that row only; compute sums and means over rows in the source's query",
            )
        return self

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame with the derived columns, typed as the declared ones are.

        Raises
        ------
        TrainingError
            The function gives something else than the spec declares.
        """
        import pandas as pd

        given = features_module(self.module).features(frame.copy())
        wanted = [*self.numeric, *self.categorical]
        if not isinstance(given, pd.DataFrame) or len(given) != len(frame):
            told = f"{len(given)} rows" if isinstance(given, pd.DataFrame) else f"a {type(given).__name__}"
            raise TrainingError(
                f"{self.module}.features returned {told} for {len(frame)} rows",
                "return a pandas frame with one row for each input row",
            )
        missing = [name for name in wanted if name not in given.columns]
        if missing:
            raise TrainingError(
                f"{self.module}.features does not return {', '.join(missing)}",
                "return every column of features.derived_numeric and features.derived_categorical",
            )
        derived: dict[str, Any] = {
            name: pd.to_numeric(given[name]).astype("float64").to_numpy() for name in self.numeric
        }
        for name in self.categorical:
            values = given[name].astype(object)
            derived[name] = values.map(str).where(~values.isna(), None).to_numpy()
        return frame.assign(**derived)


@contextmanager
def loading_features(module: str | None) -> Iterator[None]:
    """Allow models that are loaded in this block only features of the spec's module, or of another in its package."""
    token = _ALLOWED.set(module or "")
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def _same_package(stored: object, allowed: str) -> bool:
    return isinstance(stored, str) and stored.partition(".")[0] == allowed.partition(".")[0] != ""


def features_module(name: str) -> ModuleType:
    """Import a module of features.

    Raises
    ------
    SpecError
        It cannot be imported, or has neither ``features`` nor ``build_pipeline``.
    """
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise SpecError(
            f"features.module: {name} cannot be imported: {error}",
            "install it, or put it on PYTHONPATH, wherever the model is trained, scored or served",
        ) from error
    if not (hasattr(module, "features") or hasattr(module, "build_pipeline")):
        raise SpecError(
            f"features.module: {name} has neither features(frame) nor build_pipeline(spec, candidate)",
            "define one of them, or remove features.module",
        )
    return module
