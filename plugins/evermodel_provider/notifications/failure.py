"""Tells people that a task failed; made for ``on_failure_callback``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import BaseNotifier

from evermodel.alerts.failure_message import failure_message
from evermodel.alerts.message import Message
from evermodel.settings import Settings
from evermodel_provider.notifications.slack import SlackSender


class FailureNotifier(BaseNotifier):
    """
    Sends a message about a failed task, and never fails itself.

    :param model: The model the DAG takes care of.
    :param connection_id: Airflow connection of type ``slack``; without it the message goes to the outbox.
    :param channel: Channel for the message.
    :param outbox: Folder for messages without a connection; by default the outbox of the installation.
    """

    def __init__(
        self, *, model: str, connection_id: str, channel: str, outbox: Path | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.connection_id = connection_id
        self.channel = channel
        self.outbox = outbox

    def __call__(self, *args: Any) -> None:
        """Send the message; a problem with it is logged and goes no further."""
        try:
            super().__call__(*args)
        except Exception:
            self.log.exception("The message about the failure could not be sent")

    def notify(self, context: Any) -> None:
        """Build the message from the context of the task and send it."""
        outbox = self.outbox or Settings.from_environment().outbox
        SlackSender(self.connection_id, self.channel, outbox).send(self._message(context))

    def _message(self, context: Any) -> Message:
        from airflow.sdk.log import redact

        ti = context.get("ti") or context.get("task_instance")
        dag_run, dag = context.get("dag_run"), context.get("dag")
        task_id = getattr(ti, "task_id", "the run")
        if (map_index := getattr(ti, "map_index", -1)) is not None and map_index >= 0:
            task_id = f"{task_id}[{map_index}]"
        error = context.get("exception")
        said = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
        return failure_message(
            model=self.model,
            dag_id=str(getattr(ti or dag, "dag_id", "unknown")),
            task_id=task_id,
            run_id=str(getattr(ti or dag_run, "run_id", "unknown")),
            error=str(redact(str(said or context.get("reason") or ""))),
            log_url=getattr(ti, "log_url", None) or "",
        )
