"""The figures that a verdict is based on, as every message, page and command states them.

- **performance**: the metric on matured labels of predictions of the evaluated version, with its 95 % interval;
- **baseline**: the same metric on the version's test rows at promotion;
- **limit**: the baseline less the margin; a value beyond it, by more than chance, is a warning;
- **effect**: how far a column is from its reference, and **from** where it counts: the spec's band or, where larger, what
  the model's quiet windows show as normal;
- **drifting**: tests with a severity, of all tests of the day. A column has several tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evermodel.monitoring.drift.verdict import ColumnDrift, DriftVerdict, Performance


def measured(value: float, low: float | None, high: float | None) -> str:
    """Return a metric with its interval.

    >>> measured(0.7123, 0.695, 0.7291)
    '0.712 (0.695 to 0.729)'
    """
    return f"{value:.3f}" + ("" if low is None or high is None else f" ({low:.3f} to {high:.3f})")


def performance_figure(found: Performance) -> str:
    """Return the metric with its interval, its baseline and its limit, or why it is not known."""
    if found.value is not None:
        text = f"{found.metric} {measured(found.value, found.low, found.high)}"
    elif found.estimated is not None:
        interval = measured(found.estimated, found.estimated_low, found.estimated_high)
        text = f"{found.metric} {interval}, estimated before labels"
    else:
        return f"not yet known ({found.rows:,} labels of this version have matured)"
    if found.promised is None:
        return text
    limit = "" if found.limit is None else f", limit {found.limit:.3f}"
    return f"{text}, baseline {found.promised:.3f}{limit}"


def effect_figure(column: ColumnDrift) -> str:
    """Return how far a column is from its reference."""
    return f"{column.measure} {number(column.effect)}"


def limit_figure(column: ColumnDrift) -> str:
    """Return the effect from which a test counts, and what is normal for the model."""
    if column.calm >= column.threshold > 0:
        return f"normal up to {number(column.calm)}"
    return f"threshold {number(column.threshold)}" + (
        f", normal up to {number(column.calm)}" if column.calm else ""
    )


def tests_figure(verdict: DriftVerdict) -> str:
    """Return how many tests of the day have a severity."""
    return f"{len(verdict.drifting)} of {len(verdict.columns)} tests"


def number(value: float) -> str:
    """Return an effect or its limit.

    >>> number(0.0412), number(2.9161), number(12345.6)
    ('0.0412', '2.92', '12,346')
    """
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
