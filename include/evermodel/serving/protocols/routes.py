"""The addresses of V2 and of MLflow's scoring server beside those of predictions: health, readiness, metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from evermodel import __version__
from evermodel.modeling.scoring.loaded_version import ServedModel
from evermodel.serving.fallback_rules import inputs_of
from evermodel.serving.protocols.codec import JSON
from evermodel.serving.protocols.invocations import NOT_SET
from evermodel.serving.protocols.open_inference import EXTENSIONS, metadata
from evermodel.serving.reconciler import Reconciler

_NOT_CHOSEN = (
    "a caller does not choose the version: the traffic plan does; send the request to /v2/models/{name}/infer"
)


class _OpenInference:
    """The addresses of V2; the protocol describes them, so that the app's own description does not."""

    def __init__(self, reconcilers: Mapping[str, Reconciler]) -> None:
        self._reconcilers = reconcilers

    async def server(self) -> Response:
        return _json({"name": "evermodel", "version": __version__, "extensions": EXTENSIONS})

    async def live(self) -> Response:
        return _json({"live": True})

    async def ready(self) -> Response:
        return _readiness({}, all(one.current is not None for one in self._reconcilers.values()))

    # In a thread, as its work grows with the features.
    def model(self, name: str, version: str | None = None) -> Response:
        reconciler, served = self._found(name, version)
        spec = reconciler.spec
        versions = [version] if version else list(_loaded(reconciler))
        inputs = inputs_of(spec) if served is None else served.inputs
        decides = served is not None and served.threshold is not None
        predicted = "label" if spec.task == "multiclass" else "decision" if decides else None
        return _json(metadata(name, versions, inputs, predicted))

    async def model_ready(self, name: str, version: str | None = None) -> Response:
        return _readiness({"name": name}, self._found(name, version)[1] is not None)

    async def infer_version(self, name: str, version: str) -> Response:
        self._found(name, version)
        raise HTTPException(404, _NOT_CHOSEN.format(name=name))

    def _found(self, name: str, version: str | None) -> tuple[Reconciler, ServedModel | None]:
        reconciler = self._reconcilers.get(name)
        if reconciler is None:
            served = ", ".join(self._reconcilers)
            raise HTTPException(404, f"no model {name[:60]!r} is served here (served: {served})")
        loaded = _loaded(reconciler)
        if version is not None and version not in loaded:
            known = ", ".join(loaded) or "none"
            raise HTTPException(
                404, f"model {name}: version {version[:20]!r} is not loaded (loaded: {known})"
            )
        return reconciler, reconciler.current if version is None else loaded[version]


def add_open_inference(app: FastAPI, reconcilers: Mapping[str, Reconciler]) -> None:
    """Add the addresses of V2."""
    routes = _OpenInference(reconcilers)
    _get(app, "/v2", routes.server)
    _get(app, "/v2/health/live", routes.live)
    _get(app, "/v2/health/ready", routes.ready)
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        _get(app, path, routes.model)
        _get(app, f"{path}/ready", routes.model_ready)
    infer = "/v2/models/{name}/versions/{version}/infer"
    app.add_api_route(infer, routes.infer_version, methods=["POST"], include_in_schema=False)


def add_invocations(app: FastAPI, reconcilers: Mapping[str, Reconciler], model: str | None) -> None:
    """Add the addresses of MLflow's scoring server.

    Parameters
    ----------
    model
        The model that answers at ``/invocations``; None if none is set: a 404 says so.
    """
    waited_for = list(reconcilers) if model is None else [model]

    async def ping() -> Response:
        return _readiness({}, all(reconcilers[name].current is not None for name in waited_for))

    async def version() -> Response:
        return PlainTextResponse(__version__)

    async def not_set() -> Response:
        raise HTTPException(404, NOT_SET)

    _get(app, "/ping", ping)
    _get(app, "/version", version)
    if model is None:
        app.add_api_route("/invocations", not_set, methods=["POST"], include_in_schema=False)


def _get(app: FastAPI, path: str, answer: Any) -> None:
    app.add_api_route(path, answer, methods=["GET"], include_in_schema=False)


def _loaded(reconciler: Reconciler) -> dict[str, ServedModel]:
    """Return the versions that answer requests, the champion first."""
    traffic = reconciler.traffic
    if traffic is None:
        return {}
    answering = [traffic.champion, *(arm.served for arm in traffic.arms)]
    return {served.version: served for served in answering}


def _readiness(content: dict[str, Any], ready: bool) -> Response:
    return _json({**content, "ready": ready}, 200 if ready else 503)


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type=JSON)
