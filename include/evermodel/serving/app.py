"""The FastAPI app of the served models."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from threading import Lock
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException

from evermodel import __version__
from evermodel.core.errors import SpecError
from evermodel.core.html import render
from evermodel.core.settings import Settings
from evermodel.registry.serving_reports import ServingReports
from evermodel.serving.auth import TokenAuth, Tokens
from evermodel.serving.fallback import Fallbacks
from evermodel.serving.fallback_rules import inputs_of
from evermodel.serving.heartbeat import Heartbeat, LocationPublisher, Process
from evermodel.serving.log_upload import LogUploader
from evermodel.serving.metrics import Metrics
from evermodel.serving.middleware import FastRoute, RequestIds
from evermodel.serving.online_features import OnlineFeatures
from evermodel.serving.openapi import ModelDescription, describe
from evermodel.serving.predict import PredictionService
from evermodel.serving.prediction_writer import PredictionLog
from evermodel.serving.protocols.addresses import Addresses, codec_of
from evermodel.serving.protocols.invocations import model_of_invocations
from evermodel.serving.protocols.routes import add_invocations, add_open_inference
from evermodel.serving.reconciler import Reconciler
from evermodel.serving.schemas import Alive, ModelState, NotReady, Ready
from evermodel.serving.services import ServingService, running
from evermodel.serving.shadow import Shadows
from evermodel.spec import load_spec

_FIRST_CHECK_SECONDS = 15.0
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
_STATES = TypeAdapter(list[ModelState])


def create_app(
    models: list[str],
    settings: Settings | None = None,
    poll_seconds: float = 2.0,
    *,
    tokens: Tokens | None = None,
    access_log: bool = False,
    on_started: Callable[[], None] = lambda: None,
) -> FastAPI:
    """Build the app; its lifespan starts and stops its services.

    Parameters
    ----------
    models
        Names (or spec files) of the models to serve.
    settings
        Folders and addresses; read from the environment if not given.
    tokens
        The valid tokens; None: requests need none.
    on_started
        Called after the first read of the registry, before the first request.

    Raises
    ------
    SpecError
        No model is given, or a spec is not valid.
    """
    if not models:
        raise SpecError("no model is given", "name at least one, such as `flights`")
    where = settings or Settings.from_environment()
    metrics = Metrics()
    specs = [load_spec(model, where) for model in models]
    process = Process(where.environment)
    reconcilers = {
        spec.name: Reconciler(spec, where, metrics, poll_seconds, process.instance) for spec in specs
    }
    in_memory = {name: one.in_memory for name, one in reconcilers.items()}
    heartbeat = Heartbeat(process, ServingReports.of(where), in_memory)
    for name, reconciler in reconcilers.items():
        reconciler.switch.on_swap = heartbeat.wake
        metrics.expect(name)
    fallbacks = Fallbacks({spec.name: spec for spec in specs}, metrics)
    lookups = OnlineFeatures(specs, where, metrics)
    logs = where.home / "spool"
    uploader = LogUploader(logs, where.lake)
    log = PredictionLog(logs / "predictions", metrics, uploader)
    shadow_log = PredictionLog(logs / "shadow", metrics.traffic.shadow_log, uploader)
    shadows = Shadows(shadow_log, metrics.traffic)
    publisher = LocationPublisher(process, list(reconcilers), where)
    # Stopped from the last to the first: the prediction log is written before anything that may hang.
    services: tuple[ServingService, ...] = (
        *reconcilers.values(),
        publisher,
        heartbeat,
        fallbacks,
        lookups,
        uploader,
        shadow_log,
        shadows,
        log,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(*services):
            # A process that starts beside others accepts requests only once it has the same versions.
            await asyncio.to_thread(_first_checks, list(reconcilers.values()))
            on_started()
            yield
            for reconciler in reconcilers.values():
                reconciler.cancel()

    app = FastAPI(
        title="evermodel", version=__version__, lifespan=lifespan, openapi_url=None, redirect_slashes=False
    )
    app.state.reconcilers = reconcilers
    service = PredictionService(reconcilers, fallbacks, lookups, log, metrics, shadows, access_log=access_log)
    only = next(iter(reconcilers)) if len(reconcilers) == 1 else None
    addresses = Addresses(only, model_of_invocations(list(reconcilers)))
    app.add_middleware(FastRoute, service=service, addresses=addresses)
    if tokens is not None:
        app.add_middleware(TokenAuth, tokens=tokens, addresses=addresses)
    app.add_middleware(RequestIds)
    _add_predictions(app, service, addresses)
    add_open_inference(app, reconcilers)
    add_invocations(app, reconcilers, addresses.invocations)
    _add_states(app, reconcilers, fallbacks, metrics)
    _add_docs(app)
    _add_problems(app)
    describe(app, reconcilers, lambda name: _description(reconcilers[name]), protected=tokens is not None)
    return app


def _first_checks(reconcilers: list[Reconciler]) -> None:
    """Wait for the first check of each model, for a limited time; a longer load continues in the background."""
    end = time.monotonic() + _FIRST_CHECK_SECONDS
    for reconciler in reconcilers:
        reconciler.status.checked.wait(max(0.0, end - time.monotonic()))


def _add_predictions(app: FastAPI, service: PredictionService, addresses: Addresses) -> None:
    """Add the routes of predictions, which the fast route takes first; other methods than POST get a 405 from them."""

    async def predict(request: Request) -> Response:
        prediction = addresses.prediction(request.scope)
        if prediction is None:
            raise HTTPException(404)
        reply = await service.answer(prediction, request.scope, request.receive)
        return Response(reply.content.body, reply.status, reply.headers)

    paths = ["/models/{name}/predict", "/v2/models/{name}/infer"]
    paths += ["/predict"] if addresses.only else []
    paths += ["/invocations"] if addresses.invocations else []
    for path in paths:
        app.add_api_route(path, predict, methods=["POST"], include_in_schema=False)


def _add_states(
    app: FastAPI, reconcilers: dict[str, Reconciler], fallbacks: Fallbacks, metrics: Metrics
) -> None:
    @app.get("/health", tags=["state"])
    async def health() -> Alive:
        """Return 200 while the process runs."""
        return Alive()

    @app.get("/ready", tags=["state"], response_model=Ready, responses={503: {"model": NotReady}})
    async def ready() -> Response:
        """Return 200 when every model has a loaded version; a fallback alone is not enough."""
        missing = [name for name, one in reconcilers.items() if one.current is None]
        reasons = {
            name: "load_failed" if reconcilers[name].status.last_error else "loading" for name in missing
        }
        if reasons:
            return JSONResponse(NotReady(reasons=reasons).model_dump(), 503, headers={"Retry-After": "2"})
        return JSONResponse(Ready().model_dump())

    # In threads, as their work grows with the models and versions.
    @app.get("/models", tags=["state"], response_model=list[ModelState])
    def models() -> Response:
        """List the served models, each with its version in force."""
        states = [_state(reconciler, fallbacks) for reconciler in reconcilers.values()]
        return Response(_STATES.dump_json(states), media_type="application/json")

    @app.get("/metrics", tags=["state"], response_class=PlainTextResponse)
    def prometheus() -> Response:
        """Return the metrics in Prometheus' text format."""
        return Response(metrics.text(), media_type=metrics.content_type)


def _add_docs(app: FastAPI) -> None:
    """Add the API's description, as JSON and as a page, written once for the versions in force."""
    lock = Lock()
    written: dict[str, tuple[dict[str, Any], bytes]] = {}

    # In threads: a description of many features takes longer than predictions may wait.
    def text(kind: str, write: Callable[[dict[str, Any]], bytes]) -> bytes:
        with lock:
            api = app.openapi()
            if kind not in written or written[kind][0] is not api:
                written[kind] = api, write(api)
            return written[kind][1]

    @app.get("/openapi.json", include_in_schema=False)
    def openapi() -> Response:
        return Response(text("json", orjson.dumps), media_type="application/json")

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return HTMLResponse(text("page", _docs), headers=_PAGE_HEADERS)


def _docs(api: dict[str, Any]) -> bytes:
    return render("serving/templates/docs.html", api=api, dumps=json.dumps).encode()


def _add_problems(app: FastAPI) -> None:
    """Return the framework's errors in the form of the address's protocol."""

    @app.exception_handler(HTTPException)
    async def problem(request: Request, error: HTTPException) -> Response:
        body = codec_of(request.scope).refusal(error.status_code, str(error.detail), request.state.request_id)
        return Response(body, error.status_code, dict(error.headers or {}), "application/json")


def _description(reconciler: Reconciler) -> ModelDescription:
    served, spec = reconciler.current, reconciler.spec
    most = spec.serving.max_rows
    if served is None:
        return ModelDescription(inputs_of(spec), spec.id_column, most, None, {})
    return ModelDescription(served.inputs, spec.id_column, most, served.version, served.example)


def _state(reconciler: Reconciler, fallbacks: Fallbacks) -> ModelState:
    traffic, status = reconciler.traffic, reconciler.status
    served = traffic.champion if traffic else None
    return ModelState(
        model=reconciler.spec.name,
        version=served.version if served else None,
        engine=served.engine if served else None,
        since=traffic.since if traffic else None,
        shares=traffic.shares if traffic else {},
        shadow=traffic.shadow.version if traffic and traffic.shadow else None,
        revision=traffic.plan.revision if traffic and traffic.plan else 0,
        missing=dict(traffic.missing) if traffic else {},
        inputs=served.inputs.described() if served else [],
        fallback=reconciler.spec.serving.fallback.kind,
        breaker="open" if served and fallbacks.breaker_open(served) else "closed",
        last_error=status.last_error,
        last_checked=status.last_checked,
    )
