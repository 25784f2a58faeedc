"""Sentences about a decision, shared by page, card and message."""

from __future__ import annotations

from collections.abc import Mapping

from evermodel.evaluation.decision import Decision, Gate
from evermodel.reports.retrain.document import PageTable

Triple = tuple[float, float, float]  # a value with the bounds of its interval
VERDICTS = {
    "better": "The challenger is better than the champion.",
    "not_worse": "The challenger is not worse than the champion, within the margin.",
    "worse": "The challenger is worse than the champion.",
    "not_enough_evidence": "The evidence does not show that the challenger is as good as the champion.",
    "cold_start": "Without a champion, the absolute gates decide.",
}


def headline(decision: Decision) -> tuple[str, str]:
    """Return the kind of ending (``ships``, ``stays``, ``forced``) and one short sentence."""
    if decision.forced:
        return "forced", "May ship: forced by a person"
    if decision.ship:
        return "ships", "May ship"
    return "stays", "Does not ship"


def why(decision: Decision) -> list[str]:
    """Return the reasons, in a few sentences."""
    failed = decision.failed
    said = [VERDICTS.get(decision.verdict, decision.verdict)]
    if failed:
        said.append(
            f"{len(failed)} of {len(decision.gates)} gates failed: {', '.join(g.name for g in failed)}."
        )
    else:
        warned = ", ".join(gate.name for gate in decision.gates if gate.verdict == "warn")
        said.append(f"No gate failed{f'; warned: {warned}' if warned else ''}.")
    if decision.forced:
        said.append(f"Shipped against the gates, {decision.reason}.")
    return said


def gate_table(gates: tuple[Gate, ...]) -> PageTable:
    """Return every gate with verdict, value, threshold and evidence; failed gates first."""
    order = {"fail": 0, "warn": 1}
    ranked = sorted(gates, key=lambda gate: order.get(gate.verdict, 2))
    rows = [(g.verdict, g.name, number(g.value), g.threshold, g.detail) for g in ranked]
    return PageTable(("verdict", "gate", "value", "threshold", "evidence"), rows)


def slice_gates_of(decision: Decision) -> tuple[Gate, ...]:
    """Return the gates of slices."""
    return tuple(gate for gate in decision.gates if gate.name.startswith("slice "))


def metric_rows(
    decides: str,
    own: Mapping[str, Triple],
    theirs: Mapping[str, Triple],
    errors: Mapping[str, float],
) -> list[tuple[str, str, str]]:
    """Return the metrics of both sides with their intervals, and their calibration errors if there are any."""
    rows = [
        (f"{name} (decides)" if name == decides else name, interval(own[name]), interval(theirs.get(name)))
        for name in own
    ]
    if errors:
        rows.append(("calibration error", number(errors["challenger"]), number(errors.get("champion"))))
    return rows


def number(value: float | None, sign: str = "") -> str:
    """Return a number with significant digits; None as a dash.

    >>> number(0.66123), number(12345.678), number(None), number(0.00213, "+")
    ('0.6612', '12,346', '-', '+0.0021')
    """
    if value is None:
        return "-"
    return f"{value:{sign},.0f}" if abs(value) >= 1000 else f"{value:{sign}.4f}"


def interval(triple: Triple | None, sign: str = "") -> str:
    """Return a value with its interval."""
    if triple is None:
        return "-"
    value, low, high = triple
    return f"{number(value, sign)} ({number(low, sign)} to {number(high, sign)})"
