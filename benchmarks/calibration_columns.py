"""Simulated columns of the calibration benchmark, calm and drifting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evermodel.stats.sample import CategoricalSample, NumericSample, Sample

Array = NDArray[np.float64]
ZERO_SHARE = 0.6
NUMERIC = ("normal", "heavy-tailed", "zero-inflated")
CATEGORIES = (2, 10, 50, 1000)
NEW = -1


@dataclass(frozen=True)
class Column:
    """A column whose distribution is known.

    Parameters
    ----------
    name
        As in the tables.
    draw
        Draws rows that drifted by some strength: sorted values, or counts by category (the last one is new).
    numeric
        Whether these are values.
    """

    name: str
    draw: Callable[[np.random.Generator, int, str, float], Array]
    numeric: bool

    def sample(self, drawn: Array) -> Sample:
        """Return the rows as the comparison takes them."""
        if self.numeric:
            return NumericSample(drawn)
        return CategoricalSample(
            {f"c{code:04}": rows for code, rows in enumerate(drawn.tolist()) if rows > 0}
        )


def columns() -> tuple[Column, ...]:
    """Return every kind of column of the benchmark."""
    numeric = [Column(name, _numeric(name), True) for name in NUMERIC]
    return (*numeric, *(Column(f"{k} categories", _categorical(k), False) for k in CATEGORIES))


def drifts(column: Column) -> tuple[str, ...]:
    """Return the kinds of drift that are tried on a column."""
    if not column.numeric:
        return ("one grows", "tilt") if column.name.startswith("2 ") else ("one grows", "new", "tilt")
    return (
        ("location", "scale", "zero share")
        if column.name == "zero-inflated"
        else ("location", "scale", "tail")
    )


def _numeric(name: str) -> Callable[[np.random.Generator, int, str, float], Array]:
    def draw(generator: np.random.Generator, rows: int, drift: str, strength: float) -> Array:
        values = generator.standard_normal(rows)
        if drift == "location":
            values += strength
        elif drift == "scale":
            values *= 1 + strength
        elif drift == "tail":
            far = generator.random(rows) < strength
            values[far] *= 5
        if name != "normal":
            values = np.exp(values)
        if name == "zero-inflated":
            share = ZERO_SHARE + (strength if drift == "zero share" else 0)
            values[generator.random(rows) < share] = 0
        values.sort()
        return values

    return draw


def _categorical(many: int) -> Callable[[np.random.Generator, int, str, float], Array]:
    base = 1 / np.arange(1, many + 1)

    def draw(generator: np.random.Generator, rows: int, drift: str, strength: float) -> Array:
        shares = base / base.sum()
        new = 0.0
        if drift == "one grows":
            shares = shares * (1 - strength)
            shares[min(2, many - 1)] += strength
        elif drift == "tilt":
            shares = base ** (1 - strength)
            shares /= shares.sum()
        elif drift == "new":
            new = strength
        return generator.multinomial(rows, [*(shares * (1 - new)), new]).astype(np.float64)

    return draw
