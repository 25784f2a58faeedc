"""Middleware of the app: the id of a request, and a fast route for prediction requests."""

from __future__ import annotations

import os
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evermodel.serving.predict import PredictionService
from evermodel.serving.protocols.addresses import QUERY, Addresses

HEADER = "X-Request-ID"
_ANSWERED = HEADER.lower().encode()
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_LONGEST_QUERY = 200


class RequestIds:
    """ASGI middleware that puts the id into ``request.state.request_id`` and into the answer's header."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _given(scope) or os.urandom(16).hex()
        scope.setdefault("state", {})["request_id"] = request_id
        if query := scope["query_string"]:
            scope["state"][QUERY] = query[:_LONGEST_QUERY]
            scope["query_string"] = b""  # which the framework would parse, however long it is

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (_ANSWERED, request_id.encode())]
            await send(message)

        await self.app(scope, receive, send_with_id)


def _given(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _ANSWERED:
            given = value.decode("latin-1")
            return given if _TOKEN.fullmatch(given) else None
    return None


class FastRoute:
    """ASGI middleware that passes prediction requests to the prediction service, and all others to the app.

    The app declares the same routes, for its documentation and for other methods than POST.

    Parameters
    ----------
    addresses
        Name the model and protocol of a request.
    """

    def __init__(self, app: ASGIApp, service: PredictionService, addresses: Addresses) -> None:
        self.app = app
        self._service = service
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        prediction = self._addresses.prediction(scope)
        if prediction is None:
            await self.app(scope, receive, send)
            return
        reply = await self._service.answer(prediction, scope, receive)
        headers = [(name.lower().encode(), value.encode()) for name, value in reply.headers.items()]
        headers.append((b"content-length", str(len(reply.content.body)).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.content.body})
