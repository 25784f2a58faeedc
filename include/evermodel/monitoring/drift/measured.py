"""A measured difference between reference and window, before its evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from evermodel.monitoring.drift.verdict import Bin
from evermodel.spec.drift import DriftKind


@dataclass(frozen=True)
class MeasuredDifference:
    """One difference with its evidence.

    Parameters
    ----------
    what, column, kind, measure, effect, low, high, p_value, reference, summary, bins
        As in `ColumnDrift`.
    warning, critical
        The spec's bands of the effect.
    weight
        Its part of the family's false-alarm rate.
    rule
        Finds the largest effect between stretches of the reference itself; costs time, so it is asked only if needed.
    """

    what: DriftKind
    column: str
    kind: Literal["numeric", "categorical"]
    measure: str
    effect: float
    low: float
    high: float
    p_value: float
    reference: str
    summary: str
    warning: float
    critical: float
    rule: Callable[[], float]
    bins: tuple[Bin, ...] = ()
    weight: float = 1.0

    @property
    def key(self) -> str:
        """Name of the test, the same from day to day."""
        return f"{self.what}:{self.column}"

    @property
    def power(self) -> float:
        """Exponent that makes the effect all but normal: PSI grows with the square of a shift, a share with the shift."""
        return 0.25 if self.measure == "PSI" else 0.5
