"""The FastAPI app that answers with the champion of each served model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from evermodel import __version__
from evermodel.core.errors import SpecError
from evermodel.core.settings import Settings
from evermodel.modeling.scoring.batcher import Batcher
from evermodel.serving.auth import TokenAuth, Tokens
from evermodel.serving.docs_page import docs_page
from evermodel.serving.fallback import Fallbacks
from evermodel.serving.fallback_rules import inputs_of
from evermodel.serving.fast_route import FastRoute
from evermodel.serving.heartbeat import Heartbeat, Process
from evermodel.serving.location_publisher import LocationPublisher
from evermodel.serving.metrics import Metrics
from evermodel.serving.openapi import Described, describe
from evermodel.serving.predict import PredictionService, not_ready
from evermodel.serving.prediction_writer import PredictionLog
from evermodel.serving.reconciler import Reconciler
from evermodel.serving.request_ids import RequestIds
from evermodel.serving.schemas import Alive, ModelState, NotReady, ProblemDetails, Ready
from evermodel.serving.shadow import Shadows
from evermodel.spec import load_spec

_FIRST_LOOK_SECONDS = 15.0


def create_app(
    models: list[str],
    settings: Settings | None = None,
    poll_seconds: float = 2.0,
    *,
    tokens: Tokens | None = None,
    access_log: bool = False,
) -> FastAPI:
    """Build the app; its lifespan starts and ends the threads behind it.

    Parameters
    ----------
    models
        Names (or spec files) of the models to serve.
    settings
        Folders and addresses; read from the environment if not given.
    poll_seconds
        Pause between two looks at the registry.
    tokens
        Who may ask; None: everybody.
    access_log
        Whether each prediction request is a line of the program's log.

    Raises
    ------
    SpecError
        No model is named, or a spec cannot be used.
    """
    if not models:
        raise SpecError("no model to serve is named", "name at least one, such as `flights`")
    where = settings or Settings.from_environment()
    metrics = Metrics()
    specs = [load_spec(model, where) for model in models]
    process = Process(where.environment)
    holders = {spec.name: Reconciler(spec, where, metrics, poll_seconds, process.instance) for spec in specs}
    reporter = Heartbeat(process, where.lake, {name: holder.in_memory for name, holder in holders.items()})
    announcer = LocationPublisher(process, list(holders), where)
    for holder in holders.values():
        holder.on_swap = reporter.wake
    for name in holders:
        metrics.expect(name)
    batcher = Batcher()
    fallbacks = Fallbacks({spec.name: spec for spec in specs}, batcher, metrics)
    log = PredictionLog(where.lake / "predictions", metrics)
    shadow_log = PredictionLog(where.lake / "shadow", metrics.traffic.shadow_log)
    shadows = Shadows(shadow_log, metrics.traffic)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for part in (batcher, log, shadow_log, shadows):
            part.start()
        for holder in holders.values():
            holder.start()
        reporter.start()
        announcer.start()
        # A process that starts beside others answers nothing before it has what they have.
        await asyncio.to_thread(_first_look, list(holders.values()))
        yield
        # What callers were told is written first, whatever hangs behind it.
        await asyncio.to_thread(_stop, list(holders.values()), log, shadows, shadow_log, batcher, fallbacks)
        await asyncio.to_thread(reporter.stop)
        await asyncio.to_thread(announcer.stop)
        for holder in holders.values():
            await asyncio.to_thread(holder.join)

    app = FastAPI(title="evermodel", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.holders = holders
    desk = PredictionService(holders, fallbacks, log, metrics, shadows, access_log=access_log)
    app.add_middleware(FastRoute, desk=desk, only=next(iter(holders)) if len(holders) == 1 else None)
    if tokens is not None:
        app.add_middleware(TokenAuth, tokens=tokens)
    app.add_middleware(RequestIds)
    _add_predictions(app, list(holders), desk)
    _add_states(app, holders, fallbacks, metrics)
    _add_docs(app)
    _add_refusals(app)
    describe(app, holders, lambda name: _described(holders[name]), protected=tokens is not None)
    return app


def _first_look(holders: list[Reconciler]) -> None:
    """Wait until each model was looked for once; what takes longer is loaded behind the open door."""
    end = time.monotonic() + _FIRST_LOOK_SECONDS
    for holder in holders:
        holder.looked.wait(max(0.0, end - time.monotonic()))


def _stop(holders: list[Reconciler], *others: Shadows | Fallbacks | Batcher | PredictionLog) -> None:
    for holder in holders:
        holder.stop()
    for other in others:
        other.close()


def _add_predictions(app: FastAPI, models: list[str], desk: PredictionService) -> None:
    """Route what the short way does not take; the description of these requests is made from the models."""

    @app.post("/models/{name}/predict", include_in_schema=False)
    async def predict_with(name: str, request: Request) -> Response:
        """Score rows with a model."""
        return await _answered(desk, name, request)

    if len(models) == 1:
        (only,) = models

        @app.post("/predict", include_in_schema=False)
        async def predict(request: Request) -> Response:
            """Score rows with the one served model."""
            return await _answered(desk, only, request)


async def _answered(desk: PredictionService, name: str, request: Request) -> Response:
    reply = await desk.answer(name, request.scope, request.receive)
    return Response(reply.body, reply.status, reply.headers, "application/json")


def _add_states(app: FastAPI, holders: dict[str, Reconciler], fallbacks: Fallbacks, metrics: Metrics) -> None:
    @app.get("/health", tags=["state"])
    async def health() -> Alive:
        """Tell that the process is alive."""
        return Alive()

    @app.get("/ready", tags=["state"], response_model=Ready, responses={503: {"model": NotReady}})
    async def ready() -> Response:
        """Tell whether every served model has a version to answer with; a fallback alone is not enough."""
        reasons = {name: not_ready(holder) for name, holder in holders.items() if holder.current is None}
        if reasons:
            return JSONResponse(NotReady(reasons=reasons).model_dump(), 503, headers={"Retry-After": "2"})
        return JSONResponse(Ready().model_dump())

    @app.get("/models", tags=["state"])
    async def models() -> list[ModelState]:
        """List the served models, each with the version that answers now."""
        return [_state(holder, fallbacks) for holder in holders.values()]

    @app.get("/metrics", tags=["state"], response_class=PlainTextResponse)
    async def prometheus() -> Response:
        """Return the counters in Prometheus' text format."""
        return Response(metrics.text(), media_type=metrics.content_type)


def _add_docs(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """Show the API's description to people."""
        return HTMLResponse(docs_page(app.openapi()))


def _add_refusals(app: FastAPI) -> None:
    """Give the framework's own refusals the form of the others."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        told = ProblemDetails(detail=str(error.detail), request_id=request.state.request_id)
        return JSONResponse(told.model_dump(), error.status_code, headers=dict(error.headers or {}))


def _described(holder: Reconciler) -> Described:
    served, spec = holder.current, holder.spec
    most = spec.serving.max_rows
    if served is None:
        return Described(inputs_of(spec), spec.id_column, most, None, {})
    return Described(served.inputs, spec.id_column, most, served.version, served.example)


def _state(holder: Reconciler, fallbacks: Fallbacks) -> ModelState:
    traffic = holder.traffic
    served = traffic.champion if traffic else None
    return ModelState(
        model=holder.spec.name,
        version=served.version if served else None,
        engine=served.engine if served else None,
        since=traffic.since if traffic else None,
        shares=traffic.shares if traffic else {},
        shadow=traffic.shadow.version if traffic and traffic.shadow else None,
        revision=traffic.plan.revision if traffic and traffic.plan else 0,
        missing=dict(traffic.missing) if traffic else {},
        inputs=served.inputs.described() if served else [],
        fallback=holder.spec.serving.fallback.kind,
        breaker="open" if served and fallbacks.breaker_open(served) else "closed",
        last_error=holder.last_error,
        last_checked=holder.last_checked,
    )
