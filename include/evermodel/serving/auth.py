"""Who may ask: bearer tokens, held as digests only, from the environment or from a file that may change at any time."""

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
_SECONDS_BETWEEN_LOOKS = 1.0
_SHORTEST = 16


class Tokens:
    """The tokens that are good now.

    Parameters
    ----------
    given
        Tokens that stay for the life of the process.
    file
        A file of further tokens, one a line (``#`` starts a comment line). It is read again when it changes, so that
        tokens are rotated without a restart; while it is away, those read last stay good.

    Raises
    ------
    SpecError
        The file cannot be read, there is no token at all, or one is too short to be a secret.
    """

    def __init__(self, given: tuple[str, ...] = (), file: Path | None = None) -> None:
        self._given = _digests(given, TOKENS)
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._from_file: tuple[bytes, ...] = ()
        self._look_at = 0.0
        self._away = False
        if file is not None:
            try:
                self._read(file)
            except OSError as error:
                raise SpecError(
                    f"{TOKENS_FILE} names {file}, which cannot be read: {error.strerror}",
                    "write one token a line into it",
                ) from error
        if not self._given and not self._from_file:
            raise SpecError(
                "serving is to ask for tokens, but there is none", f"set {TOKENS} or fill the file"
            )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Tokens | None:
        """Read ``EVERMODEL_SERVING_TOKENS`` (comma separated) and ``EVERMODEL_SERVING_TOKENS_FILE``; None if unset."""
        env = os.environ if environ is None else environ
        given = tuple(token.strip() for token in env.get(TOKENS, "").split(",") if token.strip())
        file = env.get(TOKENS_FILE, "").strip()
        return cls(given, Path(file) if file else None) if given or file else None

    def good(self, token: bytes) -> bool:
        """Tell whether a token is one of them; how long that takes does not tell how near it was."""
        self._look()
        asked = hashlib.sha256(token).digest()
        found = False
        for digest in (*self._given, *self._from_file):
            found |= hmac.compare_digest(digest, asked)
        return found

    def _look(self) -> None:
        now = time.monotonic()
        if self._file is None or now < self._look_at:
            return
        self._look_at = now + _SECONDS_BETWEEN_LOOKS
        try:
            self._read(self._file)
        except (OSError, SpecError) as error:
            if not self._away:
                reason = error.problem if isinstance(error, SpecError) else error.strerror
                _LOG.warning('event=tokens_not_read file=%s error="%s"', self._file, reason)
            self._away = True
            return
        self._away = False

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
            "make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`",
        )
    return tuple(hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest() for token in tokens)


class TokenAuth:
    """ASGI middleware that lets requests with a good token pass; `/health` and `/ready` are open to everybody.

    Parameters
    ----------
    app
        The app inside.
    tokens
        The tokens that are good.
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
        detail = "this needs a token: send the header `Authorization: Bearer <token>`"
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
