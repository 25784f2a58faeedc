"""Delivery of messages to Slack through an Airflow connection, or to the outbox without one."""

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
from evermodel.alerts.queued_message import Delivery
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
from evermodel_provider.notifications.slack_history import EVENT_TYPE, find_message, has_file, thread_of

if TYPE_CHECKING:
    from slack_sdk import WebClient

log = logging.getLogger(__name__)
_RETRIES = 2
_MOST_WAIT = 3.0
_IMAGE = "columns.png"


@dataclass(frozen=True)
class SlackSender:
    """Delivers messages to one channel.

    A delivery is plain data, so that it can travel through XCom: ``kind`` (``slack`` or ``outbox``), ``channel`` (Slack's
    id, or its name), ``ts`` (Slack's timestamp, or the folder's name) and ``path`` (folder in the
    outbox). That of a reply has ``root``, the ``ts`` of its thread: Slack has no replies to replies.

    Parameters
    ----------
    connection_id
        Airflow connection of type ``slack`` with a bot token as password. If it does not exist, messages go to the
        outbox and the task succeeds.
    channel
        Name (``#ml-alerts``) or id.
    known_id
        Slack's id of the channel, if known from an earlier delivery; the history can only be read by id.
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
        """Send a message; see `Transport.post`.

        Raises
        ------
        SlackConfigurationError
            Token, scope or channel need a fix.
        SlackRefusedError
            Slack refuses this message.
        SlackUnavailableError
            Slack does not answer, or limits the rate for longer than a few seconds.
        """
        client = self._client()
        if client is None:
            return self._to_outbox(message, thread_of(thread) if thread else None)
        where: dict[str, Any] = {"channel": self.channel}
        if thread and thread["kind"] == "slack":  # a message that went to the outbox has no thread in Slack
            where |= {"thread_ts": thread_of(thread), "reply_broadcast": broadcast}
        answer = self._call(client.chat_postMessage, message, **where)
        root = {"root": where["thread_ts"]} if "thread_ts" in where else {}
        return {"kind": "slack", "channel": answer["channel"], "ts": answer["ts"], "path": "", **root}

    def replace(self, delivery: Delivery, message: Message) -> Delivery:
        """Replace a sent message; raises as `post` does, and `MessageGoneError`."""
        if delivery["kind"] == "outbox":
            return {**delivery, "path": str(rewrite_in_outbox(Path(delivery["path"]), message))}
        client = self._client()
        if client is None:
            log.warning(
                "The Slack connection %s no longer exists; the update goes to the outbox.", self.connection_id
            )
            return self._to_outbox(message, None)
        answer = self._call(client.chat_update, message, channel=delivery["channel"], ts=delivery["ts"])
        return {**delivery, "ts": answer["ts"]}

    def find(self, message: Message, *, thread: Delivery | None, since: datetime) -> Delivery | None:
        """Find a message by its key in the channel or in the thread; see `Transport.find`."""
        client = self._client()
        if client is None:
            place = self.outbox / folder_name(message)
            return self._in_outbox(place) if place.exists() else None
        with self._explaining():
            return find_message(client, self.channel, self.known_id, message, thread, since)

    def show(self, delivery: Delivery, image: Path, message: Message) -> None:
        """Upload a PNG into the message's thread; see `Transport.show`."""
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
                    thread_ts=thread_of(delivery),
                    file=str(image),
                    filename=_IMAGE,
                    title=message.title,
                    alt_txt=message.title,
                )
        except SlackUnavailableError:
            raise
        except EvermodelError as error:
            log.warning("The message was sent, its image was not: %s", error)

    def has_image(self, delivery: Delivery) -> bool:
        """Look for the PNG in the message's thread; see `Transport.has_image`."""
        if delivery["kind"] == "outbox" or (client := self._client()) is None:
            return False  # written again it is the same
        with self._explaining():
            return has_file(client, delivery, _IMAGE)

    def _client(self) -> WebClient | None:
        from airflow.providers.common.compat.sdk import AirflowNotFoundException
        from airflow.providers.slack.hooks.slack import SlackHook

        try:
            connection = SlackHook.get_connection(self.connection_id)
        except AirflowNotFoundException:
            return None
        # The hook reports a missing token as a missing connection, which would send messages to the outbox.
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
                # Plain text is the fallback.
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
        root = {"root": thread} if thread else {}
        log.info(
            "No Airflow connection %s, so the message for %s is in %s\n%s",
            self.connection_id,
            self.channel,
            path,
            message.text,
        )
        return {**self._in_outbox(path), **root}

    def _in_outbox(self, path: Path) -> Delivery:
        return {"kind": "outbox", "channel": self.channel, "ts": path.name, "path": str(path)}


def _retry_handlers() -> list[Any]:
    from urllib.error import URLError

    from slack_sdk.http_retry.builtin_handlers import ConnectionErrorRetryHandler, RateLimitErrorRetryHandler

    class ShortRateLimit(RateLimitErrorRetryHandler):  # type: ignore[misc]
        """Retries only within a task's limit; for longer waits the message stays queued."""

        def _can_retry(self, *, response: object = None, **kwargs: Any) -> bool:
            limited = super()._can_retry(response=response, **kwargs)
            return limited and retry_after(response) <= _MOST_WAIT

    return [
        ShortRateLimit(max_retry_count=_RETRIES),
        # Only if the request was not sent: after a lost response the message may already be posted.
        ConnectionErrorRetryHandler(max_retry_count=_RETRIES, error_types=[URLError]),
    ]
