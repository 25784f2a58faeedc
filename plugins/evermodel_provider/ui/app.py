"""The app of the Models page; every response requires a user and shows only models that the user may see."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from starlette.exceptions import HTTPException as StarletteHTTPException

from evermodel.core.dag_ids import MODEL_KINDS, dag_id, id_prefix, parts_of
from evermodel.core.errors import EvermodelError, IncidentError, TrackingUnavailableError, TransientError
from evermodel.reports.overview.overview import Overview
from evermodel.reports.overview.server import NO_SERVER
from evermodel_provider.ui import rights
from evermodel_provider.ui.incident_answers import AnswerRefusedError, IncidentAnswer, answer_incident
from evermodel_provider.ui.list_view import list_view
from evermodel_provider.ui.model_view import model_view
from evermodel_provider.ui.words import filters

if TYPE_CHECKING:
    from evermodel.core.settings import Settings

HERE = Path(__file__).parent
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
_SETTINGS_SECONDS = 60.0
_REFUSALS = {AnswerRefusedError: 403, IncidentError: 409, TransientError: 503}
_ANSWERS = (
    ("acknowledged", "Acknowledge"),
    ("muted", "Mute…"),
    ("expected", "Expected…"),
    ("withdrawn", "Withdraw"),
)

log = logging.getLogger(__name__)


def build_app(settings: Callable[[], Settings] | None = None) -> FastAPI:
    """Return the app.

    :param settings: Sets where MLflow is. Default: Airflow's connection, or the environment.
    """
    app = FastAPI(
        title="evermodel", openapi_url=None, docs_url=None, redoc_url=None, dependencies=[Depends(get_user)]
    )
    pages = Pages(Overview(settings or _settings))
    app.state.overview = pages.overview
    app.add_exception_handler(StarletteHTTPException, pages.refuse)
    for kind in (OSError, sqlite3.Error):
        app.add_exception_handler(kind, pages.no_store)
    app.get("/")(pages.models)
    app.get("/mlflow")(pages.mlflow)
    app.get("/models/{name}")(pages.model)
    app.get("/models/{name}/features")(pages.features)
    app.get("/models/{name}/features/{day}")(pages.tests)
    app.post("/models/{name}/incidents/{incident}")(pages.answer)
    app.get("/dags/{dag_id}")(pages.tab)
    app.get("/static/{name}")(_static)
    return app


class Pages:
    """The HTML responses.

    :param overview: Read model of all models.
    """

    def __init__(self, overview: Overview) -> None:
        self.overview = overview
        self.templates = Jinja2Templates(HERE / "templates")
        self.templates.env.filters.update(filters())
        self.templates.env.trim_blocks = self.templates.env.lstrip_blocks = True

    def models(self, request: Request, user: GetUserDep) -> Response:
        """Show all models that the user may see."""
        if not rights.may_see_any(user):
            raise HTTPException(
                403, "You have no read access to any DAG, and so to no model. Ask an administrator for it."
            )
        self._address()
        found = self.overview.summaries()
        allowed = rights.readable({one["name"]: bool(one.get("watched")) for one in found}, user)
        shown = [summary for summary in found if summary["name"] in allowed]
        return self._page(request, "list.html", list_view(shown, away=bool(self.overview.state().problem)))

    def model(self, request: Request, user: GetUserDep, name: str) -> Response:
        """Show one model."""
        return self._model(request, user, name, tab=False)

    def features(self, request: Request, user: GetUserDep, name: str) -> Response:
        """Show the drift of a model by feature and day."""
        self._require(name, user)
        self._address()
        values = {"name": name, "map": self.overview.features(name), "about": self._about(name, user)}
        return self._page(request, "features.html", values)

    def tests(self, user: GetUserDep, name: str, day: str, column: str) -> Response:
        """Return the tests of a column on a day, as JSON."""
        self._require(name, user)
        try:
            found = self.overview.tests(name, day, column)
        except TrackingUnavailableError as error:
            raise HTTPException(503, error.problem) from error
        if found is None:
            raise HTTPException(404, "This day was not evaluated.")
        return _guarded(JSONResponse(found))

    def answer(self, user: GetUserDep, name: str, incident: str, given: IncidentAnswer) -> Response:
        """Record what a user answers to an open incident."""
        self._require(name, user)
        try:
            text = answer_incident(name, incident, given, user)
        except EvermodelError as error:
            code = next((code for kind, code in _REFUSALS.items() if isinstance(error, kind)), 422)
            raise HTTPException(code, f"{error.problem}.") from error
        return _guarded(JSONResponse({"text": text}))

    def tab(self, request: Request, user: GetUserDep, dag_id: str) -> Response:
        """Show the model that a DAG belongs to."""
        kind, name = parts_of(dag_id)
        if kind not in MODEL_KINDS:
            return self._page(request, "no_model.html", {"dag_id": dag_id})
        return self._model(request, user, name, tab=True)

    def mlflow(self) -> Response:
        """Redirect to MLflow, at the address of the connection or the environment."""
        return RedirectResponse(f"{self._address()}/#/models")

    def no_store(self, request: Request, error: Exception) -> Response:
        """Report that the pages' file cannot be read or written."""
        log.error("the Models page cannot read or write its file", exc_info=error)
        detail = (
            f"The API server cannot read or write {self.overview.store.path} ({error}). Make EVERMODEL_HOME a folder that it "
            "can write, with free space; the file itself can be deleted at any time."
        )
        return self.refuse(request, HTTPException(503, detail))

    def refuse(self, request: Request, error: Exception) -> Response:
        """Return the error: as a page for people, as JSON for programs."""
        code, detail = getattr(error, "status_code", 500), getattr(error, "detail", "")
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"detail": detail}, code)
        values = {"code": code, "detail": detail, **_paths(request)}
        return _guarded(self.templates.TemplateResponse(request, "refused.html", values, status_code=code))

    def _model(self, request: Request, user: Any, name: str, *, tab: bool) -> Response:
        self._require(name, user)
        mlflow = self._address()
        found = self.overview.model(name)
        state = self.overview.state()
        if found is None and not state.seen:
            return self._page(request, "unread.html", {"name": name})
        if found is None:
            raise HTTPException(404, "No model of this name in MLflow or among the specs. Check the name.")
        view = model_view(*found, mlflow, away=bool(state.problem))
        startable = {dag: rights.may_start(dag, user) for dag in view["forms"]}
        view |= {"answers": _ANSWERS, "answerable": rights.may_start(dag_id("drift", name), user)}
        return self._page(request, "model.html", {**view, "startable": startable, "tab": tab})

    def _about(self, name: str, user: Any) -> list[dict[str, Any]]:
        """Return the notes on a model's features; of the models that use them, those that the user may see."""
        found = self.overview.catalogue(name)
        others = {model for one in found for model in one["models"]}
        watched = {model: bool(self.overview.store.summary(model).get("watched")) for model in others}
        allowed = rights.readable(watched, user)
        return [{**one, "models": [model for model in one["models"] if model in allowed]} for one in found]

    def _require(self, name: str, user: Any) -> None:
        """Refuse a user who may not see a model."""
        watched = bool(self.overview.store.summary(name).get("watched"))
        if not rights.may_see(name, user, watched=watched):
            raise HTTPException(
                403, "You have no read access to the DAGs of this model. Ask an administrator for it."
            )

    def _address(self) -> str:
        if not (address := self.overview.address):
            raise HTTPException(503, NO_SERVER)
        return address

    def _page(self, request: Request, template: str, values: dict[str, Any]) -> Response:
        common = {
            "state": self.overview.state(),
            "mlflow": self.overview.address,
            **_paths(request),
        }
        return _guarded(self.templates.TemplateResponse(request, template, {**common, **values}))


def _static(name: str) -> Response:
    file = _files().get(name)
    if file is None:
        raise HTTPException(404, "File not found.")
    headers = {"Cache-Control": "private, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return FileResponse(file, headers=headers)


def _guarded(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "same-origin"
    return answer


def _paths(request: Request) -> dict[str, str]:
    """Return the addresses of this app and of Airflow; static files carry their version, so browsers cache them."""
    here = str(request.scope.get("root_path", "")).rstrip("/")
    return {"here": here, "airflow": here.rsplit("/", 1)[0], "prefix": id_prefix(), "stamp": _stamp()}


@lru_cache(1)
def _files() -> dict[str, Path]:
    """Return the allowed static files; the charts come from the package `plotly`, which Evidently requires too."""
    found = {file.name: file for file in (HERE / "static").iterdir() if file.is_file()}
    plotly = find_spec("plotly")
    if plotly is not None and plotly.origin:
        charts = Path(plotly.origin).parent / "package_data" / "plotly.min.js"
        if charts.is_file():
            found["plotly.min.js"] = charts
    return found


@lru_cache(1)
def _stamp() -> str:
    return str(max(round(file.stat().st_mtime) for file in _files().values()))


_known: dict[str, Any] = {"at": 0.0, "settings": None}


def _settings() -> Settings:
    """Return the settings with the address from Airflow's connection; refreshed after a while."""
    from evermodel.core.settings import Settings
    from evermodel_provider.hooks.tracking import TrackingHook

    if _known["settings"] is None or time.monotonic() - _known["at"] > _SETTINGS_SECONDS:
        try:
            _known["settings"] = TrackingHook().settings
        except Exception:  # noqa: BLE001 - without the connection the environment's address applies
            _known["settings"] = Settings.from_environment()
        _known["at"] = time.monotonic()
    found: Settings = _known["settings"]
    return found
