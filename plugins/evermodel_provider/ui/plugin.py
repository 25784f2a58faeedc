"""The Airflow plugin: links from Airflow's navigation to the model registry."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from evermodel.settings import Settings


class EvermodelPlugin(AirflowPlugin):
    """Adds a link to MLflow's models to the navigation."""

    name = "evermodel"
    external_views: ClassVar[list[dict[str, Any]]] = [
        {
            "name": "Models (MLflow)",
            "href": f"{Settings.from_environment().tracking_uri}/#/models",
            "destination": "nav",
            "category": "browse",
        }
    ]
