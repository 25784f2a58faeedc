"""Answers to open incidents by who may run the model's drift DAG: from the Models page, and from a button in Slack."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import EvermodelError, IncidentError
from evermodel_provider.ui.rights import may_start

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec


class IncidentAnswer(BaseModel):
    """What a person answers to an incident; `span` None holds until the incident ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer: Literal["acknowledged", "muted", "expected", "withdrawn"]
    span: timedelta | None = None
    note: str = Field("", max_length=500)


class AnswerRefusedError(EvermodelError):
    """The user may not answer incidents of this model."""


def answer_incident(
    model: str, incident: str, given: IncidentAnswer, user: Any, *, slack_connection: str = ""
) -> str:
    """Record an answer, and return it as one line of text.

    :param user: Airflow's user.
    :param slack_connection: The Slack app whose button was pressed; it must be that of the spec.
    :raises AnswerRefusedError: The user may not run the model's drift DAG.
    :raises IncidentError: The incident is not open, the answer does not fit, or another Slack app has to be used.
    """
    from evermodel.alerts.incidents.respond import IncidentResponder
    from evermodel.alerts.incidents.response_message import response_line
    from evermodel.alerts.publisher import clock, message_queue
    from evermodel.spec import load_spec
    from evermodel_provider.hooks.tracking import TrackingHook

    dag = dag_id("drift", model)
    if not may_start(dag, user):
        raise AnswerRefusedError(f"You may not run {dag}, so you may not answer its incidents")
    hook = TrackingHook()
    spec: ModelSpec = load_spec(model, hook.settings)
    if slack_connection and spec.alerts.slack_connection != slack_connection:
        raise IncidentError("This model's incidents are answered through another Slack app")
    client = None if spec.watch else hook.get_conn()
    responder = IncidentResponder(spec, client, message_queue(hook.settings), clock())
    by = str(user.get_name())
    if given.answer == "withdrawn":
        responder.withdraw(None, by=by, incident=incident)
        return f"The answer was withdrawn by {by}"
    response = responder.respond(
        None, given.answer, by=by, span=given.span, note=given.note, incident=incident
    )
    return response_line(response)
