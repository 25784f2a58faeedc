"""Let a person approve a challenger, where the spec or the form wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

from evermodel_provider.exceptions import airflow_errors
from evermodel_provider.hooks.tracking import TrackingHook

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.gate.decision import Decision
    from evermodel.settings import Settings
    from evermodel.spec import ModelSpec

APPROVAL_KEY = "approval"


class ApproveOperator(ApprovalOperator):
    """Wait for a person's answer on a registered version, or go on at once when approval is ``auto``.

    People are told in the model's channel. Without an answer in time the version is rejected. The answer is pushed as the XCom ``approval``, also when it is
    no; the form shows the decision with every gate.

    :param model: Name of a model spec. (templated)
    :param version: The registered version. (templated)
    :param run_key: Idempotency key of the retrain. (templated)
    :param approval: ``auto`` or ``manual``. (templated)
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
        mlflow_conn_id: str = TrackingHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("subject", "Approve the new version?")
        kwargs.setdefault("defaults", self.REJECT)
        super().__init__(**kwargs)
        self.model = model
        self.version = version
        self.run_key = run_key
        self.approval = approval
        self.mlflow_conn_id = mlflow_conn_id

    def execute(self, context: Context) -> Any:
        """Ask a person, unless nobody has to be asked."""
        if self.approval == "auto":
            self.log.info("Version %s needs no approval: approval is auto", self.version)
            return self._push(context, approved=True, by="auto")
        with airflow_errors():
            self.subject, self.body = self._question(context)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Note the answer first: a rejection leaves no return value."""
        if "error" not in event:
            user = event.get("responded_by_user") or {}
            name = user.get("name") if isinstance(user, dict) else getattr(user, "name", None)
            self._push(
                context, approved=event["chosen_options"] == [self.APPROVE], by=name or "nobody (time-out)"
            )
        return super().execute_complete(context, event)

    def _push(self, context: Context, *, approved: bool, by: str) -> dict[str, Any]:
        answer = {"approved": approved, "by": by, "version": str(self.version)}
        context["ti"].xcom_push(key=APPROVAL_KEY, value=answer)
        return answer

    def _question(self, context: Context) -> tuple[str, str]:
        from evermodel.evidence.links import evidence_links
        from evermodel.spec import load_spec
        from evermodel.tracking import find_run, read_json

        hook = TrackingHook(self.mlflow_conn_id)
        client, spec = hook.get_conn(), load_spec(self.model)
        run = find_run(client, spec.name, self.run_key, kind="retrain")
        if run is None:
            raise LookupError(f"MLflow has no retrain run with the key {self.run_key}")
        from evermodel.gate.decision import Decision

        decision = Decision.from_json(read_json(client, run.info.run_id, "decision.json"))
        subject = f"Make version {self.version} of {spec.name} the champion?"
        links = evidence_links(hook.settings.tracking_uri, run)
        self._tell(context, spec, decision, links, hook.settings)
        return subject, question_body(decision, links)

    def _tell(
        self,
        context: Context,
        spec: ModelSpec,
        decision: Decision,
        links: Mapping[str, str],
        settings: Settings,
    ) -> None:
        """Tell people that a version waits for them; the form waits all the same if that fails."""
        from evermodel.alerts.approval_message import approval_message
        from evermodel_provider.notifications.office import tell

        try:
            form = self.generate_link_to_ui_from_context(context=context, base_url=settings.airflow_url)
            message = approval_message(
                spec, str(self.version), decision, {"Approve or reject": form, **links}
            )
            tell(spec, settings, "approval", message, form)
        except Exception:
            self.log.exception("The message about the approval could not be sent")


def question_body(decision: Decision, links: Mapping[str, str]) -> str:
    """Return the text of the form, as Markdown: the comparison, every gate, and where the evidence is."""
    from evermodel.evidence.document import marked

    value, low, high = decision.challenger
    gates = [(gate.name, gate.verdict, gate.detail, gate.threshold) for gate in decision.gates]
    lines = [
        f"**{decision.candidate}**: {decision.verdict.replace('_', ' ')}, {marked(decision.reason)}.",
        "",
        f"{decision.metric} {value:.4f} ({low:.4f} to {high:.4f}) on {decision.rows:,} test rows"
        + (f"; champion (version {decision.parent}) {decision.champion[0]:.4f}" if decision.champion else ""),
        "",
        "| gate | verdict | evidence | threshold |",
        "|---|---|---|---|",
        *(f"| {' | '.join(map(marked, cells))} |" for cells in gates),
        "",
        " · ".join(f"[{label}](<{address}>)" for label, address in links.items()),
    ]
    return "\n".join(lines)
