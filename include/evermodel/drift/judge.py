"""Judge a window against the reference: significant, large enough, and more than the reference's own variation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from evermodel.drift.counts import Binning, Counts, count, count_by_day, fit_binning
from evermodel.drift.statistics import natural_variation, psi, two_sample_p_value
from evermodel.drift.verdict import Bin, ColumnDrift
from evermodel.severity import RANK, Severity
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa


def judge_columns(spec: ModelSpec, reference: pa.Table, window: pa.Table) -> tuple[ColumnDrift, ...]:
    """Judge every watched column, worst first.

    A column drifts when three things hold: the two-sample test is significant at the spec's false-alarm rate divided
    by the number of columns (Bonferroni); the population stability index reaches a band of the spec; and it is larger
    than any window of the same length inside the reference shows.

    Parameters
    ----------
    reference
        Rows the champion was fitted on, with the time column.
    window
        Rows of the prediction log.
    """
    days = _days(reference[spec.time_column])
    length = max(1, round(spec.drift.window.total_seconds() / 86400))
    level = spec.drift.false_alarm_rate / len(spec.watched)
    judged = [_judge_column(spec, name, reference, window, days, length, level) for name in spec.watched]
    return tuple(sorted(judged, key=lambda c: (-RANK[c.severity], -c.effect / c.threshold)))


def _judge_column(
    spec: ModelSpec, name: str, reference: pa.Table, window: pa.Table, days: Any, length: int, level: float
) -> ColumnDrift:
    kind: Literal["numeric", "categorical"] = "numeric" if name in spec.features.numeric else "categorical"
    binning = fit_binning(name, kind, reference[name])
    by_day = count_by_day(binning, reference[name], days)
    before, now = by_day.sum(axis=0), count(binning, window[name])
    index, p_value = psi(before, now), two_sample_p_value(before, now)
    natural = natural_variation(by_day, length)
    severity: Severity = "none"
    if p_value < level and index > max(spec.drift.psi.warning, natural):
        severity = "critical" if index > max(spec.drift.psi.critical, natural) else "warning"
    return ColumnDrift(
        column=name,
        kind=kind,
        what="feature",
        method="calibrated",
        measure="PSI",
        effect=round(index, 6),
        low=round(index, 6),
        high=round(index, 6),
        calm=round(natural, 6),
        threshold=max(spec.drift.psi.warning, round(natural, 6)),
        p_value=p_value,
        reference="training",
        severity=severity,
        summary=_summary(binning, before, now, reference[name], window[name]),
        bins=_bins(binning, before, now),
    )


def _summary(
    binning: Binning, before: Counts, now: Counts, old: pa.ChunkedArray, new: pa.ChunkedArray
) -> str:
    """Say what changed: new nulls first, then the median of numbers, then the bin that moved most."""
    old_share, new_share = before / max(before.sum(), 1), now / max(now.sum(), 1)
    if new_share[-1] - old_share[-1] > 0.05:
        return f"missing {old_share[-1]:.0%} → {new_share[-1]:.0%}"
    medians = [_median(old), _median(new)] if binning.kind == "numeric" else []
    if len(set(medians)) == 2:
        return f"median {medians[0]} → {medians[1]}"
    moved = int(np.argmax(np.abs(new_share - old_share)))
    return f"{binning.labels[moved]} {old_share[moved]:.1%} → {new_share[moved]:.1%}"


def _median(values: pa.ChunkedArray) -> str:
    import pyarrow.compute as pc

    middle = pc.quantile(values, 0.5)[0].as_py()
    return "none" if middle is None else f"{middle:.4g}"


def _bins(binning: Binning, before: Counts, now: Counts, most: int = 12) -> tuple[Bin, ...]:
    """Return shares by bin for plots; of many categories those with the largest shares."""
    old_share, new_share = before / max(before.sum(), 1), now / max(now.sum(), 1)
    shown = [i for i in range(len(before)) if before[i] + now[i] > 0]
    if len(shown) > most:
        largest = sorted(shown, key=lambda i: -max(old_share[i], new_share[i]))[:most]
        shown = sorted(largest)
    return tuple(
        Bin(binning.labels[i], round(float(old_share[i]), 6), round(float(new_share[i]), 6)) for i in shown
    )


def _days(times: pa.ChunkedArray) -> Any:
    import pyarrow as pa

    stamps = times.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    days = stamps // 86_400_000_000
    return (days - days.min()).astype(np.intp)
