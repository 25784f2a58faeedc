"""Authentication by bearer tokens, kept as digests, from the environment or from a file that may change at any time."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from evermodel.core.errors import SpecError
from evermodel.serving.protocols.addresses import ANY_RIGHT, OPEN_PATHS, Addresses, codec_of

TOKENS, TOKENS_FILE = "EVERMODEL_SERVING_TOKENS", "EVERMODEL_SERVING_TOKENS_FILE"
_LOG = logging.getLogger(__package__)
_SECONDS_BETWEEN_READS = 1.0
_SHORTEST = 16
_RIGHTS = re.compile(r"predict|predict:[^\s:]+|admin")


@dataclass(frozen=True)
class Caller:
    """Who sends a token.

    Parameters
    ----------
    name
        Marks the predictions of this caller in the log.
    rights
        ``predict`` or ``predict:<model>``, and ``admin`` for every other address (see `Addresses.right`); empty for all.
    """

    name: str
    rights: frozenset[str]

    def may(self, right: str) -> bool:
        """Tell whether the caller has a right, such as ``predict:flights``."""
        return not self.rights or right in self.rights or right.partition(":")[0] in self.rights


class Tokens:
    """The valid tokens.

    Parameters
    ----------
    given
        Tokens that are valid for the life of the process.
    file
        A file of further tokens, one a line (``#`` starts a comment line). It is read again when it changes, so that
        tokens can be rotated without a restart; while it cannot be read, the last tokens stay valid.

    Behind a token may stand its rights and ``caller:<name>``, separated by spaces; see `Caller`.

    Raises
    ------
    SpecError
        The file cannot be read, there is no token, a token is too short, or a right is unknown.
    """

    def __init__(self, given: tuple[str, ...] = (), file: Path | None = None) -> None:
        self._given = _callers(given, TOKENS)
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._from_file: tuple[tuple[bytes, Caller], ...] = ()
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

    def caller(self, token: bytes) -> Caller | None:
        """Return who has a token, or None if it is not valid, in a time that does not depend on the token."""
        self._reread()
        sent = hashlib.sha256(token).digest()
        found = None
        for digest, caller in (*self._given, *self._from_file):
            found = caller if hmac.compare_digest(digest, sent) else found
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
        callers = _callers(tokens, str(file))
        if self._stamp is not None:
            _LOG.info("event=tokens_read tokens=%d", len(callers))
        self._from_file, self._stamp = callers, stamp


def _callers(lines: tuple[str, ...], where: str) -> tuple[tuple[bytes, Caller], ...]:
    return tuple(_caller(*line.split(), where=where) for line in lines)


def _caller(token: str, *words: str, where: str) -> tuple[bytes, Caller]:
    if len(token) < _SHORTEST:
        raise SpecError(
            f"{where} has a token of fewer than {_SHORTEST} characters",
            "create one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`",
        )
    digest = hashlib.sha256(token.encode("utf-8", "surrogateescape"))
    names = [word.removeprefix("caller:") for word in words if re.fullmatch(r"caller:[\w.-]+", word)]
    rights = [word for word in words if _RIGHTS.fullmatch(word)]
    if len(names) + len(rights) < len(words) or len(names) > 1:
        raise SpecError(
            f"{where} has a token with unknown rights",
            "use `predict`, `predict:<model>`, `admin` and one `caller:<name>`",
        )
    return digest.digest(), Caller(names[0] if names else digest.hexdigest()[:8], frozenset(rights))


class TokenAuth:
    """ASGI middleware that requires a valid token with the right of the address, except for `OPEN_PATHS`.

    Parameters
    ----------
    app
        The app inside.
    tokens
        The valid tokens.
    addresses
        Name the right that a request needs.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens, addresses: Addresses) -> None:
        self.app = app
        self._tokens = tokens
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan" or scope.get("path") in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        caller, right = self._caller(scope), self._addresses.right(scope)
        if caller is not None and (right == ANY_RIGHT or caller.may(right)):
            scope["state"]["caller"] = caller.name
            await self.app(scope, receive, send)
        elif caller is not None:
            await _refuse(scope, send, 403, f"the token has no right `{right[:80]}`")
        else:
            detail = "a valid token is required; send the header `Authorization: Bearer <token>`"
            await _refuse(scope, send, 401, detail)

    def _caller(self, scope: Scope) -> Caller | None:
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(sent) != 1:
            return None
        kind, _, token = sent[0].partition(b" ")
        return self._tokens.caller(token.strip()) if kind.lower() == b"bearer" else None


async def _refuse(scope: Scope, send: Send, status: int, detail: str) -> None:
    body = codec_of(scope).refusal(status, detail, scope["state"]["request_id"])
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="evermodel"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
