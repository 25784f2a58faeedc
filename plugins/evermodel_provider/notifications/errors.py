"""Slack's errors, with the connection, the channel and the advice."""

from __future__ import annotations

import re
from typing import Any

from evermodel.alerts.queued_message import DeliveryDelayedError, MessageGoneError, MessageRefusedError
from evermodel.core.errors import EvermodelError, PermanentError


class SlackConfigurationError(PermanentError):
    """The token, its scopes or the channel need a fix."""


class SlackRefusedError(MessageRefusedError):
    """Slack refuses the message."""


class SlackUnavailableError(DeliveryDelayedError):
    """Slack does not answer, or limits the rate."""


_TOKEN = "put a valid bot token (xoxb-...) into the password of the connection"
_INVITE = "invite the app: /invite @<its name> in the channel, or give it the scope chat:write.public"
_ADVICE = {
    "invalid_auth": _TOKEN,
    "not_authed": _TOKEN,
    "not_allowed_token_type": _TOKEN,
    "account_inactive": f"the app or its workspace was removed; {_TOKEN}",
    "token_revoked": f"the token was revoked; {_TOKEN}",
    "token_expired": f"the token has expired; {_TOKEN}",
    "channel_not_found": f"check the channel's name; if it is private, {_INVITE}",
    "not_in_channel": _INVITE,
    "is_archived": "unarchive the channel, or name another one under alerts.channel in the model's YAML",
    "restricted_action": "ask a workspace admin to let the app post in this channel",
    "cant_update_message": "the message was posted by another app; use the token that posted it",
}
_GONE = {"message_not_found": "the message was deleted in Slack and cannot be updated"}
_CODE = re.compile("[a-z0-9_]+")
_LATER = {
    "ratelimited",
    "rate_limited",
    "fatal_error",
    "internal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",
}
FORMAT_ERRORS = {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "blocks_too_long"}


def error_code(response: object) -> str:
    """Return the error code of Slack's response; the HTTP status if the response is not Slack's."""
    data = getattr(response, "data", response)
    code = data.get("error") if isinstance(data, dict) else None
    if isinstance(code, str) and _CODE.fullmatch(code):
        return code
    return f"a response that is not Slack's, HTTP {status(response)}"


def status(response: object) -> int:
    """Return the HTTP status of Slack's response."""
    found = response.get("status") if isinstance(response, dict) else getattr(response, "status_code", None)
    return int(found or 0)


def retry_after(response: object) -> float:
    """Return the seconds that Slack requests to wait; 0 if unknown."""
    found = response.get("headers") if isinstance(response, dict) else getattr(response, "headers", None)
    for name, value in (found or {}).items():
        if str(name).lower() == "retry-after":
            first = str(value[0] if isinstance(value, list) else value)
            return float(first) if first.isdigit() else 0.0
    return 0.0


def explained(response: Any, connection_id: str, channel: str) -> EvermodelError:
    """Return the error for a refusal by Slack, with advice."""
    code = error_code(response)
    where = f"Slack refused the message to {channel} (connection {connection_id}): {code}"
    if code in _LATER or not _CODE.fullmatch(code) or status(response) == 429 or status(response) >= 500:
        delayed = SlackUnavailableError(
            where,
            "it is sent later; if the error persists, check https://slack-status.com and the connection's base_url and proxy",
        )
        limited = status(response) == 429 or code in ("ratelimited", "rate_limited")
        delayed.uncertain, delayed.retry_after = not limited, retry_after(response) if limited else 0.0
        return delayed
    if code == "missing_scope":
        needed = response.get("needed") or "the missing scope"
        return SlackConfigurationError(
            where, f"add {needed} to the app's bot token scopes and install the app again"
        )
    if code in _GONE:
        return MessageGoneError(where, _GONE[code])
    if code in _ADVICE:
        return SlackConfigurationError(where, _ADVICE[code])
    return SlackRefusedError(where, f"see the code in Slack's documentation of chat.postMessage: {code}")
