"""The two loops of answering many rows, compiled for this processor by Numba; they run without Python's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

_NUMBERS = types.Array(types.float64, 1, "C", readonly=True)
_PLACES = types.int32[::1]
_REAL, _WHOLE = types.float64, types.int64
_Function = Callable[..., Any]


def _compiled(signature: Any, *, others: bool = False, **more: Any) -> Callable[[_Function], _Function]:
    """Compile for these types now, or load what another process compiled; for `others` when they come."""

    def compile_now(function: _Function) -> _Function:
        options: dict[str, Any] = {"nogil": True, **more}
        try:
            compiled = njit(cache=True, **options)(function)
        except RuntimeError:  # neither the package's folder nor the user's cache can be written
            compiled = njit(**options)(function)
        compiled.compile(signature)
        if not others:
            compiled.disable_compile()  # what may be written to is taken for what may not
        return compiled  # type: ignore[no-any-return]

    return compile_now


@_compiled(_REAL(_REAL, _REAL))
def _within(value: float, last: float) -> float:
    above = value if value > 0.0 else 0.0
    return above if above < last else last


@_compiled(types.void(_NUMBERS, _REAL, _REAL, _WHOLE, _PLACES))
def cells(values: NDArray[np.float64], low: float, scale: float, last: int, found: NDArray[np.int32]) -> None:
    """Put each number, none of them missing, into one of the cells 0 to `last`; larger ones never into earlier cells."""
    for i in range(len(values)):
        found[i] = np.int32(_within((values[i] - low) * scale, float(last)))


@_compiled(types.void(_NUMBERS, _NUMBERS, _PLACES, _REAL, _REAL, _WHOLE, _PLACES))
def places(
    values: NDArray[np.float64],
    cuts: NDArray[np.float64],
    before: NDArray[np.int32],
    low: float,
    scale: float,
    first: int,
    found: NDArray[np.int32],
) -> None:
    """Find in which interval each number lies: how many of the cuts are below it, or `len(cuts)` if it is missing.

    Parameters
    ----------
    cuts
        Ascending, the last one infinite.
    before
        How many cuts lie in cells before each cell (see `cells`), and behind the last one all but the infinite.
    first
        Added to each answer.
    """
    last = float(len(before) - 2)
    for i in range(len(values)):
        value = values[i]
        if value != value:
            found[i] = first + len(cuts)
            continue
        cell = np.uint64(_within((value - low) * scale, last))
        start, end = before[cell], before[cell + np.uint64(1)]
        while end - start > 1:  # rare: nearly every cell has one cut, or none
            middle = (start + end) >> 1
            if cuts[middle] < value:
                start = middle + 1
            else:
                end = middle
        # No unpredictable branch: if the cell has no cut left, this one is above the number anyway.
        found[i] = first + start + np.int32(cuts[np.uint64(start)] < value)


_MATRIX = types.float64[:, ::1]


@_compiled(
    types.void(
        types.int32[:, ::1],
        types.uint32[:, ::1],
        types.uint32,
        types.uint32,
        _MATRIX,
        types.int64[::1],
        _MATRIX,
    ),
    others=True,  # masks of 64 bits
    fastmath={
        "reassoc"
    },  # what is added up may be in any order; which cell a number is in must not depend on it
)
def sums(
    found: NDArray[np.int32],
    masks: NDArray[Any],
    factor: int,
    shift: int,
    weights: NDArray[np.float64],
    starts: NDArray[np.int64],
    result: NDArray[np.float64],
) -> None:
    """Add up, for each row, what the first leaf adds that all its masks allow in each tree.

    Parameters
    ----------
    found
        Columns x rows: which line of the masks a value has.
    masks
        Lines x trees.
    factor, shift
        Multiplying a single bit by the factor puts a pattern of its own into the bits from `shift` on.
    weights
        Trees x patterns.
    starts
        First tree of each output, and the number of trees.
    result
        Rows x outputs.
    """
    columns, rows = found.shape
    trees = masks.shape[1]
    left = np.empty(trees, masks.dtype)
    for row in range(rows):
        left[:] = masks[np.uint64(found[0, row])]
        for column in range(1, columns, 2):  # two at a time: a third less time
            one = masks[np.uint64(found[column, row])]
            other = masks[np.uint64(found[min(column + 1, columns - 1), row])]
            for tree in range(trees):
                left[tree] &= one[tree] & other[tree]
        for tree in range(trees):
            left[tree] = (left[tree] & (~left[tree] + 1)) * factor  # of what is left, the lowest bit
        for output in range(len(starts) - 1):
            total = 0.0
            for tree in range(starts[output], starts[output + 1]):
                total += weights[np.uint64(tree), np.uint64(left[np.uint64(tree)] >> shift)]
            result[row, output] = total
