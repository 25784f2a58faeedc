"""Sends messages to Slack through an Airflow connection, or to the outbox where there is none."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evermodel.alerts.message import Message
from evermodel.alerts.outbox import rewrite_in_outbox, write_to_outbox
from evermodel_provider.notifications.errors import (
    FORMAT_ERRORS,
    SlackConfigurationError,
    SlackRefusedError,
    SlackUnavailableError,
    error_code,
    explained,
)

if TYPE_CHECKING:
    from slack_sdk import WebClient

log = logging.getLogger(__name__)
EVENT_TYPE = "evermodel"
_TIMESTAMP = re.compile(r"\d+\.\d+")
_RETRIES = 2


@dataclass(frozen=True)
class Delivery:
    """Where a message went; plain data, so that it can travel through XCom.

    Parameters
    ----------
    kind
        ``slack`` or ``outbox``.
    channel
        Slack's id of the channel, or the name of the channel it was meant for.
    ts
        Slack's timestamp of the message, or the name of its folder; give it as ``thread`` to answer to it.
    path
        Folder in the outbox; empty for Slack.
    """

    kind: Literal["slack", "outbox"]
    channel: str
    ts: str
    path: str = ""


@dataclass(frozen=True)
class SlackSender:
    """Sends messages to one channel.

    Parameters
    ----------
    connection_id
        Airflow connection of type ``slack`` with a bot token as password. If it does not exist, messages go to the
        outbox and the task goes on.
    channel
        Name (``#ml-alerts``) or id.
    outbox
        Folder for messages when there is no connection.
    """

    connection_id: str
    channel: str
    outbox: Path

    def send(self, message: Message, image: Path | None = None, thread: str | None = None) -> Delivery:
        """Send a message.

        Parameters
        ----------
        message
            What to say.
        image
            A PNG for the message's thread; if only the image fails, the message counts as sent.
        thread
            ``ts`` of the delivery that this message answers to.

        Returns
        -------
        Where it went.

        Raises
        ------
        SlackConfigurationError
            Token, scope or channel are wrong.
        SlackUnavailableError
            Slack does not answer, or limits the rate for longer than a few tries.
        """
        client = self._client()
        if client is None:
            return self._to_outbox(message, image, thread)
        # A message that went to the outbox has no thread in Slack.
        thread_ts = thread if thread and _TIMESTAMP.fullmatch(thread) else None
        answer = self._call(client.chat_postMessage, message, channel=self.channel, thread_ts=thread_ts)
        delivery = Delivery("slack", channel=answer["channel"], ts=answer["ts"])
        if image:
            self._upload(client, delivery, message, image, thread_ts or delivery.ts)
        return delivery

    def update(self, delivery: Delivery, message: Message) -> Delivery:
        """Replace a message that was sent before; see `send` for what is raised."""
        if delivery.kind == "outbox":
            return replace(delivery, path=str(rewrite_in_outbox(Path(delivery.path), message)))
        client = self._client()
        if client is None:
            log.warning("The Slack connection %s is gone; the update goes to the outbox.", self.connection_id)
            return self._to_outbox(message, None, None)
        answer = self._call(client.chat_update, message, channel=delivery.channel, ts=delivery.ts)
        return replace(delivery, ts=answer["ts"])

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

    def _upload(
        self, client: WebClient, delivery: Delivery, message: Message, image: Path, thread: str
    ) -> None:
        try:
            with self._explaining():
                client.files_upload_v2(
                    channel=delivery.channel,
                    thread_ts=thread,
                    file=str(image),
                    filename=image.name,
                    title=message.title,
                    alt_txt=message.title,
                )
        except (SlackConfigurationError, SlackRefusedError, SlackUnavailableError) as error:
            log.warning("The message was sent, its image %s was not: %s", image.name, error)

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

    def _to_outbox(self, message: Message, image: Path | None, thread: str | None) -> Delivery:
        path = write_to_outbox(self.outbox, message, image, thread)
        log.info(
            "No Airflow connection %s, so the message for %s waits in %s\n%s",
            self.connection_id,
            self.channel,
            path,
            message.text,
        )
        return Delivery("outbox", channel=self.channel, ts=path.name, path=str(path))


def _retry_handlers() -> list[Any]:
    from urllib.error import URLError

    from slack_sdk.http_retry.builtin_handlers import ConnectionErrorRetryHandler, RateLimitErrorRetryHandler

    return [
        RateLimitErrorRetryHandler(max_retry_count=_RETRIES),
        # Only when the request could not be sent: an answer that got lost may be the answer to a posted message.
        ConnectionErrorRetryHandler(max_retry_count=_RETRIES, error_types=[URLError]),
    ]
