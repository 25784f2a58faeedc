"""Search in Slack for a message, or an image, whose delivery was not confirmed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evermodel.alerts.message import Message
from evermodel.alerts.queued_message import Delivery, NoHistoryError
from evermodel_provider.notifications.errors import error_code

if TYPE_CHECKING:
    from slack_sdk import WebClient

EVENT_TYPE = "evermodel"
_ID = re.compile("[CDG][A-Z0-9]{6,}")
_MOST_PAGES = 20
_UNKNOWN = {"missing_scope", "not_in_channel", "channel_not_found", "no_permission", "access_denied"}


def thread_of(delivery: Delivery) -> str:
    """Return the ``ts`` of the thread that a delivered message began, or is in.

    :param delivery: Of the message.
    """
    return str(delivery.get("root") or delivery["ts"])


def find_message(
    client: WebClient, channel: str, known_id: str, message: Message, thread: Delivery | None, since: datetime
) -> Delivery | None:
    """Return the delivery of a message, found by model and key in its metadata; None if there is none.

    :param channel: Name or id of the channel.
    :param known_id: Id of the channel, if it is known.
    :param thread: Delivery of the thread's first message.
    :param since: Older messages are ignored.
    :raises NoHistoryError: The token cannot read the channel.
    """
    from slack_sdk.errors import SlackApiError

    try:
        place = thread["channel"] if thread else known_id or _channel_id(client, channel)
        method: Callable[..., Any] = client.conversations_replies if thread else client.conversations_history
        about = {"ts": thread_of(thread)} if thread else {}
        oldest = f"{since.timestamp():.6f}"
        arguments = {"channel": place, "oldest": oldest, "include_all_metadata": True, "limit": 200, **about}
        for found in _pages(method, "messages", arguments):
            if _is(found, message):
                root = {"root": thread_of(thread)} if thread else {}
                return {"kind": "slack", "channel": place, "ts": found["ts"], "path": "", **root}
    except SlackApiError as error:
        code = error_code(error.response)
        if code not in _UNKNOWN:
            raise
        raise NoHistoryError(
            f"Slack does not let the app read {channel}: {code}",
            "add the scopes channels:history and channels:read (private channels: groups:history and groups:read)",
        ) from error
    return None


def has_file(client: WebClient, delivery: Delivery, name: str) -> bool:
    """Tell whether a message's thread has a file of a name; True if the token cannot read the thread."""
    from slack_sdk.errors import SlackApiError

    arguments = {"channel": delivery["channel"], "ts": thread_of(delivery), "limit": 200}
    try:
        replies = _pages(client.conversations_replies, "messages", arguments)
        return any(file.get("name") == name for found in replies for file in found.get("files", ()))
    except SlackApiError as error:
        if error_code(error.response) not in _UNKNOWN:
            raise
        return True


def _is(found: Any, message: Message) -> bool:
    metadata = found.get("metadata") or {}
    payload = metadata.get("event_payload") or {}
    same = (payload.get("key"), payload.get("model")) == (message.key, message.model)
    return bool(metadata.get("event_type") == EVENT_TYPE and same)


def _channel_id(client: WebClient, channel: str) -> str:
    if _ID.fullmatch(channel):
        return channel
    arguments = {"exclude_archived": True, "limit": 200, "types": "public_channel"}
    for found in _pages(client.conversations_list, "channels", arguments):
        if found["name"] == channel.removeprefix("#"):
            return str(found["id"])
    raise NoHistoryError(
        f"Slack does not list the channel {channel}", "name the channel by its id under alerts.channel"
    )


def _pages(method: Callable[..., Any], part: str, arguments: dict[str, Any]) -> Iterator[Any]:
    cursor = ""
    for _ in range(_MOST_PAGES):
        answer = method(**arguments, **({"cursor": cursor} if cursor else {}))
        yield from answer[part]
        cursor = (answer.get("response_metadata") or {}).get("next_cursor") or ""
        if not cursor:
            return
