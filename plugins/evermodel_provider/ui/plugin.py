"""The Airflow plugin: the Models page in the navigation, a tab on every DAG of a model, and a link to MLflow."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from evermodel_provider.ui.lazy import LazyApp

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
    """Adds the Models page, and a link to MLflow's models."""

    name = "evermodel"
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
