"""The weekly digest of a team's models, and delivery of the message queue."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.sdk import BaseOperator

from evermodel_provider.exceptions import airflow_errors
from evermodel_provider.hooks.tracking import TrackingHook
from evermodel_provider.operators.base import AS_OF

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel_provider.results import DeliveryResult, MessagesResult


class DigestOperator(BaseOperator):
    """Send the weekly digest of one team: one message per channel of its models.

    Returns a `DeliveryResult` for each message. Each week is sent once.

    :param team: The owner, as the specs name them. (templated)
    :param as_of: Moment at which the week ends, ISO 8601. (templated)
    :param mlflow_conn_id: Airflow connection of the MLflow server. (templated)
    :param models: Folder of the model specs. Default: the installation's. (templated)
    """

    template_fields: Sequence[str] = ("team", "as_of", "mlflow_conn_id", "models")
    ui_color = "#e8f4f1"

    def __init__(
        self,
        *,
        team: str,
        as_of: str = AS_OF,
        mlflow_conn_id: str = TrackingHook.default_conn_name,
        models: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.team = team
        self.as_of = as_of
        self.mlflow_conn_id = mlflow_conn_id
        self.models = models

    @cached_property
    def hook(self) -> TrackingHook:
        """The hook of the MLflow server."""
        return TrackingHook(self.mlflow_conn_id, self.models)

    @airflow_errors()
    def execute(self, context: Context) -> list[DeliveryResult]:
        """Read the week, queue the messages, and send the queue."""
        from evermodel.alerts.digest import Digest
        from evermodel.alerts.publisher import clock, message_queue
        from evermodel.alerts.teams import teams
        from evermodel.spec import load_specs
        from evermodel.spec.window import whole_day
        from evermodel_provider.notifications.delivery import delivery_of, require, send_queue

        settings, links = self.hook.settings, {"Airflow": self.hook.settings.airflow_url}
        found = next((t for t in teams(load_specs(None, settings)[0]) if t.owner == self.team), None)
        if found is None:
            raise AirflowSkipException(f"no model of {self.team} has a digest configured")
        if found.dissenters:
            self.log.warning(
                "The digest is sent at %s, set by the spec of %s; alerts.digest differs in: %s",
                found.cron,
                found.specs[0].name,
                ", ".join(found.dissenters),
            )
        # A team whose models are all watched needs no MLflow.
        client: Any = None if all(spec.watch for spec in found.specs) else self.hook.get_conn()
        digest = Digest(found, client, whole_day(self.as_of), links, settings.database_url)
        made = digest.queue(message_queue(settings), clock())
        reports = send_queue(settings)
        for spec, _ in made:
            require(spec, reports)
        return [delivery_of(spec, settings, message.identity) for spec, message in made]


class SendMessagesOperator(BaseOperator):
    """Send the queued messages: those that Slack refused, and those that quiet hours delayed.

    Skips if the queue is empty, without a request to MLflow. Fails if a connection, channel or notifier needs a fix, so
    that the problem is visible; the messages stay queued. Returns a `MessagesResult`.

    :param models: Folder of the model specs. Default: the installation's. (templated)
    """

    template_fields: Sequence[str] = ("models",)
    ui_color = "#e8f4f1"

    def __init__(self, *, models: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.models = models

    @airflow_errors()
    def execute(self, context: Context) -> MessagesResult:
        """Send the messages that are due; return the numbers of sent and queued messages."""
        from evermodel.alerts.publisher import message_queue
        from evermodel.core.errors import TransientError
        from evermodel.core.settings import Settings
        from evermodel_provider.notifications.delivery import send_queue

        settings = Settings.from_environment().with_models(self.models)
        if not message_queue(settings).destinations():
            raise AirflowSkipException("no message is queued")
        reports = send_queue(settings)
        wrong = [r.error for r in reports if r.error is not None and not isinstance(r.error, TransientError)]
        if wrong:
            raise wrong[0]
        return {"sent": sum(r.sent for r in reports), "waiting": sum(r.waiting for r in reports)}
