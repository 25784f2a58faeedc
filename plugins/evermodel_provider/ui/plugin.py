"""The Airflow plugin: the Models page in the navigation, a tab on every DAG of a model, a link to MLflow, and the notes of runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from evermodel_provider.run_notes import RunNotes

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


class LazyApp:
    """Wraps an app until its first request.

    :param build: Returns the app; called once.
    """

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._app: Any = None
        self._lock: asyncio.Lock | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._app is None:
            self._lock = self._lock or asyncio.Lock()
            async with self._lock:
                if self._app is None:
                    self._app = await asyncio.to_thread(self._build)
        await self._app(scope, receive, send)


PREFIX = "/evermodel"


def _page() -> Any:
    from evermodel_provider.ui.app import build_app

    return build_app()


def _slack() -> Any:
    from evermodel_provider.ui.slack_actions import build_slack_actions

    return build_slack_actions()


def _root() -> str:
    """Return the base path of Airflow, without a trailing slash."""
    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")


class EvermodelPlugin(AirflowPlugin):
    """Adds the Models page, a link to MLflow's models, and notes of the runs."""

    name = "evermodel"
    listeners: ClassVar[list[Any]] = [RunNotes()]
    # Plugins are loaded by every process of Airflow: the app is built by the first request in the API server.
    fastapi_apps: ClassVar[list[dict[str, Any]]] = [
        {"app": LazyApp(_slack), "url_prefix": f"{PREFIX}/slack", "name": "evermodel-slack"},
        {"app": LazyApp(_page), "url_prefix": PREFIX, "name": "evermodel"},
    ]
    external_views: ClassVar[list[dict[str, Any]]] = [
        {
            "name": "Models",
            "href": f"{_root()}{PREFIX}/",
            "destination": "nav",
            "url_route": "models",
            "icon": f"{_root()}{PREFIX}/static/icon.svg",
            "icon_dark_mode": f"{_root()}{PREFIX}/static/icon-dark.svg",
            "nav_top_level": True,
        },
        {
            "name": "Model",
            "href": f"{_root()}{PREFIX}/dags/{{DAG_ID}}",
            "destination": "dag",
            "url_route": "model",
            "icon": f"{_root()}{PREFIX}/static/icon.svg",
            "icon_dark_mode": f"{_root()}{PREFIX}/static/icon-dark.svg",
        },
        {
            "name": "Models (MLflow)",
            "href": f"{_root()}{PREFIX}/mlflow",
            "destination": "nav",
            "category": "browse",
        },
    ]
