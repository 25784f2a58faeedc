"""The kinds of drift of one column: its distribution, its missing values, its new categories; and of pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from evermodel.monitoring.drift.bins import CategoryBins, NumberBins
from evermodel.monitoring.drift.by_day import clustered
from evermodel.monitoring.drift.compare import compare
from evermodel.monitoring.drift.correlation import pair_changes, significance
from evermodel.monitoring.drift.family import DriftTest
from evermodel.monitoring.drift.new_categories import can_tell, new_categories
from evermodel.monitoring.drift.profile import REST
from evermodel.monitoring.drift.reference_and_current import ComparedRows
from evermodel.monitoring.drift.verdict import Bin, ColumnDrift
from evermodel.spec import ModelSpec
from evermodel.spec.drift import BandSpec, DriftKind
from evermodel.stats.sample import CategoricalSample, NumericSample, Sample
from evermodel.stats.stability import stability


@dataclass(frozen=True)
class Pair:
    """One column on both sides.

    Parameters
    ----------
    name
        Of the column, and of it in the reference where that keeps it under another one.
    before, now
        The reference and the window.
    old, new
        The column in both.
    note
        What is odd about the window's column.
    """

    name: str
    source: str
    before: ComparedRows
    now: ComparedRows
    old: Sample
    new: Sample
    words: str
    note: str
    days: int


def distribution(spec: ModelSpec, pair: Pair, what: DriftKind, effects_alone: bool = False) -> DriftTest:
    """Compare the distribution of a column."""
    old, new = _comparable(pair.old, pair.new)
    watch = spec.drift.by_column.get(pair.name)
    band: BandSpec = watch.psi if watch and watch.psi else spec.drift.psi
    if effects_alone:
        test = _test(pair, what, "PSI", (_index(old, new),) * 3, 1.0, "", band, _index)
        return replace(test, significance=lambda: compare(old, new).p_value)
    found = compare(old, new)
    effect = found.psi, found.low, found.high
    summary = pair.note or found.summary
    test = _test(pair, what, "PSI", effect, found.p_value, summary, band, _index, found.bins)
    return replace(test, clustered=partial(clustered, spec, pair.before, pair.now, pair.source))


def missing(spec: ModelSpec, pair: Pair, effects_alone: bool = False) -> DriftTest | None:
    """Compare the share of missing values; None when no side has any."""
    old, new = pair.old, pair.new
    if (old.missing == 0 and new.missing == 0) or min(old.rows, new.rows) == 0:
        return None
    band = spec.drift.missing
    if effects_alone:
        test = _test(pair, "missing", "share", (_gap(old, new),) * 3, 1.0, "", band, _gap)
        return replace(test, significance=lambda: compare(_gaps(old), _gaps(new)).p_value)
    found = compare(_gaps(old), _gaps(new))
    effect = _gap(old, new), *_interval(old, new)
    summary = pair.note or f"missing {old.missing / old.rows:.1%} → {new.missing / new.rows:.1%}"
    return _test(pair, "missing", "share", effect, found.p_value, summary, band, _gap, found.bins)


def category(spec: ModelSpec, pair: Pair) -> DriftTest | None:
    """Find categories that the reference never had; None for numbers, or when the reference dropped rare ones."""
    old, new = pair.old, pair.new
    if not isinstance(old, CategoricalSample) or not isinstance(new, CategoricalSample) or not can_tell(old):
        return None
    found = new_categories(old, new)
    if not found.names:
        return None
    effect = found.share, found.low, found.high
    band = spec.drift.categories
    return _test(pair, "category", "share", effect, found.p_value, found.summary, band, _novelty)


def correlations(
    spec: ModelSpec,
    names: Sequence[str],
    before: ComparedRows,
    now: ComparedRows,
    words: str,
    days: int,
    effects_alone: bool = False,
) -> Iterator[DriftTest]:
    """Compare the rank correlations of pairs of columns.

    All pairs together take as much of the false-alarm rate as one test of each column.
    """
    band = spec.drift.correlation
    sides = before.ranked(names), now.ranked(names)
    pairs, chosen_from = pair_changes(names, *sides, math.inf if effects_alone else band.warning)
    rate = spec.drift.false_alarm_rate / max(chosen_from, 1)
    natural = cache(partial(before.natural_changes, names, days))
    places = {name: place for place, name in enumerate(names)}
    for pair in pairs:
        drift = ColumnDrift(
            what="correlation",
            column=f"{pair.first} ~ {pair.second}",
            kind="numeric",
            measure="change of rank correlation",
            effect=pair.change,
            low=pair.low,
            high=pair.high,
            threshold=band.warning,
            p_value=pair.p_value,
            reference=words,
            summary=f"rank correlation {pair.before:+.2f} → {pair.now:+.2f}",
        )
        two = places[pair.first], places[pair.second]
        rule, weight = partial(_of_pair, natural, *two, rate), len(names) / len(pairs)
        exact = partial(significance, *sides, *two, chosen_from / len(pairs)) if effects_alone else None
        yield DriftTest(drift, band.critical, weight, rule=rule, significance=exact)


def _test(
    pair: Pair,
    what: DriftKind,
    measure: str,
    effect: tuple[float, float, float],
    p_value: float,
    summary: str,
    band: BandSpec,
    effect_of: Callable[[Sample, Sample], float],
    bins: tuple[Bin, ...] = (),
) -> DriftTest:
    """Return a test of one column: the effect with its interval, and how the effect is found between stretches."""
    size, low, high = effect
    drift = ColumnDrift(
        what=what,
        column=pair.name,
        kind="categorical" if isinstance(pair.new, CategoricalSample) else "numeric",
        measure=measure,
        effect=size,
        low=low,
        high=high,
        threshold=band.warning,
        p_value=p_value,
        reference=pair.words,
        summary=summary,
        bins=bins,
    )
    # The rule holds the reference but not the column's values, which are large.
    rule = partial(_largest, pair.before, pair.source, pair.days, effect_of)
    return DriftTest(drift, band.critical, rule=rule)


def _comparable(old: Sample, new: Sample) -> tuple[Sample, Sample]:
    """Give both sides the same categories where one of them has put its rarer ones together."""
    if not isinstance(old, CategoricalSample) or not isinstance(new, CategoricalSample):
        return old, new
    if not old.counts.get(REST) and not new.counts.get(REST):
        return old, new
    return _folded(old, new), _folded(new, old)


def _folded(sample: CategoricalSample, other: CategoricalSample) -> CategoricalSample:
    kept = {name: count for name, count in sample.counts.items() if name in other.counts and name != REST}
    rest = sum(sample.counts.values()) - sum(kept.values())
    return CategoricalSample({**kept, REST: rest}, sample.missing)


def _gaps(sample: Sample) -> CategoricalSample:
    return CategoricalSample({"known": sample.rows - sample.missing, "missing": sample.missing})


def _interval(old: Sample, now: Sample) -> tuple[float, float]:
    """Return a 95 % interval of the absolute difference of two shares (Agresti and Caffo, 2000)."""
    n, m = old.rows + 2, now.rows + 2
    p, q = (old.missing + 1) / n, (now.missing + 1) / m
    half = 1.96 * math.sqrt(p * (1 - p) / n + q * (1 - q) / m)
    middle = abs(q - p)
    return max(0.0, middle - half), min(1.0, middle + half)


def _largest(
    before: ComparedRows, source: str, days: int, effect: Callable[[Sample, Sample], float]
) -> float:
    """Return the largest effect between a stretch of the reference and the rest of it."""

    def find() -> float:
        stretches = before.stretches(source, days)
        return max((effect(rest, part) for rest, part in stretches if rest.rows and part.rows), default=0.0)

    return before.once((source, days, effect), find)


def _index(old: Sample, new: Sample) -> float:
    old, new = _comparable(old, new)
    if isinstance(old, NumericSample) and isinstance(new, NumericSample):
        numeric = NumberBins.of(old)
        return stability(numeric.count(old), numeric.count(new), math.inf).psi
    if isinstance(old, CategoricalSample) and isinstance(new, CategoricalSample):
        categorical = CategoryBins.of(old)
        before, now = (categorical.for_index(categorical.count(side)) for side in (old, new))
        return stability(before, now, math.inf).psi
    return 0.0


def _gap(old: Sample, new: Sample) -> float:
    return abs(new.missing / new.rows - old.missing / old.rows)


def _novelty(old: Sample, new: Sample) -> float:
    if isinstance(old, CategoricalSample) and isinstance(new, CategoricalSample):
        return new_categories(old, new).share
    return 0.0


def _of_pair(
    natural: Callable[[], tuple[NDArray[np.float64], float]], first: int, second: int, rate: float
) -> float:
    """Return the largest change that is to be expected of a pair among many, from stretches of the reference.

    Of that many pairs some always leave the range that they have shown, so the limit is Student's t for one of them.
    """
    usual, stretches = natural()
    return float(usual[first, second] * stdtrit(stretches, 1 - rate / 2)) if stretches >= 1 else 0.0
