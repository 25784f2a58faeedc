"""Notifier of failed tasks, for ``on_failure_callback``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import BaseNotifier

from evermodel.alerts.failure_message import failure_message
from evermodel.alerts.message import Message
from evermodel.alerts.publisher import message_queue
from evermodel.alerts.queued_message import Destination, QueuedMessage
from evermodel.core.errors import SpecError
from evermodel.core.settings import Settings
from evermodel.spec import load_spec, spec_folder
from evermodel_provider.notifications.delivery import send_queue, tell


class FailureNotifier(BaseNotifier):
    """
    Sends a message about a failed task to the model's channel and its other notifiers; its own errors are logged.

    :param model: The DAG's model: name of its spec, or path of the YAML file.
    :param connection_id: Airflow connection of type ``slack``; if missing, the message goes to the outbox.
    :param channel: Channel of the message if the spec cannot be read.
    """

    def __init__(self, *, model: str, connection_id: str, channel: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.connection_id = connection_id
        self.channel = channel

    def __call__(self, *args: Any) -> None:
        """Send the message; errors are logged."""
        try:
            super().__call__(*args)
        except Exception:
            self.log.exception("The failure message could not be sent")

    def notify(self, context: Any) -> None:
        """Build the message from the context of the task, queue it and send it."""
        settings = Settings.from_environment().with_models(spec_folder(self.model))
        message = self._message(context)
        url = getattr(context.get("ti"), "log_url", None) or ""
        try:
            spec = load_spec(self.model, settings)
        except SpecError:
            # The broken spec may be the failure itself; the message is sent anyway.
            destination = Destination("slack", {"connection": self.connection_id, "channel": self.channel})
            message_queue(settings).put(destination, QueuedMessage("post", "failure", message.to_json(), url))
            send_queue(settings)
            return
        tell(spec, settings, "failure", message, url)

    def _message(self, context: Any) -> Message:
        from airflow.sdk.log import redact

        ti = context.get("ti") or context.get("task_instance")
        dag_run, dag = context.get("dag_run"), context.get("dag")
        task_id = getattr(ti, "task_id", "the run")
        if (map_index := getattr(ti, "map_index", -1)) is not None and map_index >= 0:
            task_id = f"{task_id}[{map_index}]"
        error = context.get("exception")
        text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
        return failure_message(
            model=Path(self.model).stem,
            dag_id=str(getattr(ti or dag, "dag_id", "unknown")),
            task_id=task_id,
            run_id=str(getattr(ti or dag_run, "run_id", "unknown")),
            error=str(redact(str(text or context.get("reason") or ""))),
            log_url=getattr(ti, "log_url", None) or "",
        )
