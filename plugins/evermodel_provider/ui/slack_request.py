"""Whether a request really comes from Slack, now, and for the first time."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

MOST_BYTES = 262_144  # Slack sends the whole message back with the button; ours are far smaller
_FRESH_SECONDS = 300
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class RefusedError(Exception):
    """The request is not taken; why is for the log only, the caller learns nothing."""


def verify(secret: str, headers: Mapping[str, str], body: bytes, seen: Path) -> None:
    """Check signature and time stamp, and that this very request was not taken before.

    :param secret: The app's signing secret.
    :param headers: With lower-case names.
    :param seen: Folder, shared by all API servers, that remembers the requests of the last minutes.
    :raises RefusedError: The request is forged, old, or a copy.
    """
    from slack_sdk.signature import SignatureVerifier

    try:
        genuine = SignatureVerifier(secret).is_valid_request(body, dict(headers))
    except (ValueError, TypeError):  # a time stamp that is no number, a body that is no text
        genuine = False
    if not genuine:
        raise RefusedError("its signature is wrong, or it is older than five minutes")
    _remember(seen, headers["x-slack-signature"])


def looks_fresh(headers: Mapping[str, str]) -> bool:
    """Tell whether a request is worth a look: it has a signature, and a time stamp of the last minutes."""
    stamp = headers.get("x-slack-request-timestamp", "")
    fresh = stamp.isascii() and stamp.isdigit() and len(stamp) < 12
    return fresh and "x-slack-signature" in headers and abs(time.time() - int(stamp)) <= _FRESH_SECONDS


def _remember(seen: Path, signature: str) -> None:
    """Note a signature; of two processes that get the same one, exactly one can make the file."""
    note = seen / hashlib.sha256(signature.encode()).hexdigest()
    try:
        seen.mkdir(parents=True, exist_ok=True)
        _forget_old(seen)
        with suppress(FileExistsError):
            note.touch(exist_ok=False)
            return
    except OSError as error:
        raise RefusedError(f"whether it is a copy cannot be known: {error}") from error
    raise RefusedError("it is a copy of a request that was taken before")


def _forget_old(seen: Path) -> None:
    """Delete notes of requests that are too old to be taken; they count on either side of our clock."""
    for file in seen.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > 4 * _FRESH_SECONDS:
                file.unlink()


def payload_of(body: bytes) -> dict[str, Any]:
    """Return what Slack says was done, from the form that it sends.

    :raises RefusedError: The body is no such form.
    """
    try:
        found = json.loads(parse_qs(body.decode(), strict_parsing=True)["payload"][0])
    except (ValueError, KeyError) as error:
        raise RefusedError("its body is not what Slack sends for a button") from error
    if not isinstance(found, dict):
        raise RefusedError("its payload is no object")
    return found


def may_reply(url: str, base_url: str) -> bool:
    """Tell whether an address is one of Slack's for replies, so that nobody makes us call another one.

    :param base_url: Where the connection says that Slack's Web API is; believed on this machine only.
    """
    try:
        parts, base = urlsplit(url), urlsplit(base_url)
        if parts.scheme == "https" and parts.netloc == "hooks.slack.com":
            return True
        return bool(base_url) and base.hostname in _LOOPBACK and (parts.scheme, parts.netloc) == base[:2]
    except ValueError:
        return False
