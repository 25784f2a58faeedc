"""Approval of a registered version by a person: what the form shows, and the record of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evermodel.core.errors import ApprovalError
from evermodel.deployment.eligibility import decision_of
from evermodel.registry import tags
from evermodel.registry.approval import record_answer
from evermodel.registry.tracking import find_run, version_url
from evermodel.reports.retrain.approval_form import approval_text, metrics_of
from evermodel.reports.retrain.log_decision_page import evidence_links

if TYPE_CHECKING:
    from evermodel.registry.approval import Approval
    from evermodel.registry.client import MlflowClient


def approval_request(
    model: str, version: str, client: MlflowClient, tracking_uri: str, *, until: str = ""
) -> dict[str, Any]:
    """Return what is asked about a version: the form's ``text``, the ``decision`` that it shows, and its ``links``.

    Parameters
    ----------
    until
        When the form closes, for the reader; empty if it never does.

    Raises
    ------
    PromotionError
        The version was never evaluated.
    """
    decision = decision_of(client, client.get_model_version(model, version))
    run = find_run(client, model, decision.run_key, kind="retrain")
    assert run is not None  # the decision is one of its files
    links = {**evidence_links(tracking_uri, run), "Model version": version_url(tracking_uri, model, version)}
    reason = run.data.tags.get(tags.REASON, "")
    text = approval_text(decision, links, metrics_of(client, run), reason=reason, until=until)
    return {"text": text, "decision": decision.to_json(), "links": links}


def record_form_answer(model: str, client: MlflowClient, answer: Approval) -> None:
    """Record the answer of a person, who the caller has checked; an approval holds for the current decision alone.

    Raises
    ------
    ApprovalError
        Another decision was approved: the form of an earlier attempt shows an earlier one.
    """
    if answer.approved:
        current = decision_of(client, client.get_model_version(model, answer.version)).digest
        if answer.digest != current:
            raise ApprovalError(
                f"{answer.by} approved the decision {answer.digest or '(none)'}, but the current one is {current}",
                "start the retrain DAG again to request approval of the current decision",
            )
    record_answer(client, model, answer)
