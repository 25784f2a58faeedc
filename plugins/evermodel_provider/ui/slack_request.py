"""Check that a request comes from Slack, is recent, and is no repetition."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from evermodel.alerts.accepted_requests import FRESH_SECONDS, accept_once
from evermodel.core.errors import EvermodelError

MOST_BYTES = 262_144  # Slack returns the whole message with the button; ours are far smaller
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class RefusedError(Exception):
    """The request is refused; the reason is only logged."""


def verify(secret: str, headers: Mapping[str, str], body: bytes, database: str) -> None:
    """Check signature and timestamp, and that this request was not accepted before.

    :param secret: The app's signing secret.
    :param headers: With lower-case names.
    :param database: URL of the database, which all API servers share.
    :raises RefusedError: The request is forged, old, or repeated.
    """
    from slack_sdk.signature import SignatureVerifier

    try:
        genuine = SignatureVerifier(secret).is_valid_request(body, dict(headers))
    except (ValueError, TypeError):  # a timestamp that is not a number, a body that is not text
        genuine = False
    if not genuine:
        raise RefusedError("its signature is wrong, or it is older than five minutes")
    try:
        new = accept_once(database, headers["x-slack-signature"])
    except EvermodelError as error:
        raise RefusedError(f"a repetition cannot be excluded: {error.problem}") from error
    if not new:
        raise RefusedError("it repeats an accepted request")


def looks_fresh(headers: Mapping[str, str]) -> bool:
    """Return whether a request has a signature and a timestamp of the last minutes."""
    stamp = headers.get("x-slack-request-timestamp", "")
    fresh = stamp.isascii() and stamp.isdigit() and len(stamp) < 12
    return fresh and "x-slack-signature" in headers and abs(time.time() - int(stamp)) <= FRESH_SECONDS


def payload_of(body: bytes) -> dict[str, Any]:
    """Return the payload of Slack's form.

    :raises RefusedError: The body is not such a form.
    """
    try:
        found = json.loads(parse_qs(body.decode(), strict_parsing=True)["payload"][0])
    except (ValueError, KeyError) as error:
        raise RefusedError("its body is not a Slack button's form") from error
    if not isinstance(found, dict):
        raise RefusedError("its payload is not an object")
    return found


def may_reply(url: str, base_url: str) -> bool:
    """Return whether a reply address belongs to Slack, so that no other host can be called.

    :param base_url: Address of Slack's Web API in the connection; accepted on loopback only.
    """
    try:
        parts, base = urlsplit(url), urlsplit(base_url)
        if parts.scheme == "https" and parts.netloc == "hooks.slack.com":
            return True
        return bool(base_url) and base.hostname in _LOOPBACK and (parts.scheme, parts.netloc) == base[:2]
    except ValueError:
        return False
