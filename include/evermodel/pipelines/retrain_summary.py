"""The summary of a retrain: data of its message, for the DAG and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from evermodel.alerts.retrain_message import RetrainSummary
from evermodel.pipelines.retrain import Retrain
from evermodel.registry.approval import AUTO, Approval
from evermodel.registry.tags import RetrainOutcome
from evermodel.registry.tracking import version_url
from evermodel.reports.retrain.log_decision_page import evidence_links
from evermodel.spec.rollout import begins


def approval_word(approval: Approval | None) -> str:
    """Return the outcome of the approval in a word; None if none was required.

    >>> approval_word(None), approval_word(Approval(True, AUTO, "7")), approval_word(Approval(False, "ml_lead", "7"))
    ('not required', 'auto', 'rejected')
    """
    if approval is None:
        return "not required"
    if approval.by == AUTO:
        return AUTO
    return "approved" if approval.approved else "rejected"


def retrain_summary(
    retrain: Retrain,
    *,
    version: str | None,
    outcome: RetrainOutcome,
    approval: Approval | None = None,
    links: Mapping[str, str] | None = None,
) -> RetrainSummary:
    """Return what `retrain_message` needs.

    Parameters
    ----------
    version
        The registered version, if there is one.
    links
        Further links, after those to the evidence.
    """
    decision, uri = retrain.decision(), retrain.settings.tracking_uri
    gain = decision.gain or (None, None, None)
    known = evidence_links(uri, retrain.mlflow_run(), registered=bool(version))
    if version:
        known["Model version"] = version_url(uri, decision.model, version)
    return {
        "model": decision.model,
        "run_key": decision.run_key,
        "reason": retrain.reason,
        "verdict": decision.verdict,
        "shipped": outcome == RetrainOutcome.DEPLOYED,
        "rollout": begins(retrain.spec.rollout) if outcome == RetrainOutcome.ROLLING_OUT else "",
        "version": version,
        "previous": decision.parent,
        "metric": decision.metric,
        "challenger": decision.challenger[0],
        "champion": decision.champion[0] if decision.champion else None,
        "difference": gain[0],
        "low": gain[1],
        "high": gain[2],
        "rows": decision.rows,
        "gates": [asdict(gate) for gate in decision.gates],
        "approval": approval_word(approval),
        "by": approval.by if approval else "",
        "as_of": f"{retrain.as_of:%Y-%m-%d}",
        "links": {**known, **(links or {})},
    }
