"""Sends messages to Slack through an Airflow connection, or to the outbox where there is none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.alerts.message import Message
from evermodel.alerts.outbox import folder_name, rewrite_in_outbox, write_to_outbox
from evermodel.alerts.transport import Delivery
from evermodel.core.errors import EvermodelError
from evermodel_provider.notifications.errors import (
    FORMAT_ERRORS,
    SlackConfigurationError,
    SlackRefusedError,
    SlackUnavailableError,
    error_code,
    explained,
    retry_after,
)
from evermodel_provider.notifications.slack_history import EVENT_TYPE, find_message

if TYPE_CHECKING:
    from slack_sdk import WebClient

log = logging.getLogger(__name__)
_RETRIES = 2
_MOST_WAIT = 3.0
_IMAGE = "columns.png"


@dataclass(frozen=True)
class SlackSender:
    """Takes messages to one channel.

    A delivery is plain data, so that it can travel through XCom: ``kind`` (``slack`` or ``outbox``), ``channel`` (Slack's
    id, or the name it was meant for), ``ts`` (Slack's timestamp, or the folder's name) and ``path`` (folder in the
    outbox).

    Parameters
    ----------
    connection_id
        Airflow connection of type ``slack`` with a bot token as password. If it does not exist, messages go to the
        outbox and the task goes on.
    channel
        Name (``#ml-alerts``) or id.
    outbox
        Folder for messages when there is no connection.
    known_id
        Slack's id of the channel, if an earlier delivery told it; the history can only be asked by id.
    """

    connection_id: str
    channel: str
    outbox: Path
    known_id: str = ""

    def post(
        self,
        message: Message,
        *,
        event: str = "",
        url: str = "",
        thread: Delivery | None = None,
        broadcast: bool = False,
    ) -> Delivery:
        """Send a message.

        Parameters
        ----------
        message
            What to say.
        thread
            The delivery that this message answers to.
        broadcast
            An answer is shown to the whole channel too.

        Returns
        -------
        Where it went.

        Raises
        ------
        SlackConfigurationError
            Token, scope or channel are wrong.
        SlackRefusedError
            Slack does not take this message.
        SlackUnavailableError
            Slack does not answer, or limits the rate for longer than a few seconds.
        """
        client = self._client()
        if client is None:
            return self._to_outbox(message, thread["ts"] if thread else None)
        where: dict[str, Any] = {"channel": self.channel}
        if thread and thread["kind"] == "slack":  # a message that went to the outbox has no thread in Slack
            where |= {"thread_ts": thread["ts"], "reply_broadcast": broadcast}
        answer = self._call(client.chat_postMessage, message, **where)
        return {"kind": "slack", "channel": answer["channel"], "ts": answer["ts"], "path": ""}

    def replace(self, delivery: Delivery, message: Message) -> Delivery:
        """Replace a message that was sent before; see `post` for what is raised, and `MessageGoneError`."""
        if delivery["kind"] == "outbox":
            return {**delivery, "path": str(rewrite_in_outbox(Path(delivery["path"]), message))}
        client = self._client()
        if client is None:
            log.warning("The Slack connection %s is gone; the update goes to the outbox.", self.connection_id)
            return self._to_outbox(message, None)
        answer = self._call(client.chat_update, message, channel=delivery["channel"], ts=delivery["ts"])
        return {**delivery, "ts": answer["ts"]}

    def find(self, message: Message, *, thread: Delivery | None, since: datetime) -> Delivery | None:
        """Look in the channel, or in the thread, for a message by its key; see `Transport.find`."""
        client = self._client()
        if client is None:
            place = self.outbox / folder_name(message)
            return self._in_outbox(place) if place.exists() else None
        with self._explaining():
            return find_message(client, self.channel, self.known_id, message, thread, since)

    def show(self, delivery: Delivery, image: Path, message: Message) -> None:
        """Put a PNG into the message's thread; a failure is logged, for the message counts as sent."""
        if delivery["kind"] == "outbox":
            rewrite_in_outbox(Path(delivery["path"]), message, image)
            return
        client = self._client()
        if client is None:
            return
        try:
            with self._explaining():
                client.files_upload_v2(
                    channel=delivery["channel"],
                    thread_ts=delivery["ts"],
                    file=str(image),
                    filename=_IMAGE,
                    title=message.title,
                    alt_txt=message.title,
                )
        except EvermodelError as error:
            log.warning("The message was sent, its image was not: %s", error)

    def _client(self) -> WebClient | None:
        from airflow.providers.slack.hooks.slack import SlackHook
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            connection = SlackHook.get_connection(self.connection_id)
        except AirflowNotFoundException:
            return None
        # The hook reports a missing token as a missing connection; that would hide a mistake in the outbox.
        if not connection.password:
            raise SlackConfigurationError(
                f"the Airflow connection {self.connection_id} has no token",
                "put the bot token (xoxb-...) into its password",
            )
        hook = SlackHook(slack_conn_id=self.connection_id, retry_handlers=_retry_handlers(), logger=log)
        return hook.client

    def _call(self, method: Any, message: Message, **where: Any) -> Any:
        payload = {
            "text": message.fallback,
            "blocks": message.blocks,
            "metadata": {
                "event_type": EVENT_TYPE,
                "event_payload": {"key": message.key, "model": message.model, "severity": message.severity},
            },
            **where,
        }
        if method.__name__ == "chat_postMessage":
            payload |= {"unfurl_links": False, "unfurl_media": False}
        from slack_sdk.errors import SlackApiError

        with self._explaining():
            try:
                return method(**payload)
            except SlackApiError as error:
                if error_code(error.response) not in FORMAT_ERRORS:
                    raise
                # A message that looks plain is better than none.
                log.warning("Slack refused the blocks of %s; sending plain text: %s", message.key, error)
                return method(**{**payload, "blocks": []})

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        from slack_sdk.errors import SlackApiError, SlackClientError

        try:
            yield
        except SlackApiError as error:
            raise explained(error.response, self.connection_id, self.channel) from error
        except SlackClientError as error:
            raise SlackRefusedError(
                f"the call to Slack for {self.channel} (connection {self.connection_id}) failed: {error}",
                "check base_url and proxy in the connection's extra",
            ) from error
        except (OSError, HTTPException) as error:
            raise SlackUnavailableError(
                f"Slack cannot be reached for {self.channel} (connection {self.connection_id}): {error}",
                "check the network and base_url and proxy in the connection's extra",
            ) from error

    def _to_outbox(self, message: Message, thread: str | None) -> Delivery:
        path = write_to_outbox(self.outbox, message, None, thread)
        log.info(
            "No Airflow connection %s, so the message for %s waits in %s\n%s",
            self.connection_id,
            self.channel,
            path,
            message.text,
        )
        return self._in_outbox(path)

    def _in_outbox(self, path: Path) -> Delivery:
        return {"kind": "outbox", "channel": self.channel, "ts": path.name, "path": str(path)}


def _retry_handlers() -> list[Any]:
    from urllib.error import URLError

    from slack_sdk.http_retry.builtin_handlers import ConnectionErrorRetryHandler, RateLimitErrorRetryHandler

    class ShortRateLimit(RateLimitErrorRetryHandler):  # type: ignore[misc]
        """Waits only as long as a task may; the queue keeps the message for longer waits."""

        def _can_retry(self, *, response: object = None, **kwargs: Any) -> bool:
            limited = super()._can_retry(response=response, **kwargs)
            return limited and retry_after(response) <= _MOST_WAIT

    return [
        ShortRateLimit(max_retry_count=_RETRIES),
        # Only when the request could not be sent: an answer that got lost may be the answer to a posted message.
        ConnectionErrorRetryHandler(max_retry_count=_RETRIES, error_types=[URLError]),
    ]
