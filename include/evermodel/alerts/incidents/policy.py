"""Which problems people are told about: the section `respond` of the spec, applied to a verdict."""

from __future__ import annotations

from dataclasses import replace

from evermodel.core.severity import worst_of
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.problems import Problem
from evermodel.spec import ModelSpec


def answered(spec: ModelSpec, verdict: DriftVerdict, kind: str) -> Problem | None:
    """Return the problem of one kind as far as people are told about it.

    Parameters
    ----------
    kind
        ``drift``, ``quality``, ``performance`` or ``serving``.

    Returns
    -------
    None where the verdict says nothing about this kind or the spec switches it off. Drift of switched-off kinds alone
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
        return replace(problem, severity="none", reason="what drifts is switched off under `respond`")
    worst = worst_of(column.severity for column in watched)
    return replace(problem, severity=min(worst, problem.severity, key=("none", "warning", "critical").index))
