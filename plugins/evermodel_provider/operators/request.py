"""Request of a retrain: by the schedule, by drift, or by a person with the form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from evermodel.core.errors import SpecError
from evermodel.registry.approval import Approver, require_approvers, require_named
from evermodel.registry.audit import audit
from evermodel.spec.window import whole_day
from evermodel_provider.assets import retrain_wanted
from evermodel_provider.operators.base import ModelOperator, optional
from evermodel_provider.step_runner import python_of, refuse_consent

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.spec import ModelSpec
    from evermodel_provider.results import RequestResult


def retrain_form(spec: ModelSpec) -> dict[str, Param]:
    """Return the form that starts a retrain by hand."""
    names = [candidate.name for candidate in spec.candidates]
    return {
        "as_of": optional(
            "As of", "Train with the data known on this day. Default: the run's date.", format="date"
        ),
        "candidates": Param(
            names,
            type="array",
            items={"type": "string", "enum": names},
            examples=names,
            title="Candidates",
            description="Estimators to train; the best of them is the challenger.",
        ),
        "force": Param(
            False,
            type="boolean",
            title="Force",
            description="Promote the challenger whatever the gates decide. Requires a reason, and an approver who starts the run.",
        ),
        "approval": Param(
            "as in the spec",
            type="string",
            enum=["as in the spec", "auto", "manual"],
            title="Approval",
            description=_approval_help(spec),
        ),
        "reason": optional("Reason", "Why it is trained now; stored with the version. Required with Force."),
    }


def _approval_help(spec: ModelSpec) -> str:
    if spec.approval == "auto":
        return "The spec sets auto; manual requires an approval."
    names = ", ".join(Approver.parse(text).name for text in spec.approvers)
    waive = f"auto is allowed for {names} only and recorded with the name." if names else "auto is refused."
    return f"The spec sets manual; {waive}"


class RetrainRequestOperator(ModelOperator):
    """Resolve the request of a retrain run into as_of, run_key, reason, candidates and approval.

    Returns a `RequestResult`; each key is also pushed as an XCom of its own for the other steps.

    :param model: Name of a model spec, or path of its YAML file. (templated)
    :param as_of: Moment of the retrain if neither the form nor a drift request sets one. (templated)
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)

    def run_step(self, context: Context) -> RequestResult:
        """Return the request."""
        params = context["params"]
        asked = self._asked_by_drift(context)
        forced = force_of(self.spec, context)  # EvaluateOperator asks again: a user may write XComs
        approval, waived = approval_of(self.spec, context)
        python = python_of(self.spec, "training", self.hook.settings)
        if python and (forced or waived):
            refuse_consent(self.spec, python)
        if waived:
            run = context["dag_run"].run_id
            audit(self.hook.get_conn(), "waiver", self.spec.name, by=_user(context), airflow_run=run)
        why = params.get("reason") or asked.get("reason") or _origin(context)
        request: RequestResult = {
            "as_of": whole_day(params.get("as_of") or asked.get("as_of") or self.as_of).isoformat(),
            "run_key": asked.get("run_key")
            or f"retrain/{self.spec.name}/{_plain(context['dag_run'].run_id)}",
            "reason": signed(f"{why}, without asking the approvers", context) if waived else why,
            "candidates": self._candidates(params),
            "approval": approval,
        }
        self.log.info("Retrain of %s as of %s: %s", self.spec.name, request["as_of"], request["reason"])
        return request

    def _asked_by_drift(self, context: Context) -> dict[str, Any]:
        """Return the newest request among the asset events that started this run."""
        events = context["triggering_asset_events"].get(retrain_wanted(self.spec.name), [])
        extras = [event.extra for event in by_tasks(events) if event.extra.get("run_key")]
        return max(extras, key=lambda extra: str(extra["as_of"])) if extras else {}

    def _candidates(self, params: Any) -> list[str]:
        known = [candidate.name for candidate in self.spec.candidates]
        chosen = params.get("candidates") or known
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise SpecError(
                f"model {self.spec.name} has no candidate {', '.join(unknown)}",
                f"choose from {', '.join(known)}",
            )
        return list(chosen)


def force_of(spec: ModelSpec, context: Context) -> str | None:
    """Return why the form forces the challenger, signed by the approver who started the run; None if it does not.

    :raises SpecError: The form forces it without a reason.
    :raises ApprovalError: Somebody else started the run.
    """
    params = context["params"]
    if not params.get("force"):
        return None
    if not params.get("reason"):
        raise SpecError(
            "`force` is set without a reason",
            "start the run again with a reason; it is stored with the version",
        )
    require_named(spec.name, spec.approvers, _user(context), "forces the challenger")
    return signed(params["reason"], context)


def approval_of(spec: ModelSpec, context: Context) -> tuple[str, bool]:
    """Return ``auto`` or ``manual``, and whether an approver waived the approval that the spec requires.

    :raises ApprovalError: Somebody else waived it, or the spec requires it and names no approvers.
    """
    wanted = context["params"].get("approval", "as in the spec")
    require_approvers(spec.name, spec.approval, spec.approvers)
    if wanted == "as in the spec":
        return spec.approval, False
    waived = spec.approval == "manual" and wanted == "auto"
    if waived:
        act = "sets approval auto, but the spec requires an approval"
        require_named(spec.name, spec.approvers, _user(context), act)
    return wanted, waived


def by_tasks(events: Iterable[Any]) -> list[Any]:
    """Return the asset events that tasks emitted; a user of the REST API could write anything into theirs."""
    return [event for event in events if event.source_task_id and not event.extra.get("from_rest_api")]


def _user(context: Context) -> str | None:
    return getattr(context["dag_run"], "triggering_user_name", None)


def _origin(context: Context) -> str:
    kind = str(getattr(context["dag_run"].run_type, "value", context["dag_run"].run_type))
    return {"scheduled": "weekly schedule", "manual": "started by hand"}.get(kind, kind)


def signed(reason: object, context: Context) -> str:
    """Return a reason with the name of the user who started the run, if Airflow knows it."""
    user = _user(context)
    return f"{reason} ({user})" if user else str(reason)


def _plain(run_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.:+-]", "_", run_id)
