"""What formulas of the spec make of numbers: one code for training, scoring and serving."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evermodel.spec.expressions import FormulaColumn, FormulaNumber, FormulaPart, columns_of, parse_formula

Numbers = NDArray[np.float64]


def computed(formulas: Mapping[str, str], columns: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """Compute formulas row by row.

    A value is missing (NaN) where one that its formula needs is missing, and where a step has no finite number as its
    result, such as a division by zero. It does not depend on the rows that are computed together.

    Parameters
    ----------
    formulas
        By the name of what they make.
    columns
        At least those that the formulas name, a value a row.
    """
    needed = {name for text in formulas.values() for name in columns_of(parse_formula(text))}
    # Of values that do not lie side by side NumPy computes exp and log by other code, with other last digits.
    given = {name: np.ascontiguousarray(columns[name], dtype=np.float64) for name in needed}
    with np.errstate(all="ignore"):
        return {name: _value(parse_formula(text), given) for name, text in formulas.items()}


def _value(part: FormulaPart, columns: Mapping[str, Numbers]) -> Any:
    if isinstance(part, FormulaNumber):
        return np.float64(part.value)
    if isinstance(part, FormulaColumn):
        found: Any = columns[part.name]
    else:
        found = _FUNCTIONS[part.function](*(_value(argument, columns) for argument in part.arguments))
    return np.where(np.isfinite(found), found, np.nan)


def _comparison(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a comparison that gives 1 or 0, and of a missing value a missing one."""

    def of(left: Any, right: Any) -> Any:
        return np.where(np.isnan(left) | np.isnan(right), np.nan, compare(left, right))

    return of


def _where(condition: Any, yes: Any, no: Any) -> Any:
    return np.where(np.isnan(condition), np.nan, np.where(condition != 0, yes, no))


def _of_all(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda *values: reduce(function, values)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "negative": np.negative,
    "<": _comparison(np.less), "<=": _comparison(np.less_equal),
    ">": _comparison(np.greater), ">=": _comparison(np.greater_equal),
    "==": _comparison(np.equal), "!=": _comparison(np.not_equal),
    "abs": np.abs, "exp": np.exp, "log": np.log, "log1p": np.log1p, "sqrt": np.sqrt,
    "min": _of_all(np.minimum), "max": _of_all(np.maximum), "where": _where,
}  # fmt: skip
