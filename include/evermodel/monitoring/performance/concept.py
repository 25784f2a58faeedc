"""Concept drift: change of the relation between features and labels since the promotion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evermodel.monitoring.drift.columns import days_of
from evermodel.monitoring.drift.family import DriftTest, refused
from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.spec import ModelSpec
from evermodel.spec.drift import ColumnKind
from evermodel.spec.parts import BY_DAY, BY_ROW
from evermodel.stats.serial import serial_effect

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]

MAIN_FEATURES = 5
WARNING, CRITICAL = 0.15, 0.3  # in standard deviations of the residual
_GROUPS = 5  # of the score
_CATEGORIES = 8
_LEAST_ROWS = 300
_MOST_ROWS = 50_000
LEAST_FREEDOM = 1.0  # below, nothing says how much days differ
_MEASURE = "change of residual (standard deviations)"


def concept_findings(
    spec: ModelSpec, reference: pa.Table | None, rows: pa.Table, words: str
) -> list[DriftTest]:
    """Test whether P(label | features) has changed, over groups of the score and along the main features.

    The residual is the label minus the score. It is regressed on the score and the features (errors that the model always made
    in some places do not count) and on the window's part in it; a Wald test with errors that
    need no equal variances (White, Econometrica 48, 1980) asks whether the window adds anything. Rows that merely come
    from other places (covariate shift) add nothing; another meaning of the same features does. Rows of one day share
    its weather, its strike or its campaign: by how much days differ more than their rows explain is measured on both
    sides, and the test is as much less sure (design effect; Kish: Survey Sampling, 1965). Successive days are alike: that
    widens it further and takes degrees of freedom (`serial_effect`). Rows of one value of the spec's `cluster` belong
    together, too; with `cluster: row` each row counts alone.

    Parameters
    ----------
    reference
        Rows with labels from when the version was promoted; None if there are none.
    rows
        Joined rows of the window, answered by that version.

    Returns
    -------
    One finding over groups of the score, under the label's name, and one for each main feature. They join the family
    of the day's tests, with a weight of one altogether.
    """
    kind: ColumnKind = "categorical" if spec.task == "multiclass" else "numeric"
    counts = (0 if reference is None else reference.num_rows, rows.num_rows)
    if reference is None or min(counts) < _LEAST_ROWS:
        why = f"{counts[1]} rows with labels against {counts[0]}, at least {_LEAST_ROWS} are needed"
        return [refused(spec.label.column, kind, "concept", words, why)]
    before, now = (_at_most(table, spec.seed) for table in (reference, rows))
    residuals, scores = _residuals(spec, before, now)
    spread = float(residuals[: before.num_rows].std())
    if spread == 0:
        return [
            refused(spec.label.column, kind, "concept", words, "the model makes no error on the reference")
        ]
    regression = _Regression(spec, before, now, residuals / spread, scores)
    if regression.freedom < LEAST_FREEDOM:
        why = "not enough evidence: the days are too few, or too much like the day before, to tell how much days differ"
        return [refused(spec.label.column, kind, "concept", words, why)]
    tests = [(spec.label.column, kind, regression.groups(), "score group")]
    for name in _main_features(spec, before, scores[: before.num_rows]):
        numeric = name in spec.features.numeric
        parts = regression.along(name) if numeric else regression.by_category(name)
        tests.append(
            (name, "numeric" if numeric else "categorical", parts, "slope" if numeric else "category")
        )
    weight = 1 / len(tests)
    return [
        DriftTest(_drift(name, how, regression.test(parts), where, words), CRITICAL, weight)
        for name, how, parts, where in tests
    ]


@dataclass(frozen=True)
class _Shift:
    """What the window adds: the size of it with an interval, and whether chance could make it."""

    effect: float
    low: float
    high: float
    p_value: float
    parts: Floats


class _Regression:
    """Residuals of both sides on features and score, ready to test what the window adds."""

    def __init__(
        self,
        spec: ModelSpec,
        before: pa.Table,
        now: pa.Table,
        residuals: Floats,
        scores: Floats,
    ) -> None:
        import pyarrow as pa

        names = [*spec.features.names, *(name for name in spec.context if name == spec.cluster)]
        self._both = pa.concat_tables([before.select(names), now.select(names)])
        self._window = np.repeat([0.0, 1.0], [before.num_rows, now.num_rows])
        self._residuals = residuals
        self._rank = _standard(scores, before.num_rows)
        self._edges = np.quantile(scores[: before.num_rows], np.arange(1, _GROUPS) / _GROUPS)
        self._group = np.searchsorted(np.unique(self._edges), scores, side="right")
        self._numbers = {n: _standard(_floats(self._both, n), before.num_rows) for n in spec.features.numeric}
        self._codes = {n: _top(self._both, n, before.num_rows) for n in spec.features.categorical}
        columns = [np.ones_like(scores), self._rank, self._rank**2, *_dummies(self._group)]
        for values in self._numbers.values():
            columns += [values, values**2]
        for codes in self._codes.values():
            columns += _dummies(codes)
        self._features = np.column_stack(columns)
        self._excess, self.freedom = self._design_effect(spec, before, now)

    def groups(self) -> Floats:
        """Return what the window may add in each group of the score."""
        groups = np.arange(self._group.max() + 1)
        return _floating((self._group[:, None] == groups) * self._window[:, None])

    def along(self, name: str) -> Floats:
        """Return what the window may add along a numeric feature, beside a shift of everything."""
        return _floating(
            np.column_stack([self._numbers[name], np.ones_like(self._window)]) * self._window[:, None]
        )

    def by_category(self, name: str) -> Floats:
        """Return what the window may add in each category of a feature."""
        codes = self._codes[name]
        return _floating((codes[:, None] == np.unique(codes)) * self._window[:, None])

    def test(self, parts: Floats) -> _Shift:
        """Ask whether these parts of the window differ from nothing."""
        from scipy.special import fdtrc

        parts = parts[:, (parts != 0).sum(axis=0) >= 20]
        if parts.shape[1] == 0:
            return _Shift(0.0, 0.0, 0.0, 1.0, np.zeros(0))
        left, residuals = self._without_features(parts)
        bread = np.linalg.pinv(left.T @ left)
        slopes = bread @ left.T @ residuals
        errors = residuals - left @ slopes
        rows, used = len(errors), self._features.shape[1] + parts.shape[1]
        meat = left.T @ (left * (errors**2)[:, None]) * rows / max(rows - used, 1)
        cov = bread @ meat @ bread * self._excess
        wald = float(slopes @ np.linalg.pinv(cov, hermitian=True) @ slopes)
        freedom = int(np.linalg.matrix_rank(cov, hermitian=True))
        here = self._window > 0
        size = parts[here].T @ parts[here] / here.sum()  # how much each slope moves the window's rows
        effect, low, high = _size(slopes, cov, size)
        p_value = float(fdtrc(max(freedom, 1), self.freedom, wald / max(freedom, 1)))
        return _Shift(effect, low, high, p_value, slopes)

    def _design_effect(self, spec: ModelSpec, before: pa.Table, now: pa.Table) -> tuple[float, float]:
        """Return by how much variances are too small because rows belong together, and the degrees of freedom."""
        excess, freedom = 1.0, float(len(self._residuals))
        if spec.cluster == BY_ROW:
            return excess, freedom
        if spec.time_column in before.column_names and "event_time" in now.column_names:
            days = np.concatenate([days_of(before[spec.time_column]), days_of(now["event_time"])])
            ratio, series = self._between(days)
            serial = serial_effect(*series)
            excess, freedom = max(excess, ratio * serial.inflation), serial.freedom
        if spec.cluster != BY_DAY:
            groups = np.unique(np.asarray(self._both[spec.cluster]).astype(str), return_inverse=True)[1]
            ratio, series = self._between(groups)
            excess, freedom = max(excess, ratio), min(freedom, float(sum(map(len, series)) - 2))
        return excess, freedom

    def _between(self, groups: NDArray[np.int64]) -> tuple[float, list[Floats]]:
        """Return the variance between groups of rows over that within them, and the means of the groups, both by side."""
        left, errors = self._without_features(self._window[:, None])
        alone = left[:, 0]
        errors = errors - alone * float(alone @ errors) / max(float(alone @ alone), 1e-12)
        sides = self._window.astype(np.int64)
        names, codes = np.unique(np.stack([sides, groups]), axis=1, return_inverse=True)
        counts = np.bincount(codes)
        means = np.bincount(codes, weights=errors) / counts
        side_means = np.array([errors[sides == side].mean() for side in (0, 1)])
        between = float((counts * (means - side_means[names[0]]) ** 2).sum()) / max(len(counts) - 2, 1)
        within = float(((errors - means[codes]) ** 2).sum()) / max(len(errors) - len(counts), 1)
        series = [means[names[0] == side] for side in (0, 1)]
        return (between / within if within > 0 else 1.0), series

    def _without_features(self, parts: Floats) -> tuple[Floats, Floats]:
        """Take out of parts and residuals what features and score explain of them (Frisch, Waugh, Lovell)."""
        targets = np.column_stack([parts, self._residuals])
        left = targets - self._basis @ (self._basis.T @ targets)
        return left[:, :-1], left[:, -1]

    @cached_property
    def _basis(self) -> Floats:
        """Orthonormal columns that span the features: all tests take the same out."""
        columns, sizes, _ = np.linalg.svd(self._features, full_matrices=False)
        return columns[:, sizes > sizes[0] * max(self._features.shape) * np.finfo(float).eps]


def _size(slopes: Floats, cov: Floats, size: Floats) -> tuple[float, float, float]:
    """Return the root mean square change over the window's rows, less what chance adds to it, with a 95 % interval."""
    noise = float(np.trace(size @ cov))
    effect = math.sqrt(max(0.0, float(slopes @ size @ slopes) - noise))
    draws = np.random.default_rng(0).multivariate_normal(slopes, cov, 400, check_valid="ignore")
    squares = np.einsum("ij,jk,ik->i", draws, size, draws) - 2 * noise
    low, high = np.sqrt(np.maximum(0.0, np.quantile(squares, [0.025, 0.975])))
    return effect, min(float(low), effect), max(float(high), effect)


def _drift(name: str, kind: ColumnKind, shift: _Shift, where: str, words: str) -> ColumnDrift:
    moved = "no part is large enough to tell"
    if len(shift.parts):
        largest = int(np.argmax(np.abs(shift.parts)))
        what = f"{where} {largest + 1}" if where != "slope" else ("slope" if largest == 0 else "level")
        moved = f"residual {shift.parts[largest]:+.2f} sd ({what})"
    return ColumnDrift(
        column=name,
        kind=kind,
        what="concept",
        measure=_MEASURE,
        effect=shift.effect,
        low=shift.low,
        high=shift.high,
        threshold=WARNING,
        p_value=shift.p_value,
        reference=words,
        summary=moved,
    )


def _residuals(spec: ModelSpec, before: pa.Table, now: pa.Table) -> tuple[Floats, Floats]:
    """Return label minus score, and the score, of both sides one after the other."""
    scores = np.concatenate([_floats(before, "score"), _floats(now, "score")])
    if spec.task == "multiclass":
        pairs = [
            (np.asarray(t["label"]).astype(str), np.asarray(t["predicted"]).astype(str))
            for t in (before, now)
        ]
        truth = np.concatenate([label == guess for label, guess in pairs]).astype(np.float64)
    else:
        truth = np.concatenate([np.asarray(t["label"], dtype=np.float64) for t in (before, now)])
    return truth - scores, scores


def _main_features(spec: ModelSpec, before: pa.Table, scores: Floats) -> list[str]:
    """Return the features that the score follows most on the reference."""
    strength: dict[str, float] = {}
    total = float(scores.var()) or 1.0
    for name in spec.features.numeric:
        values = _standard(_floats(before, name), before.num_rows)
        strength[name] = float(np.mean(values * (scores - scores.mean())) ** 2) / total
    for name in spec.features.categorical:
        codes = _top(before, name, before.num_rows)
        counts = np.maximum(np.bincount(codes), 1)
        means = np.bincount(codes, weights=scores - scores.mean()) / counts
        strength[name] = float((counts * means**2).sum() / len(scores)) / total
    return sorted(strength, key=lambda name: -strength[name])[:MAIN_FEATURES]


def _at_most(table: pa.Table, seed: int) -> pa.Table:
    if table.num_rows <= _MOST_ROWS:
        return table
    chosen = np.random.default_rng(seed).choice(table.num_rows, _MOST_ROWS, replace=False)
    return table.take(np.sort(chosen))


def _floats(table: pa.Table, name: str) -> Floats:
    import pyarrow as pa

    return np.asarray(table[name].cast(pa.float64()), dtype=np.float64)


def _standard(values: Floats, reference: int) -> Floats:
    """Return values in standard deviations of the reference, far ones cut, missing ones as its mean."""
    base = values[:reference][np.isfinite(values[:reference])]
    if len(base) == 0 or base.std() == 0:
        return np.zeros_like(values)
    return _floating(np.nan_to_num(np.clip((values - base.mean()) / base.std(), -3, 3), nan=0.0))


def _top(table: pa.Table, name: str, reference: int) -> NDArray[np.int64]:
    """Return codes of the most frequent categories of the reference; all others are one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = table[name].cast(pa.string())
    tally = pa.RecordBatch.from_struct_array(pc.value_counts(values.slice(0, reference).drop_null()))
    kept = tally.sort_by([("counts", "descending"), ("values", "ascending")])["values"][:_CATEGORIES]
    codes = pc.fill_null(pc.index_in(values, kept), len(kept))
    return np.asarray(codes, dtype=np.int64)


def _dummies(codes: NDArray[Any]) -> list[Floats]:
    return [(codes == code).astype(np.float64) for code in np.unique(codes)[1:]]


def _floating(values: Any) -> Floats:
    return np.asarray(values, dtype=np.float64)
