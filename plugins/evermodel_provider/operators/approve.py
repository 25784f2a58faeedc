"""Approval of a challenger, if the spec or the form requires it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param

from evermodel.core.errors import ApprovalError, SpecError
from evermodel.registry.approval import AUTO, NOBODY, Approval, Approver, record_answer, require_approver
from evermodel_provider.exceptions import airflow_errors
from evermodel_provider.hooks.tracking import TrackingHook

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.core.settings import Settings
    from evermodel.evaluation.decision import Decision
    from evermodel.spec import ModelSpec

APPROVAL_KEY = "approval"
ASKED_KEY = "asked"
COMMENT, DECISION = "comment", "decision"


class ApproveOperator(ApprovalOperator):
    """Wait for the approval of a registered version, or continue at once if approval is ``auto``.

    A message goes to the model's channel. Without a response in time the version is rejected. Approval and rejection are
    pushed as the XCom ``approval``, with the digest of the decision that the form shows with every gate.

    :param model: Name of a model spec. (templated)
    :param version: The registered version. (templated)
    :param run_key: Idempotency key of the retrain. (templated)
    :param approval: ``auto`` or ``manual``. (templated)
    :param approvers: Airflow users who may approve, as in the spec; empty: all users with access to the form.
    :param mlflow_conn_id: Airflow connection of the MLflow server. (templated)
    """

    template_fields: Sequence[str] = (
        "model",
        "version",
        "run_key",
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
        run_key: str,
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
        self.run_key = run_key
        self.approval = approval
        self.approvers = approvers
        self.mlflow_conn_id = mlflow_conn_id

    def execute(self, context: Context) -> Any:
        """Request approval, unless approval is ``auto``."""
        if self.approval == "auto":
            self.log.info("Version %s needs no approval: approval is auto", self.version)
            return self._push(context, Approval(True, AUTO, str(self.version)))
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
        """Check the approver and the decision, then push the approval and record it on the version."""
        user, filled_in = _user(event.get("responded_by_user")), event.get("params_input") or {}
        require_approver(self.approvers, user)
        shown = context["ti"].xcom_pull(task_ids=self.task_id, key=ASKED_KEY) or ""
        answer = Approval(
            approved=event["chosen_options"] == [self.APPROVE],
            by=user["name"] if user else NOBODY,
            version=str(self.version),
            digest=str(filled_in.get(DECISION) or shown),
            at=event["responded_at"].isoformat(timespec="seconds"),
            comment=str(filled_in.get(COMMENT) or "").strip(),
        )
        # The form of an earlier attempt is unchanged, even if the decision was made again since.
        if answer.approved and answer.digest != shown:
            raise ApprovalError(
                f"{answer.by} approved the decision {answer.digest}, but the current one is {shown or 'none'}",
                "start the retrain DAG again to request approval of the current decision",
            )
        self._push(context, answer)
        self._record(answer)

    def _push(self, context: Context, answer: Approval) -> dict[str, Any]:
        context["ti"].xcom_push(key=APPROVAL_KEY, value=answer.to_json())
        return answer.to_json()

    def _record(self, answer: Approval) -> None:
        """Record a rejection on the version; `DeployOperator` records an approval, when it takes effect."""
        if answer.approved:
            return
        try:
            record_answer(TrackingHook(self.mlflow_conn_id).get_conn(), self.model, answer)
        except Exception:
            self.log.exception(
                "The rejection of version %s could not be recorded on it; the version stays rejected",
                answer.version,
            )

    def _request_approval(self, context: Context) -> None:
        from evermodel.evaluation.decision import Decision
        from evermodel.registry.tracking import find_run, read_json, version_url
        from evermodel.reports.retrain.approval_form import approval_text, metrics_of
        from evermodel.reports.retrain.log_decision_page import evidence_links
        from evermodel.spec import load_spec

        hook = TrackingHook(self.mlflow_conn_id)
        client, spec = hook.get_conn(), load_spec(self.model)
        run = find_run(client, spec.name, self.run_key, kind="retrain")
        if run is None:
            raise LookupError(f"MLflow has no retrain run with the key {self.run_key}")
        decision = Decision.from_json(read_json(client, run.info.run_id, "decision.json"))
        uri = hook.settings.tracking_uri
        links = {
            **evidence_links(uri, run),
            "Model version": version_url(uri, spec.name, str(self.version)),
        }
        self.subject = f"Make version {self.version} of {spec.name} the champion?"
        self.body = approval_text(decision, links, metrics_of(client, run))
        for name, param in answer_form(decision.digest).items():
            self.params[name] = param
        context["ti"].xcom_push(key=ASKED_KEY, value=decision.digest)
        self._notify(context, spec, decision, links, hook.settings)

    def _notify(
        self,
        context: Context,
        spec: ModelSpec,
        decision: Decision,
        links: Mapping[str, str],
        settings: Settings,
    ) -> None:
        """Send a message about the pending approval; the form works even if that fails."""
        from evermodel.alerts.approval_message import ApprovalForm, approval_message
        from evermodel_provider.notifications.delivery import tell
        from evermodel_provider.notifications.slack_app import has_slack_app

        try:
            form = self.generate_link_to_ui_from_context(context=context, base_url=settings.airflow_url)
            ti = context["ti"]
            approval_form = ApprovalForm(ti.dag_id, ti.run_id, ti.task_id, str(self.version), decision.digest)
            message = approval_message(
                spec,
                str(self.version),
                decision,
                {"Approve or reject": form, **links},
                approval_form if has_slack_app(spec.alerts.slack_connection) else None,
            )
            tell(spec, settings, "approval", message, form)
        except Exception:
            self.log.exception("The approval message could not be sent")


def answer_form(digest: str = "") -> dict[str, Param]:
    """Return the form's fields: a comment, and the digest that binds the approval to the decision shown."""
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
            **({"enum": [digest]} if digest else {}),
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
