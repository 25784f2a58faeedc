"""Authentication by bearer tokens, kept as digests, from the environment or from a file that may change at any time."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from evermodel.core.errors import SpecError

TOKENS, TOKENS_FILE = "EVERMODEL_SERVING_TOKENS", "EVERMODEL_SERVING_TOKENS_FILE"
OPEN_PATHS = frozenset({"/health", "/ready"})
_LOG = logging.getLogger(__package__)
_SECONDS_BETWEEN_READS = 1.0
_SHORTEST = 16


class Tokens:
    """The valid tokens.

    Parameters
    ----------
    given
        Tokens that are valid for the life of the process.
    file
        A file of further tokens, one a line (``#`` starts a comment line). It is read again when it changes, so that
        tokens can be rotated without a restart; while it cannot be read, the last tokens stay valid.

    Raises
    ------
    SpecError
        The file cannot be read, there is no token, or a token is too short.
    """

    def __init__(self, given: tuple[str, ...] = (), file: Path | None = None) -> None:
        self._given = _digests(given, TOKENS)
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._from_file: tuple[bytes, ...] = ()
        self._next_read = 0.0
        self._unreadable = False
        if file is not None:
            try:
                self._read(file)
            except OSError as error:
                raise SpecError(
                    f"{TOKENS_FILE}={file} cannot be read: {error.strerror}",
                    "write one token a line into the file, or correct the path",
                ) from error
        if not self._given and not self._from_file:
            raise SpecError(
                f"{TOKENS_FILE}={file} has no token", f"write one token a line into it, or set {TOKENS}"
            )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Tokens | None:
        """Read ``EVERMODEL_SERVING_TOKENS`` (comma separated) and ``EVERMODEL_SERVING_TOKENS_FILE``; None if unset."""
        env = os.environ if environ is None else environ
        given = tuple(token.strip() for token in env.get(TOKENS, "").split(",") if token.strip())
        file = env.get(TOKENS_FILE, "").strip()
        return cls(given, Path(file) if file else None) if given or file else None

    def good(self, token: bytes) -> bool:
        """Tell whether a token is valid, in a time that does not depend on the token."""
        self._reread()
        sent = hashlib.sha256(token).digest()
        found = False
        for digest in (*self._given, *self._from_file):
            found |= hmac.compare_digest(digest, sent)
        return found

    def _reread(self) -> None:
        now = time.monotonic()
        if self._file is None or now < self._next_read:
            return
        self._next_read = now + _SECONDS_BETWEEN_READS
        try:
            self._read(self._file)
        except (OSError, SpecError) as error:
            if not self._unreadable:
                reason = error.problem if isinstance(error, SpecError) else error.strerror
                _LOG.warning('event=tokens_not_read file=%s error="%s"', self._file, reason)
            self._unreadable = True
            return
        self._unreadable = False

    def _read(self, file: Path) -> None:
        state = file.stat()
        stamp = (state.st_mtime_ns, state.st_size, state.st_ino)
        if stamp == self._stamp:
            return
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        tokens = tuple(line.strip() for line in lines if line.strip() and not line.strip().startswith("#"))
        digests = _digests(tokens, str(file))
        if self._stamp is not None:
            _LOG.info("event=tokens_read tokens=%d", len(digests))
        self._from_file, self._stamp = digests, stamp


def _digests(tokens: tuple[str, ...], where: str) -> tuple[bytes, ...]:
    if any(len(token) < _SHORTEST for token in tokens):
        raise SpecError(
            f"{where} has a token of fewer than {_SHORTEST} characters",
            "create one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`",
        )
    return tuple(hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest() for token in tokens)


class TokenAuth:
    """ASGI middleware that requires a valid token, except for `/health` and `/ready`.

    Parameters
    ----------
    app
        The app inside.
    tokens
        The valid tokens.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self.app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan" or scope.get("path") in OPEN_PATHS or self._known(scope):
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        detail = "a valid token is required; send the header `Authorization: Bearer <token>`"
        body = orjson.dumps({"detail": detail, "request_id": scope["state"]["request_id"]})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"www-authenticate", b'Bearer realm="evermodel"'),
        ]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _known(self, scope: Scope) -> bool:
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(sent) != 1:
            return False
        kind, _, token = sent[0].partition(b" ")
        return bool(kind.lower() == b"bearer" and self._tokens.good(token.strip()))
