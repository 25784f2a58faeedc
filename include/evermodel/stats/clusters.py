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
        if self.count == 1:
            return f"1 {self.name.replace('days', 'day').replace('values', 'value')}"
        return f"{self.count} {self.name}"


def standard_errors(confidence: float, freedom: float) -> float:
    """Return half the width of an interval in standard errors: a quantile of Student's t.

    >>> round(standard_errors(0.95, 6), 3), round(standard_errors(0.95, math.inf), 3)
    (2.447, 1.96)
    """
    from scipy.special import ndtri, stdtrit

    tail = (1 + confidence) / 2
    return float(ndtri(tail) if math.isinf(freedom) else stdtrit(freedom, tail))


def chance_beyond(distance: float, errors: tuple[float, float], freedoms: tuple[float, float]) -> float:
    """Return the chance of a difference of two estimates at least as large, if there is none.

    Parameters
    ----------
    distance
        The difference, in units of the estimates.
    errors, freedoms
        Standard error and degrees of freedom of each; infinite for a normal distribution. Those of the difference are
        Satterthwaite's (An approximate distribution of estimates of variance components, Biometrics Bulletin 2, 1946).

    >>> round(chance_beyond(1.96, (1.0, 0.0), (math.inf, math.inf)), 3)
    0.025
    >>> round(chance_beyond(2.447, (1.0, 0.0), (6.0, math.inf)), 3)
    0.025
    """
    from scipy.special import ndtr, stdtr

    variances = [error**2 for error in errors]
    if sum(variances) == 0:
        return 0.0 if distance > 0 else 1.0
    score = -distance / math.sqrt(sum(variances))
    spread = sum(variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True))
    return float(ndtr(score) if spread == 0 else stdtr(sum(variances) ** 2 / spread, score))
