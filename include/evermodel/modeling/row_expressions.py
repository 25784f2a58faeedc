"""The formulas of a spec as the first step of a model's pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator, TransformerMixin

from evermodel.modeling.formulas import computed
from evermodel.spec.expressions import columns_of, parse_formula

if TYPE_CHECKING:
    import pandas as pd


class RowExpressions(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Add to a frame the columns that formulas make of its numbers.

    A stored model keeps their text, which is read, never run.

    Parameters
    ----------
    formulas
        By the names of the columns that they make.
    """

    def __init__(self, formulas: dict[str, str]) -> None:
        self.formulas = formulas

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, frame: pd.DataFrame, labels: Any = None) -> RowExpressions:
        """Learn nothing."""
        return self

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame with these columns at its end."""
        needed = {name for text in self.formulas.values() for name in columns_of(parse_formula(text))}
        columns = {name: frame[name].to_numpy("float64", na_value=float("nan")) for name in needed}
        return frame.assign(**computed(self.formulas, columns))
