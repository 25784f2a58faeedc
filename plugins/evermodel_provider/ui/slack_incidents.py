"""What a button below an incident in Slack does: the answer of a person who may run the model's drift DAG."""

from __future__ import annotations

from evermodel.alerts.incident_message import MUTED_BY_BUTTON, RESPONSES, IncidentForm
from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import IncidentError
from evermodel_provider.notifications.slack_app import SlackApp
from evermodel_provider.ui.airflow_users import find_user
from evermodel_provider.ui.rights import may_start


def answer_incident(app: SlackApp, action: str, value: str, person: str) -> tuple[bool, str]:
    """Answer an open incident as the Airflow user of a Slack user.

    :param action: The button's action id, one of `RESPONSES`.
    :param value: The button's value.
    :returns: Whether it is answered, and the text for the person.
    :raises ValueError: The value is not one of such a button.
    """
    from evermodel.alerts.incidents.respond import IncidentResponder
    from evermodel.alerts.incidents.response_message import response_line
    from evermodel.alerts.publisher import clock, message_queue
    from evermodel.spec import load_spec
    from evermodel_provider.hooks.tracking import TrackingHook

    form, name = IncidentForm.loads(value), app.users.get(person)
    user = find_user(name) if name else None
    if name is None or user is None:
        return False, unmapped(person)
    if not may_start(dag_id("drift", form.model), user):
        return False, f"You may not run {dag_id('drift', form.model)}, so you may not answer its incidents."
    hook = TrackingHook()
    spec = load_spec(form.model, hook.settings)
    if spec.alerts.slack_connection != app.connection:
        return False, "This model's incidents are answered through another Slack app."
    answer = RESPONSES[action]
    client = None if spec.watch else hook.get_conn()
    responder = IncidentResponder(spec, client, message_queue(hook.settings), clock())
    span = MUTED_BY_BUTTON if answer == "muted" else None
    try:
        response = responder.respond(None, answer, by=name, span=span, note="", incident=form.incident)
    except IncidentError as error:
        return False, f"{error.problem}."
    return True, f"{response_line(response)}."


def unmapped(person: str) -> str:
    """Return what a person reads who is no Airflow user."""
    return f"Slack user {person} is not mapped to an Airflow user. Ask an administrator to add the mapping."
