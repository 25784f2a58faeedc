"""The problems that become incidents: the spec's section `respond`, applied to a verdict."""

from __future__ import annotations

from dataclasses import replace

from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.problems import Problem, worst_of
from evermodel.spec import ModelSpec


def answered(spec: ModelSpec, verdict: DriftVerdict, kind: str) -> Problem | None:
    """Return the problem of one kind, as far as `respond` allows alerts.

    Parameters
    ----------
    kind
        ``drift``, ``quality``, ``performance`` or ``serving``.

    Returns
    -------
    None if the verdict has no such problem or the spec switches it off. Drift of switched-off kinds alone
    counts as none.
    """
    problem = verdict.problem(kind)
    if problem is None:
        return None
    if kind != "drift":
        return None if getattr(spec.respond, kind) == "off" else problem
    watched = [column for column in verdict.drifting if getattr(spec.respond, column.what) != "off"]
    if len(watched) == len(verdict.drifting):
        return problem
    if not watched:
        return replace(problem, severity="none", reason="the drifting kinds are switched off under `respond`")
    worst = worst_of(column.severity for column in watched)
    return replace(problem, severity=min(worst, problem.severity, key=("none", "warning", "critical").index))
