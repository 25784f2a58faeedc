"""Checks of a snapshot against the last good one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from evermodel.data.validation.profile import ColumnProfile, SnapshotProfile, variants_of
from evermodel.data.validation.report import CheckResult, Severities
from evermodel.spec import ModelSpec

_EXAMPLES = 5
# One that was rarer than this may be missing by chance.
_RARE = 0.01


def history_checks(
    spec: ModelSpec,
    profile: SnapshotProfile,
    before: SnapshotProfile,
    severities: Severities,
    *,
    known: frozenset[str],
) -> Iterator[CheckResult]:
    """Compare rows, nulls, categories, means and constancy with the last good snapshot.

    Parameters
    ----------
    known
        Columns whose categories the schema lists: what is new in them, it says.
    """
    limit = spec.validation.max_row_change
    expected = before.rows * (profile.days / before.days if profile.days and before.days else 1.0)
    change = profile.rows / max(expected, 1) - 1
    found = f"{profile.rows} where {expected:.0f} were expected ({change:+.1%})"
    yield severities.check(
        "row_change",
        "rows since the last good snapshot",
        change >= -limit,
        found,
        f"a loss of at most {limit:.0%}",
    )
    if not profile.rows or not before.rows:
        return
    for column in spec.features.names:
        now, then = profile.columns.get(column), before.columns.get(column)
        if now is None or then is None:
            continue
        yield _null_jump(spec, profile, before, column, severities)
        yield _constant(column, now, then, severities)
        if now.numeric:
            yield from _mean(spec, column, now, then, severities)
        else:
            yield from _categories(column, now, then, before.rows, severities, known)


def _null_jump(
    spec: ModelSpec, profile: SnapshotProfile, before: SnapshotProfile, column: str, severities: Severities
) -> CheckResult:
    limit = spec.validation.max_null_jump
    now, then = (p.columns[column].nulls / p.rows for p in (profile, before))
    title, found = f"growth of the nulls in {column}", f"{now:.2%} after {then:.2%}"
    allowed = f"at most {100 * limit:g} points more"
    return severities.check("null_jump", title, now - then <= limit, found, allowed, column)


def _constant(column: str, now: ColumnProfile, then: ColumnProfile, severities: Severities) -> CheckResult:
    value = _only_value(now)
    fine = value is None or _only_value(then) is not None
    found = "several values" if value is None else f"{value} in every row"
    return severities.check(
        "constant", f"variety of {column}", fine, found, "several values, as before", column
    )


def _only_value(column: ColumnProfile) -> str | None:
    if column.numeric:
        return f"{column.low:g}" if column.low is not None and column.low == column.high else None
    return repr(next(iter(column.values))) if column.distinct == 1 else None


def _mean(
    spec: ModelSpec, column: str, now: ColumnProfile, then: ColumnProfile, severities: Severities
) -> Iterator[CheckResult]:
    if now.mean is None or then.mean is None or not then.sd:
        return
    limit, shift = spec.validation.max_mean_shift, (now.mean - then.mean) / then.sd
    if not math.isfinite(shift):
        return  # numbers at the end of what a float can hold
    found = f"{now.mean:.4g} after {then.mean:.4g} ({shift:+.2f} standard deviations)"
    allowed = f"at most {limit:g} of them"
    yield severities.check("mean_shift", f"mean of {column}", abs(shift) <= limit, found, allowed, column)


def _categories(
    column: str,
    now: ColumnProfile,
    then: ColumnProfile,
    rows: int,
    severities: Severities,
    known: frozenset[str],
) -> Iterator[CheckResult]:
    common = {value: n for value, n in then.values.items() if n / rows >= _RARE}
    gone = [value for value in common if value not in now.values] if now.listed else []
    title, found = f"vanished categories of {column}", f"{len(gone)} of {len(common)}"
    examples = tuple(f"{value!r}, before in {common[value]} rows" for value in gone[:_EXAMPLES])
    yield severities.check("vanished_category", title, not gone, found, "none", column, examples=examples)
    if column in known or not then.listed:
        return
    new = {value: n for value, n in now.values.items() if value not in then.values}
    new = {value: n for value, n in new.items() if value not in variants_of(new, then.values)}
    rows = sum(new.values())
    title, found = (
        f"categories of {column} that are new since the last good snapshot",
        f"{len(new)} in {rows} rows",
    )
    examples = tuple(f"{value!r} in {n} rows" for value, n in list(new.items())[:_EXAMPLES])
    check = severities.check("category", title, not new, found, "none", column, rows, examples)
    # Only a schema file can tell which rows to quarantine.
    yield replace(check, severity="warn") if check.severity == "quarantine" else check
