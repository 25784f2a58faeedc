"""Approval of a challenger, if the spec or the form requires it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param

from evermodel.core.errors import SpecError
from evermodel.core.step_contract import StepRequest
from evermodel.registry.approval import (
    AUTO,
    NOBODY,
    Approval,
    Approver,
    require_approver,
    require_approvers,
)
from evermodel_provider.exceptions import airflow_errors
from evermodel_provider.hooks.tracking import TrackingHook
from evermodel_provider.operators.base import ModelSteps

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.evaluation.decision import Decision

APPROVAL_KEY = "approval"
COMMENT, DECISION, SLACK = "comment", "decision", "slack_connection"


class ApproveOperator(ModelSteps, ApprovalOperator):
    """Wait for the approval of a registered version, or continue at once if approval is ``auto``.

    A message goes to the model's channel. Without a response in time the version is rejected. The answer is recorded on
    the version, with the digest of the decision that the form shows: `DeployOperator` promotes nothing without it. The
    XCom ``approval``, an `ApprovalResult`, is for the report alone.

    :param model: Name of a model spec, or path of its YAML file. (templated)
    :param version: The registered version. (templated)
    :param approval: ``auto`` or ``manual``. (templated)
    :param approvers: Airflow users who may approve, as in the spec. Empty, if the spec says ``auto`` and the run asks
        nevertheless: all users with access to the form.
    :param mlflow_conn_id: Airflow connection of the MLflow server. (templated)
    """

    template_fields: Sequence[str] = (
        "model",
        "version",
        "approval",
        "mlflow_conn_id",
        "subject",
        "body",
    )

    def __init__(
        self,
        *,
        model: str,
        version: str,
        approval: str = "manual",
        approvers: Sequence[str] = (),
        mlflow_conn_id: str = TrackingHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("subject", "Approve the new version?")
        kwargs.setdefault("defaults", self.REJECT)
        kwargs.setdefault("params", answer_form())
        super().__init__(**kwargs)
        self.model = model
        self.version = version
        self.approval = approval
        self.approvers = approvers
        self.mlflow_conn_id = mlflow_conn_id

    def execute(self, context: Context) -> Any:
        """Request approval, unless approval is ``auto``."""
        if self.approval == "auto":
            self.log.info("Version %s needs no approval: approval is auto", self.version)
            answer = Approval(True, AUTO, str(self.version)).to_json()
            context["ti"].xcom_push(key=APPROVAL_KEY, value=answer)
            return answer
        with airflow_errors():
            self.assigned_users = assigned(self.approvers)
            self._request_approval(context)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Record the response first, because a rejection leaves no return value."""
        if "error" not in event:
            with airflow_errors():
                self._accept(context, event)
        return super().execute_complete(context, event)

    def _accept(self, context: Context, event: dict[str, Any]) -> None:
        """Check the approver and the decision, record the answer on the version, and push it for the report."""
        user, filled_in = _user(event.get("responded_by_user")), event.get("params_input") or {}
        answer = Approval(
            approved=event["chosen_options"] == [self.APPROVE],
            by=user["name"] if user else NOBODY,
            version=str(self.version),
            digest=str(filled_in.get(DECISION) or ""),
            at=event["responded_at"].isoformat(timespec="seconds"),
            comment=str(filled_in.get(COMMENT) or "").strip(),
        )
        if answer.approved or user:
            require_approver(self.approvers, user)
        if answer.approved:
            self._step("approval_answer", approval=answer.to_json())
        else:
            self._record_rejection(answer)
        context["ti"].xcom_push(key=APPROVAL_KEY, value=answer.to_json())

    def _record_rejection(self, answer: Approval) -> None:
        try:
            self._step("approval_answer", approval=answer.to_json())
        except Exception:
            self.log.exception(
                "The rejection of version %s could not be recorded on it; the version stays unapproved",
                answer.version,
            )

    def _step(self, name: str, **inputs: Any) -> dict[str, Any]:
        return self.runner.run(name, StepRequest(self.model, inputs=inputs))

    def _request_approval(self, context: Context) -> None:
        from evermodel.evaluation.decision import Decision

        spec = self.spec
        require_approvers(spec.name, spec.approval, self.approvers)
        asked = self._step("approval_request", version=str(self.version), until=self._deadline())
        decision = Decision.from_json(asked["decision"])
        self.subject = f"Make version {self.version} of {spec.name} the champion?"
        self.body = asked["text"]
        for name, param in answer_form(decision.digest, spec.alerts.slack_connection).items():
            self.params[name] = param
        self._notify(context, decision, asked["links"])

    def _deadline(self) -> str:
        """Return when the form closes; empty if it never does."""
        span = self.response_timeout
        return f"{datetime.now(UTC) + span:%Y-%m-%d %H:%M} UTC" if span is not None else ""

    def _notify(self, context: Context, decision: Decision, links: Mapping[str, str]) -> None:
        """Send a message about the pending approval; the form works even if that fails."""
        from evermodel.alerts.approval_message import ApprovalForm, approval_message
        from evermodel_provider.notifications.delivery import tell
        from evermodel_provider.notifications.slack_app import slack_users

        spec, settings = self.spec, self.hook.settings
        try:
            form = self.generate_link_to_ui_from_context(context=context, base_url=settings.airflow_url)
            ti = context["ti"]
            approval_form = ApprovalForm(ti.dag_id, ti.run_id, ti.task_id, str(self.version), decision.digest)
            message = approval_message(
                spec,
                str(self.version),
                decision,
                {"Approve or reject": form, **links},
                approval_form if slack_users() else None,
            )
            tell(spec, settings, "approval", message, form)
        except Exception:
            self.log.exception("The approval message could not be sent")


def answer_form(digest: str = "", slack: str = "") -> dict[str, Param]:
    """Return the form's fields: a comment, and the digest that binds the approval to the decision shown.

    :param slack: The Slack connection whose buttons may answer; part of the form's schema, which no user can change.
    """
    return {
        COMMENT: Param(
            None,
            type=["null", "string"],
            source="task",
            title="Comment",
            description="Reason, stored with the version and in the registry's history.",
        ),
        DECISION: Param(
            digest,
            type="string",
            source="task",
            title="Decision",
            description="The approval applies to this decision only.",
            **({"enum": [digest], SLACK: slack} if digest else {}),
        ),
    }


def assigned(approvers: Sequence[str]) -> list[Any] | None:
    """Return the approvers in Airflow's format, which compares ids.

    :raises SpecError: The auth manager's ids are numbers, and an approver has none.
    """
    named = [Approver.parse(text) for text in approvers]
    manager = conf.get("core", "auth_manager", fallback="")
    without = [one.name for one in named if not one.id.isdigit()] if "FabAuthManager" in manager else []
    if without:
        raise SpecError(
            f"approvers: {', '.join(without)}: the FAB auth manager identifies users by number",
            f"write {without[0]}#3, with the number from the URL of the user's page in Airflow",
        )
    return [{"id": one.id, "name": one.name} for one in named] or None


def _user(found: Any) -> dict[str, str] | None:
    """Return id and name of the user who responded; Airflow passes a dict, an object, or nothing after a timeout."""
    if not found:
        return None
    user = found if isinstance(found, dict) else {"id": found.id, "name": found.name}
    return {"id": str(user["id"]), "name": str(user["name"] or user["id"])}
