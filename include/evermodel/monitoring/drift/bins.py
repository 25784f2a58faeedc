"""Bins for plots and the population stability index, fixed by the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evermodel.stats.sample import CategoricalSample, NumericSample

Counts = NDArray[np.float64]
QUANTILE_BINS = 10
MOST_CATEGORIES = 50
OTHER, NEVER_SEEN, MISSING = "other", "never seen", "missing"


@dataclass(frozen=True)
class NumberBins:
    """Bins between the reference's deciles; a value with a tenth of the rows has one of its own. The last is for missing rows.

    Parameters
    ----------
    cuts
        Where bins meet, in ascending order: a value, and whether it belongs to the bin above or below.
    """

    cuts: tuple[tuple[float, Literal["above", "below"]], ...]

    @classmethod
    def of(cls, reference: NumericSample) -> NumberBins:
        """Choose the bins."""
        if reference.known == 0:
            return cls(())
        edges = np.unique(quantiles(reference, np.arange(1, QUANTILE_BINS) / QUANTILE_BINS))
        size = reference.up_to(edges) - reference.below(edges)
        cuts: list[tuple[float, Literal["above", "below"]]] = []
        for edge, heavy in zip(
            edges.tolist(), size >= (reference.rows - reference.missing) / QUANTILE_BINS, strict=True
        ):
            cuts += [(edge, "above"), (edge, "below")] if heavy else [(edge, "above")]
        return cls(tuple(cuts))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """What each bin holds."""
        if not self.cuts:
            return ("any", MISSING)
        names = [f"{value:.4g}" for value, _ in self.cuts]
        first = "≤" if self.cuts[0][1] == "below" else "<"
        last = ">" if self.cuts[-1][1] == "below" else "≥"
        pairs = zip(self.cuts, self.cuts[1:], names, names[1:], strict=False)
        inner = [low if old[0] == new[0] else f"{low} to {high}" for old, new, low, high in pairs]
        return (f"{first} {names[0]}", *inner, f"{last} {names[-1]}", MISSING)

    def count(self, side: NumericSample) -> Counts:
        """Count the rows in each bin."""
        values = np.array([value for value, _ in self.cuts])
        above = np.array([belongs == "above" for _, belongs in self.cuts], dtype=bool)
        below = np.where(above, side.below(values), side.up_to(values))
        return np.append(np.diff(np.concatenate([[0], below, [side.rows - side.missing]])), side.missing)


@dataclass(frozen=True)
class CategoryBins:
    """The reference's commonest categories, then its others, those it never saw, and missing rows.

    Parameters
    ----------
    common
        Categories with a bin of their own, commonest first.
    known
        All categories of the reference.
    """

    common: tuple[str, ...]
    known: frozenset[str]

    @classmethod
    def of(cls, reference: CategoricalSample) -> CategoryBins:
        """Choose the bins; ties are broken by name."""
        seen = [name for name, rows in reference.counts.items() if rows > 0]
        ordered = sorted(seen, key=lambda name: (-reference.counts[name], name))
        return cls(tuple(ordered[:MOST_CATEGORIES]), frozenset(seen))

    @property
    def labels(self) -> tuple[str, ...]:
        """What each bin holds."""
        return (*self.common, OTHER, NEVER_SEEN, MISSING)

    def count(self, side: CategoricalSample) -> Counts:
        """Count the rows in each bin."""
        own = [side.counts.get(name, 0.0) for name in self.common]
        new = sum(self.never_seen(side).values())
        total = side.rows - side.missing
        return np.array([*own, max(total - sum(own) - new, 0.0), new, side.missing], dtype=np.float64)

    def for_index(self, counts: Counts) -> Counts:
        """Return counts whose index is 0 without drift: never seen categories join the other ones if there are any.

        Of very many categories a window always has some that the reference happens not to have.
        """
        if len(self.known) <= MOST_CATEGORIES:
            return counts
        return np.array([*counts[:-3], counts[-3] + counts[-2], counts[-1]])

    def never_seen(self, side: CategoricalSample) -> Mapping[str, float]:
        """Return the categories that the reference does not have."""
        return {name: rows for name, rows in side.counts.items() if name not in self.known and rows > 0}


def quantiles(side: NumericSample, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values, none of them in between two, that leave these shares of the known rows below them."""
    if side.weights is None:
        places = np.floor(shares * side.known).astype(np.intp)
        found = side.at(places.clip(0, round(side.known) - 1))
    else:
        rows = np.cumsum(side.weights)
        at = np.searchsorted(rows, shares * rows[-1], side="right")
        found = side.values[at.clip(0, len(side.values) - 1)]
    return found + 0.0  # which of -0 and 0 comes first in an order is chance
