"""Clusters: rows that belong together, such as those of one day or one customer, and count as one draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEWEST = 4  # below, the interval of a cluster bootstrap covers less than it states


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which cluster each row belongs to, by number from 0.

    Parameters
    ----------
    name
        What a cluster is, in the plural: "days".
    """

    codes: NDArray[np.intp]
    name: str = "clusters"

    @classmethod
    def of(cls, values: NDArray[Any], name: str = "clusters") -> Clusters:
        """Number the different values of one array with an entry for each row."""
        return cls(np.unique(values, return_inverse=True)[1], name)

    def of_rows(self, rows: NDArray[Any]) -> Clusters:
        """Return the clusters of some of the rows."""
        return Clusters.of(self.codes[rows], self.name)

    @cached_property
    def sizes(self) -> NDArray[np.intp]:
        """Rows of each cluster."""
        return np.bincount(self.codes)

    @property
    def count(self) -> int:
        """How many clusters there are."""
        return len(self.sizes)

    @cached_property
    def effective(self) -> float:
        """How many clusters of equal size hold as much: the squared sum of the sizes over the sum of their squares.

        Kish: Survey Sampling, 1965, section 11.7; as the number for inference with clusters of unequal size: Carter,
        Schnepel, Steigerwald, Review of Economics and Statistics 99(4), 2017.

        >>> Clusters.of(np.array(["a", "a", "b", "b"])).effective
        2.0
        >>> round(Clusters.of(np.array(["a", "a", "a", "b"])).effective, 2)
        1.6
        """
        sizes = self.sizes.astype(np.float64)
        return float(sizes.sum() ** 2 / (sizes**2).sum())

    @property
    def too_few(self) -> bool:
        """Tell whether they are too few for an interval."""
        return self.effective < FEWEST

    def widening(self, confidence: float) -> float:
        """Return the factor by which a percentile interval is too narrow with so few clusters.

        The quantile of Student's t with one degree of freedom less than there are clusters, over the normal one, times the
        root of n / (n - 1) that a bootstrap's variance lacks (Cameron, Gelbach, Miller: Bootstrap-based improvements for
        inference with clustered errors, Review of Economics and Statistics 90(3), 2008).

        >>> few, many = (Clusters.of(np.arange(n)) for n in (7, 5000))
        >>> round(few.widening(0.95), 2), round(many.widening(0.95), 2)
        (1.35, 1.0)
        """
        from scipy.special import ndtri, stdtrit

        number, tail = self.effective, (1 + confidence) / 2
        if number <= 1:
            return math.inf
        return float(stdtrit(number - 1, tail) / ndtri(tail) * math.sqrt(number / (number - 1)))

    def __str__(self) -> str:
        kind, *of = self.name.split(" ", maxsplit=1)
        return " ".join([str(self.count), kind.removesuffix("s") if self.count == 1 else kind, *of])
