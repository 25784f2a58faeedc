"""What a button below an incident in Slack does: the answer of the Airflow user of a Slack user."""

from __future__ import annotations

from evermodel.alerts.incident_message import MUTED_BY_BUTTON, RESPONSES, IncidentForm
from evermodel.core.errors import IncidentError
from evermodel_provider.notifications.slack_app import SlackApp
from evermodel_provider.ui.airflow_users import find_user
from evermodel_provider.ui.incident_answers import AnswerRefusedError, IncidentAnswer, answer_incident


def press_button(app: SlackApp, action: str, value: str, person: str) -> tuple[bool, str]:
    """Answer an open incident as the Airflow user of a Slack user.

    :param action: The button's action id, one of `RESPONSES`.
    :param value: The button's value.
    :returns: Whether it is answered, and the text for the person.
    :raises ValueError: The value is not one of such a button.
    """
    form, name = IncidentForm.loads(value), app.users.get(person)
    user = find_user(name) if name else None
    if user is None:
        return False, unmapped(person)
    kind = RESPONSES[action]
    given = IncidentAnswer(answer=kind, span=MUTED_BY_BUTTON if kind == "muted" else None)
    try:
        text = answer_incident(form.model, form.incident, given, user, slack_connection=app.connection)
    except (AnswerRefusedError, IncidentError) as error:
        return False, f"{error.problem}."
    return True, f"{text}."


def unmapped(person: str) -> str:
    """Return what a person reads who is no Airflow user."""
    return f"Slack user {person} is not mapped to an Airflow user. Ask an administrator to add the mapping."
