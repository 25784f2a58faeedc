"""The message that requests the approval of a challenger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evermodel.alerts.blocks import Block, Button, ButtonForm, buttons, fields, section
from evermodel.alerts.message import Message, compose
from evermodel.alerts.text import code, mention, words
from evermodel.evaluation.decision import Decision
from evermodel.spec import ModelSpec

BUTTONS = "evermodel_approval"
APPROVE, REJECT = "evermodel_approve", "evermodel_reject"


@dataclass(frozen=True)
class ApprovalForm(ButtonForm):
    """The task that waits for the approval, and the decision to approve; the payload of the Slack buttons."""

    dag_id: str
    run_id: str
    task_id: str
    version: str
    digest: str


def approval_message(
    spec: ModelSpec,
    version: str,
    decision: Decision,
    links: Mapping[str, str],
    question: ApprovalForm | None = None,
) -> Message:
    """Build the message that requests an approval; one for each version of a retrain.

    Parameters
    ----------
    links
        Label and address, the form first.
    question
        Payload of the buttons Approve and Reject; None leaves them out, if no Slack app can receive them.
    """
    value, low, high = decision.challenger
    measured = f"{decision.metric} {value:.4f} ({low:.4f} to {high:.4f}) on {decision.rows:,} test rows"
    beside = f"version {decision.parent}: {decision.champion[0]:.4f}" if decision.champion else "none"
    if decision.gain is not None:
        beside += ", gain {:+.4f} ({:+.4f} to {:+.4f})".format(*decision.gain)
    noted = [gate.name for gate in decision.gates if gate.verdict != "pass"]
    remark = f"Did not pass: {', '.join(noted)}." if noted else "Every gate passed."
    days = spec.approval_timeout.total_seconds() / 86400
    until = f"Without approval within {days:.3g} days it is rejected."
    return compose(
        key=f"approval-{decision.run_key}-{version}",
        model=spec.name,
        severity="info",
        title=f"{spec.name}: version {version} waits for approval",
        plain=[f"Challenger: {measured}.", f"Champion: {beside}.", remark, until],
        body=[
            section(words(remark, 600), words(until), " ".join(map(mention, spec.alerts.mention))),
            fields(
                {"Challenger": words(measured), "Champion": words(beside), "Owner": words(spec.owner, 100)}
            ),
        ],
        links=links,
        actions=_buttons(question) if question else (),
        footer=f"run {code(decision.run_key, 150)}",
    )


def _buttons(question: ApprovalForm) -> list[Block]:
    value = question.dumps()
    return [
        buttons(
            BUTTONS, Button(APPROVE, "Approve", value, "primary"), Button(REJECT, "Reject", value, "danger")
        )
    ]
