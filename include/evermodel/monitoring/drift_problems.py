"""Problems of a window: drift, and the quality of the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from evermodel.core.severity import worst_of
from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.monitoring.problems import Problem
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from evermodel.monitoring.drift.reference_and_current import ColumnarRows

_NAMED = 6
_SHORT = {
    "prediction": "the predictions",
    "label": "the labels",
    "concept": "the relation between features and label",
}
_OF_COLUMN = {"missing": "missing {}", "category": "new values of {}", "correlation": "correlation of {}"}


def drift_problem(spec: ModelSpec, rows: int, columns: Sequence[ColumnDrift]) -> Problem:
    """Summarize all tests of the day.

    Parameters
    ----------
    rows
        Rows of the window.
    columns
        The evaluated tests, worst first.
    """
    if rows < spec.drift.min_rows:
        reason = f"{rows} rows are too few for a verdict (at least {spec.drift.min_rows})"
        return Problem("drift", "none", reason, known=False)
    moved = [column for column in columns if column.severity != "none"]
    if not moved:
        return Problem("drift", "none", f"none of {len(spec.watched)} columns drifts")
    features = list(dict.fromkeys(c.column for c in moved if c.what == "feature"))
    others = list(dict.fromkeys(_named(c) for c in moved if c.what != "feature"))
    parts = []
    if features:
        parts.append(f"{len(features)} of {len(spec.watched)} columns drift: {_listed(features)}")
    if others:
        parts.append(f"{'also ' if features else ''}drifting: {_listed(others)}")
    return Problem("drift", worst_of(c.severity for c in moved), "; ".join(parts))


def quality_problem(spec: ModelSpec, rows: ColumnarRows, more: Iterable[str] = ()) -> Problem:
    """Return the data quality problem of a window; bad data is not drift, and blocks an automatic retrain.

    Parameters
    ----------
    rows
        The window.
    more
        Findings of other parts, such as contradictory labels.
    """
    found = [*_too_many_missing(spec, rows), *more]
    reason = "; ".join(found) or "every column is as complete as the spec requires"
    return Problem("quality", "warning" if found else "none", reason, details=tuple(found))


def _too_many_missing(spec: ModelSpec, rows: ColumnarRows) -> list[str]:
    found = []
    for name in spec.features.names:
        if name not in rows.column_names:
            found.append(f"{name}: the column is missing from the log")
            continue
        share = rows[name].null_count / max(rows.num_rows, 1)
        limit = spec.validation.max_null_share_by_column.get(name, spec.validation.max_null_share)
        if share > limit:
            found.append(f"{name}: {share:.0%} missing, at most {limit:.0%} allowed")
    return found


def _named(column: ColumnDrift) -> str:
    return _SHORT.get(column.what) or _OF_COLUMN[column.what].format(column.column)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
