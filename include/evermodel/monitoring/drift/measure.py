"""Measure every difference between a window and its references that the spec asks for."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from evermodel.monitoring.drift import tests_by_kind as kinds
from evermodel.monitoring.drift.family import DriftTest, refused
from evermodel.monitoring.drift.profile import of_version
from evermodel.monitoring.drift.profiles import answers
from evermodel.monitoring.drift.reference_and_current import ComparedRows
from evermodel.monitoring.drift.references import Reference, References
from evermodel.monitoring.drift.tests_by_kind import Pair
from evermodel.monitoring.drift.together import together
from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.spec import ModelSpec
from evermodel.spec.drift import ColumnKind, ColumnWatch
from evermodel.stats.sample import CategoricalSample, NumericSample, Sample

if TYPE_CHECKING:
    import pandas as pd

_ROWS_FOR_TWO = 100_000  # in the window, from which two columns at a time save more than they cost
_WHOLE = 0.9  # minimum share of the window's predictions by the evaluated version


def measure(references: References, now: ComparedRows, effects_alone: bool = False) -> Iterator[DriftTest]:
    """Measure all kinds of drift that `respond` does not switch off.

    Parameters
    ----------
    effects_alone
        Of a past window: leave the p-values to `DriftTest.significance`, as they take most of the time.

    Yields
    ------
    Tests with a rule, and findings that are already decided: those of Evidently's methods, and that a column cannot be
    evaluated.
    """
    spec = references.spec
    yield from _columns(references, now, effects_alone)
    if spec.respond.prediction != "off":
        for name in answers(spec):
            yield from _answers(references, name, now, effects_alone)
    reference = references.main()
    numeric = [name for name in spec.watched if name in spec.features.numeric]
    if spec.respond.correlation != "off" and len(numeric) > 1 and reference.side:
        yield from kinds.correlations(
            spec, numeric, reference.side, now, reference.words, window_days(references), effects_alone
        )


def measure_together(references: References, now: ComparedRows, others: float) -> DriftTest | None:
    """Compare whole rows by a classifier, at a tenth of the rate; None where that is off, or there are too few rows.

    Parameters
    ----------
    others
        Weight of all other tests.
    """
    spec, reference = references.spec, references.main()
    if spec.respond.together == "off" or reference.side is None:
        return None
    return together(spec, reference.side, now, reference.words, window_days(references), others)


def _columns(references: References, now: ComparedRows, effects_alone: bool) -> Iterator[DriftTest]:
    """Measure column after column, two at a time: sorting and reading let others run."""
    names = references.spec.watched
    if now.rows < _ROWS_FOR_TWO or len(os.sched_getaffinity(0)) < 2:
        for name in names:
            yield from _column(references, name, now, effects_alone)
        return
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda name: list(_column(references, name, now, effects_alone)), names):
            yield from found


def window_days(references: References) -> int:
    """Return the length of the window in days, at least one."""
    return max(1, round(references.spec.drift.window.total_seconds() / 86400))


def _column(references: References, name: str, now: ComparedRows, effects_alone: bool) -> Iterator[DriftTest]:
    spec, reference = references.spec, references.of(name)
    if reference.side is None:
        yield refused(name, _kind(spec, name), "feature", reference.words, reference.refusal)
        return
    pair = _pair(references, reference, name, name, now)
    watch = spec.drift.by_column.get(name)
    if spec.respond.feature != "off":
        if not watch or watch.method == "calibrated":
            yield kinds.distribution(spec, pair, "feature", effects_alone)
        elif not effects_alone:  # Evidently's methods have no history
            yield by_evidently(watch, name, pair.old, pair.new, reference.words)
    respond = spec.respond
    missing = None if respond.missing == "off" else kinds.missing(spec, pair, effects_alone)
    category = None if respond.category == "off" else kinds.category(spec, pair)
    yield from (found for found in (missing, category) if found is not None)


def _answers(
    references: References, name: str, now: ComparedRows, effects_alone: bool
) -> Iterator[DriftTest]:
    spec, source = references.spec, of_version(name, references.version)
    if not now.has(source):
        return
    reference = references.of_answers(name)
    kind: ColumnKind = "numeric" if name == "score" else "categorical"
    if reference.side is None:
        yield refused(name, kind, "prediction", reference.words, reference.refusal)
        return
    pair = _pair(references, reference, name, source, now)
    known = pair.new.rows - pair.new.missing
    if known < spec.drift.min_rows:
        why = f"{known:.0f} predictions of version {references.version}, at least {spec.drift.min_rows}"
        yield refused(name, kind, "prediction", reference.words, why)
        return
    if pair.new.rows < _WHOLE * now.rows:
        # A day or two of a version that has just begun vary by more than windows of the whole length do.
        why = f"version {references.version} made {pair.new.rows / now.rows:.0%} of the window's predictions"
        yield refused(name, kind, "prediction", reference.words, why)
        return
    yield kinds.distribution(spec, pair, "prediction", effects_alone)


def _pair(references: References, reference: Reference, name: str, source: str, now: ComparedRows) -> Pair:
    assert reference.side is not None
    old, new = reference.side.sample(source), now.sample(source)
    numeric = isinstance(old, NumericSample) or isinstance(new, NumericSample)
    return Pair(
        name=name,
        source=source,
        before=reference.side,
        now=now,
        old=_as(old, numeric),
        new=_as(new, numeric),
        words=reference.words,
        note=now.note(source),
        days=window_days(references),
    )


def _as(sample: Sample, numeric: bool) -> Sample:
    """Give a column that is not there the kind of the other side's."""
    if numeric and isinstance(sample, CategoricalSample):
        return NumericSample(np.empty(0), missing=sample.rows)
    return sample


def _kind(spec: ModelSpec, name: str) -> ColumnKind:
    return "numeric" if name in spec.features.numeric else "categorical"


# Those whose score is a p-value: drift is *below* the threshold.
_P_VALUES = frozenset(
    ["anderson", "chisquare", "cramer_von_mises", "es", "ks", "kuiper_test", "mannw", "t_test", "z"]
)


def by_evidently(watch: ColumnWatch, name: str, old: Sample, new: Sample, words: str) -> DriftTest:
    """Evaluate a column by one of Evidently's methods, on all rows; drift is critical, as Evidently has one degree.

    Rows without a value, and infinite ones, are left out as in Evidently's reports.
    """
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    side_kind: ColumnKind = "numeric" if isinstance(new, NumericSample) else "categorical"
    kind = ColumnType.Numerical if side_kind == "numeric" else ColumnType.Categorical
    before, now = _series(old, name), _series(new, name)
    if before.empty or now.empty:
        return refused(name, side_kind, "feature", words, "no known value")
    test = get_stattest(before, now, kind, watch.method)
    found = test(before, now, kind, watch.threshold)
    score = float(found.drift_score)
    is_p_value = watch.method in _P_VALUES
    sure = math.isfinite(score)
    drift = ColumnDrift(
        column=name,
        kind=side_kind,
        what="feature",
        method=watch.method,
        measure=test.display_name,
        effect=score if sure else 0.0,
        low=score if sure else 0.0,
        high=score if sure else 0.0,
        threshold=float(found.actual_threshold),
        p_value=score if is_p_value and sure else 1.0,
        reference=words,
        summary=f"{test.display_name} {score:.4g}, threshold {found.actual_threshold:g}",
    )
    return DriftTest(drift, drift.threshold, decided="critical" if found.drifted else "none")


def _series(sample: Sample, name: str) -> pd.Series:
    import pandas as pd

    if isinstance(sample, NumericSample):
        finite = np.isfinite(sample.values)
        values = sample.values[finite]
        if sample.weights is not None:
            values = np.repeat(values, np.maximum(np.round(sample.weights[finite]), 1).astype(np.intp))
        return pd.Series(values, name=name)
    names, counts = list(sample.counts), [round(count) for count in sample.counts.values()]
    return pd.Series(np.repeat(np.array(names, dtype=object), counts), name=name, dtype=object)
