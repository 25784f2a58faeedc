"""CloudEvents of a window: verdict, incidents and retrain request."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import SpecError
from evermodel_provider.connections import AirflowConnections
from evermodel_provider.operators.base import ModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class PublishEventsOperator(ModelOperator):
    """POST the CloudEvents of the window to the HTTP connection that the spec names under `alerts.events_connection`.

    A repetition sends events with the same ids. Returns the ids.

    :param alerted: What `DriftAlertOperator` returned, if it ran. (templated)
    :param requested: What `AskForRetrainOperator` returned, if it ran. (templated)
    """

    template_fields: Sequence[str] = (*ModelOperator.template_fields, "alerted", "requested")
    objects = ("alerted", "requested")

    def __init__(self, *, alerted: Any = None, requested: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alerted = alerted
        self.requested = requested

    def run_step(self, context: Context) -> list[str]:
        """Send the events."""
        from evermodel.alerts.cloud_events import events_of, send_events

        name = self.spec.alerts.events_connection
        if name is None:
            raise SpecError(
                f"model {self.spec.name}: alerts.events_connection is not set",
                "name an HTTP connection of Airflow",
            )
        verdict = self.drift_watch().verdict()
        events = events_of(verdict, (self.alerted or {}).get("incidents", ()), self.requested)
        fields = AirflowConnections().fields(name)
        send_events(_address(fields), events, _headers(fields), f"connection {name}")
        return [event["id"] for event in events]


def _address(fields: Mapping[str, Any]) -> str:
    """Return the URL of an HTTP connection; its ``endpoint`` in `extra` is the path."""
    host = str(fields["host"] or "").rstrip("/")
    base = host if "://" in host else f"{fields['schema'] or 'https'}://{host}"
    port = f":{fields['port']}" if fields["port"] else ""
    return f"{base}{port}/{str(_extra(fields).get('endpoint', '')).lstrip('/')}"


def _headers(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the login as headers: a password alone is a token."""
    login, password = fields["login"], fields["password"] or ""
    if login:
        coded = base64.b64encode(f"{login}:{password}".encode()).decode()
        return {"Authorization": f"Basic {coded}"}
    return {"Authorization": f"Bearer {password}"} if password else {}


def _extra(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(fields["extra"] or "{}")
    return found
