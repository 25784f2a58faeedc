"""The text of the approval form, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from evermodel.registry.tracking import read_json
from evermodel.reports.retrain.document import marked
from evermodel.reports.retrain.numbers import EVIDENCE_FILE

if TYPE_CHECKING:
    from evermodel.evaluation.decision import Decision
    from evermodel.registry.client import MlflowClient, Run

# For each side and metric: value and bounds of its interval.
Metrics = Mapping[str, Mapping[str, Sequence[float]]]


def metrics_of(client: MlflowClient, run: Run) -> Metrics:
    """Return every metric of both sides, as on the decision page; empty if that page does not exist."""
    if all(file.path != EVIDENCE_FILE for file in client.list_artifacts(run.info.run_id)):
        return {}
    found: Metrics = read_json(client, run.info.run_id, EVIDENCE_FILE)["metrics"]
    return found


def metric_lines(metrics: Metrics) -> list[str]:
    """Return a table of the metrics with their intervals.

    >>> metric_lines({"challenger": {"roc_auc": (0.7, 0.6, 0.8)}})[2]
    '| roc_auc | 0.7000 (0.6000 to 0.8000) | none |'
    """

    def cell(side: str, name: str) -> str:
        triple = metrics.get(side, {}).get(name)
        return "{:.4f} ({:.4f} to {:.4f})".format(*triple) if triple else "none"

    rows = [
        f"| {name} | {cell('challenger', name)} | {cell('champion', name)} |"
        for name in metrics.get("challenger", {})
    ]
    return ["| metric | challenger | champion |", "|---|---|---|", *rows, ""] if rows else []


def approval_text(
    decision: Decision,
    links: Mapping[str, str],
    metrics: Metrics | None = None,
    *,
    reason: str = "",
    until: str = "",
) -> str:
    """Return the text of the form: what decides, what is doubtful, why it was trained, and all of the evidence.

    Parameters
    ----------
    links
        Label and address.
    reason
        Why the retrain was started, and by whom.
    until
        When a version without an answer is rejected.
    """
    gates = [(gate.name, gate.verdict, gate.detail, gate.threshold) for gate in decision.gates]
    lines = [
        f"**{decision.candidate}**: {decision.verdict.replace('_', ' ')}, {marked(decision.reason)}.",
        "",
        _deciding(decision),
        "",
        *_doubts(decision),
        *([f"**Trained because**: {marked(reason)}", ""] if reason else []),
        *([f"**Answer until** {until}; without an answer the version is rejected.", ""] if until else []),
        *metric_lines(metrics or {}),
        "| gate | verdict | evidence | threshold |",
        "|---|---|---|---|",
        *(f"| {' | '.join(map(marked, cells))} |" for cells in gates),
        "",
        " · ".join(f"[{label}](<{address}>)" for label, address in links.items()),
        "",
        f"Decision `{decision.digest}`, made by the run `{decision.run_key}`.",
    ]
    return "\n".join(lines)


def _deciding(decision: Decision) -> str:
    """Return the deciding metric of both, the difference with its interval, and the loss that is allowed."""
    said = "**{} {:.4f}** ({:.4f} to {:.4f})".format(decision.metric, *decision.challenger)
    said += f" on {decision.rows:,} test rows"
    if decision.champion is None:
        return f"{said}; there is no champion to compare it with."
    said += f"; champion (version {decision.parent}) {decision.champion[0]:.4f}"
    if decision.gain is not None:
        said += "; gain {:+.4f} ({:+.4f} to {:+.4f})".format(*decision.gain)
    return (
        f"{said}, a loss of {decision.margin:.4g} is allowed." if decision.margin is not None else f"{said}."
    )


def _doubts(decision: Decision) -> list[str]:
    """Return what speaks against the version although it may ship."""
    found = [gate for gate in decision.gates if gate.verdict != "pass"]
    lines = [f"- {marked(gate.name)} ({gate.verdict}): {marked(gate.detail)}" for gate in found]
    if decision.forced:
        lines = ["- **forced**: the gates alone would not ship this version", *lines]
    return ["**Look at this first**", "", *lines, ""] if lines else []
