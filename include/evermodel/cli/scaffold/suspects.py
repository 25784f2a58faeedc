"""Find what may betray the label: columns that tell it alone or together, and values that come and go with time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evermodel.cli.scaffold.labels import Label
from evermodel.cli.scaffold.table import SourceTable
from evermodel.data.validation.leakage_hints import LEAK, predictive_power
from evermodel.data.validation.scan import name
from evermodel.spec.parts import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUSPICIOUS = 0.9
_MEASURES: dict[Task, str] = {"binary": "ROC AUC", "multiclass": "accuracy", "regression": "R²"}
_MOST_TERMS, _EXACT = 6, 1e-9
_LEAST_ROWS = 50
_PARTS = 10
_GONE, _THERE = 0.98, 0.5
_COLUMNS_AT_ONCE = 200


@dataclass(frozen=True)
class Suspects:
    """Columns that tell the label too well, with the reason: leaks beyond doubt, and what a person has to look at."""

    leaks: dict[str, str] = field(default_factory=dict)
    suspicious: dict[str, str] = field(default_factory=dict)


def find_suspects(table: SourceTable, label: Label, numeric: list[str], categorical: list[str]) -> Suspects:
    """Measure how well each feature alone tells the label, and whether numbers add up to it."""
    target = label.expression or name(label.column)
    wanted = {
        "binary": f"({target})::INTEGER = 1",
        "multiclass": f"hash({target})",
        "regression": f"{target}::DOUBLE",
    }
    # The label's own null is no class.
    expressions = {label.column: f"CASE WHEN ({target}) IS NOT NULL THEN {wanted[label.task]} END"}
    expressions |= {c: f"TRY_CAST({name(c)}::VARCHAR AS DOUBLE)" for c in numeric}
    expressions |= {c: f"hash({name(c)})" for c in categorical}
    sample = table.sample(expressions)
    power = predictive_power(label.task, label.column, [*numeric, *categorical], sample)
    leaks: dict[str, str] = {}
    suspicious: dict[str, str] = {}
    for column, value in sorted(power.items(), key=lambda item: -item[1]):
        if value >= SUSPICIOUS:
            found = f"{_MEASURES[label.task]} {value:.3f} from this column alone"
            (leaks if value >= LEAK else suspicious)[column] = found
    if label.task == "regression":
        terms = _sum(sample, label.column, [c for c in numeric if c not in leaks])
        leaks |= {c: f"{' and '.join(terms)} add up to {label.column}" for c in terms}
    return Suspects(leaks, {c: why for c, why in suspicious.items() if c not in leaks})


def _sum(sample: dict[str, Any], label: str, numeric: list[str]) -> list[str]:
    """Return the few numbers whose weighted sum is the label exactly: orthogonal matching pursuit."""
    import numpy as np

    target = np.ma.filled(sample[label].astype(float), np.nan)
    columns = {c: np.ma.filled(sample[c].astype(float), np.nan) for c in numeric}
    keep = np.isfinite(target)
    columns = {
        c: v for c, v in columns.items() if np.isfinite(v[keep]).mean() > 0.5 and np.nanstd(v[keep]) > 0
    }
    if keep.sum() < _LEAST_ROWS or len(columns) < 2:
        return []
    chosen: list[str] = []
    rest = target - target[keep].mean()
    while len(chosen) < min(_MOST_TERMS, len(columns)):
        known = {c: _correlation(v, rest) for c, v in columns.items() if c not in chosen}
        best = max(known, key=known.__getitem__)
        if not known[best]:
            return []
        chosen.append(best)
        rows = keep & np.all([np.isfinite(columns[c]) for c in chosen], axis=0)
        if rows.sum() < _LEAST_ROWS:
            return []
        matrix = np.column_stack([*(columns[c][rows] for c in chosen), np.ones(rows.sum())])
        weights = np.linalg.lstsq(matrix, target[rows], rcond=None)[0]
        rest = np.full(len(target), np.nan)
        rest[rows] = target[rows] - matrix @ weights
        if np.mean(rest[rows] ** 2) <= _EXACT * np.var(target[rows]):
            return _needed(chosen, columns, target, rows)
    return []


def _needed(
    chosen: list[str],
    columns: dict[str, NDArray[np.float64]],
    target: NDArray[np.float64],
    rows: NDArray[np.bool_],
) -> list[str]:
    """Leave out what the sum does not need; return nothing of one column, which is no sum."""
    import numpy as np

    for column in list(chosen):
        fewer = [c for c in chosen if c != column]
        matrix = np.column_stack([*(columns[c][rows] for c in fewer), np.ones(rows.sum())])
        rest = target[rows] - matrix @ np.linalg.lstsq(matrix, target[rows], rcond=None)[0]
        if np.mean(rest**2) <= _EXACT * np.var(target[rows]):
            chosen = fewer
    return chosen if len(chosen) > 1 else []


def _correlation(values: NDArray[np.float64], rest: NDArray[np.float64]) -> float:
    import numpy as np

    rows = np.isfinite(values) & np.isfinite(rest)
    if rows.sum() < _LEAST_ROWS or not np.std(values[rows]) or not np.std(rest[rows]):
        return 0.0
    return abs(float(np.corrcoef(values[rows], rest[rows])[0, 1]))


def missing_over_time(
    table: SourceTable, time: str, columns: list[str]
) -> dict[str, list[tuple[str, float]]]:
    """Return the share of missing values of each column in ten parts of the time, with each part's first day."""
    found: dict[str, list[tuple[str, float]]] = {}
    holes = [c for c in columns if table.columns[c].known < table.columns[c].rows]
    moment = f"{name(time)}::TIMESTAMPTZ"
    for start in range(0, len(holes), _COLUMNS_AT_ONCE):
        some = holes[start : start + _COLUMNS_AT_ONCE]
        shares = ", ".join(f"avg(({name(c)} IS NULL)::INTEGER)" for c in some)
        rows = table.scan.rows(
            f'SELECT "~part", min("~time")::DATE::VARCHAR, {shares} FROM (SELECT *, {moment} AS "~time", '
            f'ntile({_PARTS}) OVER (ORDER BY {moment}) AS "~part" FROM {table.scan.source} '
            f"WHERE {name(time)} IS NOT NULL) GROUP BY 1 ORDER BY 1"
        )
        for at, column in enumerate(some):
            found[column] = [(row[1], float(row[2 + at])) for row in rows]
    return found


def gone_since(parts: list[tuple[str, float]]) -> str | None:
    """Return the day since which a column has no values any more; None if it still has some."""
    if not parts or parts[-1][1] < _GONE or min(share for _, share in parts) > _THERE:
        return None
    last = max(at for at, (_, share) in enumerate(parts) if share < _GONE)
    return parts[last + 1][0]
