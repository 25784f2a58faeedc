"""The FastAPI app that answers with the champion of each served model."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from evermodel import __version__
from evermodel.errors import SpecError
from evermodel.serving.announcer import Announcer
from evermodel.serving.batcher import Batcher
from evermodel.serving.desk import PredictionDesk, not_ready
from evermodel.serving.fallback import Fallbacks
from evermodel.serving.holder import ModelHolder
from evermodel.serving.lane import PredictionLane
from evermodel.serving.log import PredictionLog
from evermodel.serving.metrics import Metrics
from evermodel.serving.reporter import Process, Reporter
from evermodel.serving.request_ids import RequestIds
from evermodel.serving.shadow import Shadows
from evermodel.settings import Settings
from evermodel.spec import load_spec

_FIRST_LOOK_SECONDS = 15.0


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Prediction(_Answer):
    """The answer for one row."""

    score: float
    label: str | None = None


class Predictions(_Answer):
    """The answer for one request; ``version`` scored every row of it."""

    model: str
    version: str
    request_id: str
    predictions: list[Prediction]


class ModelState(_Answer):
    """What one served model is doing."""

    model: str
    version: str | None
    engine: Literal["onnx", "sklearn"] | None
    since: datetime | None
    shares: dict[str, float]
    shadow: str | None
    revision: int
    missing: dict[str, str]
    inputs: list[dict[str, str]]
    last_error: str | None
    last_checked: datetime | None


def create_app(models: list[str], settings: Settings | None = None, poll_seconds: float = 2.0) -> FastAPI:
    """Build the app; its lifespan starts and ends the threads behind it.

    Parameters
    ----------
    models
        Names (or spec files) of the models to serve.
    settings
        Folders and addresses; read from the environment if not given.
    poll_seconds
        Pause between two looks at the registry.

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
    holders = {spec.name: ModelHolder(spec, where, metrics, poll_seconds, process.instance) for spec in specs}
    reporter = Reporter(process, where.lake, {name: holder.in_memory for name, holder in holders.items()})
    announcer = Announcer(process, list(holders), where)
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
        await asyncio.to_thread(reporter.stop)
        await asyncio.to_thread(announcer.stop)
        await asyncio.to_thread(_stop, list(holders.values()), shadows, fallbacks, batcher, log, shadow_log)

    app = FastAPI(title="evermodel", version=__version__, lifespan=lifespan)
    app.state.holders = holders
    desk = PredictionDesk(holders, fallbacks, log, metrics, shadows)
    app.add_middleware(PredictionLane, desk=desk, only=next(iter(holders)) if len(holders) == 1 else None)
    app.add_middleware(RequestIds)
    _add_predictions(app, holders, desk)
    _add_states(app, holders, metrics)
    _show_examples(app, holders)
    return app


def _first_look(holders: list[ModelHolder]) -> None:
    """Wait until each model was looked for once; what takes longer is loaded behind the open door."""
    end = time.monotonic() + _FIRST_LOOK_SECONDS
    for holder in holders:
        holder.looked.wait(max(0.0, end - time.monotonic()))


def _stop(holders: list[ModelHolder], *others: Shadows | Fallbacks | Batcher | PredictionLog) -> None:
    for holder in holders:
        holder.stop()
    for other in others:
        other.close()


def _add_predictions(app: FastAPI, holders: dict[str, ModelHolder], desk: PredictionDesk) -> None:
    documented: dict[str, Any] = {
        "response_model": Predictions,
        "tags": ["predictions"],
        "responses": {
            404: {"description": "no such model"},
            422: {"description": "names the row and the feature"},
        },
        "openapi_extra": {"requestBody": _request_body()},
    }

    @app.post("/models/{name}/predict", **documented)
    async def predict_with(name: str, request: Request) -> Response:
        """Score rows with a model's champion."""
        return await _answered(desk, name, request)

    if len(holders) == 1:
        (only,) = holders

        @app.post("/predict", **documented)
        async def predict(request: Request) -> Response:
            """Score rows with the champion of the one served model."""
            return await _answered(desk, only, request)


async def _answered(desk: PredictionDesk, name: str, request: Request) -> Response:
    reply = await desk.answer(name, request.scope, request.receive)
    return Response(reply.body, reply.status, reply.headers, "application/json")


def _request_body() -> dict[str, Any]:
    row = {"type": "object", "additionalProperties": {"type": ["number", "string", "null"]}}
    schema = {
        "type": "object",
        "required": ["rows"],
        "properties": {"rows": {"type": "array", "minItems": 1, "items": row}},
    }
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _show_examples(app: FastAPI, holders: dict[str, ModelHolder]) -> None:
    """Put a row of each loaded version's stored example into the API's documentation."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = copy.deepcopy(plain())
        examples = {n: {"value": {"rows": [h.current.example]}} for n, h in holders.items() if h.current}
        for path, methods in schema["paths"].items():
            if path.endswith("/predict") and examples:
                methods["post"]["requestBody"]["content"]["application/json"]["examples"] = examples
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _add_states(app: FastAPI, holders: dict[str, ModelHolder], metrics: Metrics) -> None:
    @app.get("/health", tags=["state"])
    async def health() -> dict[str, str]:
        """Tell that the process is alive."""
        return {"status": "alive"}

    @app.get("/ready", tags=["state"], responses={503: {"description": "a model has no version yet"}})
    async def ready() -> Response:
        """Tell whether every served model has a version to answer with."""
        reasons = {name: not_ready(holder) for name, holder in holders.items() if holder.current is None}
        if reasons:
            return JSONResponse(
                {"status": "not ready", "reasons": reasons}, 503, headers={"Retry-After": "2"}
            )
        return JSONResponse({"status": "ready"})

    @app.get("/models", tags=["state"])
    async def models() -> list[ModelState]:
        """List the served models, each with the version that answers now."""
        return [_state(holder) for holder in holders.values()]

    @app.get("/metrics", tags=["state"], response_class=Response)
    async def prometheus() -> Response:
        """Return the counters in Prometheus' text format."""
        return Response(metrics.text(), media_type=metrics.content_type)


def _state(holder: ModelHolder) -> ModelState:
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
        last_error=holder.last_error,
        last_checked=holder.last_checked,
    )
