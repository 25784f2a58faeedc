"""A fast route for prediction requests, past the framework's routing and dependencies."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from evermodel.serving.auth import predicted_model
from evermodel.serving.predict import PredictionService


class FastRoute:
    """ASGI middleware that passes prediction requests to the prediction service, and all others to the app.

    The app declares the same routes, for its documentation and for other methods than POST.

    Parameters
    ----------
    app
        The app inside.
    service
        Answers prediction requests.
    only
        The model that answers at ``/predict``; None if the app serves several.
    """

    def __init__(self, app: ASGIApp, service: PredictionService, only: str | None) -> None:
        self.app = app
        self._service = service
        self._only = only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        name = predicted_model(scope, self._only)
        if name is None:
            await self.app(scope, receive, send)
            return
        reply = await self._service.answer(name, scope, receive)
        headers = {
            "content-type": "application/json",
            "content-length": str(len(reply.body)),
            **reply.headers,
        }
        raw = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": raw})
        await send({"type": "http.response.body", "body": reply.body})
