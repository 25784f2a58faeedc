"""The likely cause of a problem, in words: what moved together says where to look first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evermodel.alerts.text import moment
from evermodel.monitoring.drift.verdict import ColumnDrift, DriftVerdict

_ALMOST_ALL = 0.8
_LEAST_COLUMNS = 4
_NAMED = 3


def likely_cause(verdict: DriftVerdict, kind: str, since: str = "") -> str:
    """Say where to look first; empty where the verdict gives no hint.

    Parameters
    ----------
    verdict
        The verdict on the window.
    kind
        Kind of problem. If the problem names a cause itself, that is it.
    since
        When the incident began, as an ISO date or time.

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
    moved, watched = _features(verdict.drifting), _features(verdict.columns)
    if not moved:
        return _without_features({column.what for column in verdict.drifting})
    if len(watched) >= _LEAST_COLUMNS and len(moved) >= _ALMOST_ALL * len(watched):
        when = f" since {moment(since)}" if since else ""
        return f"{len(moved)} of {len(watched)} columns moved together{when}: a source, a join or who is asked changed"
    missing = _columns(verdict.drifting, "missing")
    if missing and set(missing) >= set(moved):
        return _lacking(missing)
    new = _columns(verdict.drifting, "category")
    if new and set(new) >= set(moved):
        return f"values that training never saw in {_listed(new)}: a new category, or one that was renamed"
    if len(moved) == 1:
        return f"only {moved[0]} moved: look at what delivers it"
    prefix = _shared_beginning(moved)
    if prefix:
        return (
            f"all {len(moved)} columns that moved begin with {prefix}: look at the source that delivers them"
        )
    rest = len(watched) - len(moved)
    return f"{_listed(moved)} moved and {rest} other columns did not: look at what they have in common"


def _without_features(kinds: set[str]) -> str:
    if "concept" in kinds:
        return "no input moved, but what the inputs say about the label did"
    if "prediction" in kinds:
        return "the predictions moved though no input did: look at what serves, and at how inputs interact"
    if "label" in kinds:
        return "the outcome itself became more or less frequent"
    return "columns move together in another way than before" if "correlation" in kinds else ""


def _performance(verdict: DriftVerdict) -> str:
    moved = _features(verdict.drifting)
    if moved:
        return f"the inputs changed too: {_listed(moved)}"
    if any(column.what == "concept" for column in verdict.drifting):
        return "what the inputs say about the label changed"
    if verdict.quality:
        return "the data of the window is bad"
    return "no input drifted: the outcome itself behaves differently, or the labels are wrong"


def _lacking(columns: Sequence[str]) -> str:
    if not columns:
        return ""
    if len(columns) == 1:
        return f"{columns[0]} lacks values: look at what delivers it"
    return f"{_listed(columns)} lack values at once: one source or join delivers too little"


def _features(columns: Iterable[ColumnDrift]) -> list[str]:
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
