"""The likely cause of a problem, from the columns that drifted together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evermodel.alerts.text import moment
from evermodel.monitoring.drift.verdict import ColumnDrift, DriftVerdict

_ALMOST_ALL = 0.8
_LEAST_COLUMNS = 4
_NAMED = 3


def likely_cause(verdict: DriftVerdict, kind: str, since: str = "") -> str:
    """Return the likely cause; empty if the verdict gives none.

    Parameters
    ----------
    kind
        Kind of problem. A cause named by the problem itself takes precedence.
    since
        Start of the incident, as an ISO date or time.

    Returns
    -------
    One short sentence of plain text, without a full stop.
    """
    problem = verdict.problem(kind)
    if problem is None or problem.severity == "none":
        return ""
    if problem.cause:
        return problem.cause
    if kind == "drift":
        return _drift(verdict, since)
    if kind == "quality":
        return _lacking([d.split(":")[0] for d in problem.details if ":" in d and "missing" in d])
    return _performance(verdict) if kind == "performance" else ""


def _drift(verdict: DriftVerdict, since: str) -> str:
    moved, watched = input_columns(verdict.drifting), input_columns(verdict.columns)
    if not moved:
        return _without_features({column.what for column in verdict.drifting})
    if len(watched) >= _LEAST_COLUMNS and len(moved) >= _ALMOST_ALL * len(watched):
        when = f" since {moment(since)}" if since else ""
        return f"{len(moved)} of {len(watched)} columns drifted together{when}: a source, a join or the population changed"
    missing = _columns(verdict.drifting, "missing")
    if missing and set(missing) >= set(moved):
        return _lacking(missing)
    new = _columns(verdict.drifting, "category")
    if new and set(new) >= set(moved):
        return f"values in {_listed(new)} that training lacks: a new or renamed category"
    if len(moved) == 1:
        return f"only {moved[0]} drifted: check its source"
    prefix = _shared_beginning(moved)
    if prefix:
        return f"all {len(moved)} drifted columns begin with {prefix}: check their source"
    rest = len(watched) - len(moved)
    return f"{_listed(moved)} drifted and {rest} other columns did not: check what they have in common"


def _without_features(kinds: set[str]) -> str:
    if "concept" in kinds:
        return "no input drifted, but the relation between features and label changed"
    if "prediction" in kinds:
        return (
            "the predictions drifted without any input: check the serving version and interactions of inputs"
        )
    if "label" in kinds:
        return "the label's distribution changed"
    if "attribution" in kinds:
        return "the answers rest on other features than at the promotion: check how the inputs depend on each other"
    if "correlation" in kinds:
        return "correlations between columns changed"
    return "rows changed as a whole, in no column by itself" if "together" in kinds else ""


def _performance(verdict: DriftVerdict) -> str:
    moved = input_columns(verdict.drifting)
    if moved:
        return f"the inputs drifted too: {_listed(moved)}"
    if any(column.what == "concept" for column in verdict.drifting):
        return "the relation between features and label changed"
    if verdict.quality:
        return "the window has data quality problems"
    return "no input drifted: the label's behaviour changed, or the labels are wrong"


def _lacking(columns: Sequence[str]) -> str:
    if not columns:
        return ""
    if len(columns) == 1:
        return f"{columns[0]} lacks values: check its source"
    return f"{_listed(columns)} lack values together: one source or join is incomplete"


def input_columns(columns: Iterable[ColumnDrift]) -> list[str]:
    """Return the inputs among the columns, each once, in their order."""
    return list(dict.fromkeys(c.column for c in columns if c.what in ("feature", "missing", "category")))


def _columns(columns: Iterable[ColumnDrift], what: str) -> list[str]:
    return list(dict.fromkeys(column.column for column in columns if column.what == what))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown


def _shared_beginning(names: Sequence[str]) -> str:
    first, stroke, _ = names[0].partition("_")
    return first + stroke if stroke and all(name.startswith(first + stroke) for name in names) else ""
