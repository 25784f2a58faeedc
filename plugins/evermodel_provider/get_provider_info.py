"""Metadata for Airflow's provider manager."""

from __future__ import annotations

from typing import Any

_INTEGRATION = "evermodel"
_OPERATORS = (
    "alert", "approve", "ask", "backtest", "deploy", "digest", "drift", "evaluate", "events", "extract", "features",
    "finish", "guard", "register", "request", "rollback", "rollout", "score", "train", "validate",
)  # fmt: skip
_MODULES = {
    "operators": _OPERATORS,
    "sensors": ("data", "rollout"),
    "triggers": ("data", "rollout"),
    "hooks": ("tracking",),
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description; ``package-name`` is the distribution's name."""
    return {
        "package-name": "airflow-provider-evermodel",
        "name": "evermodel",
        "description": "Keep tabular models in production fresh, proven and reversible.",
        "integrations": [{"integration-name": _INTEGRATION, "external-doc-url": "", "tags": ["ml"]}],
        **{
            kind: [
                {
                    "integration-name": _INTEGRATION,
                    "python-modules": [f"evermodel_provider.{kind}.{name}" for name in names],
                }
            ]
            for kind, names in _MODULES.items()
        },
        "connection-types": [
            {
                "connection-type": "mlflow",
                "hook-class-name": "evermodel_provider.hooks.tracking.TrackingHook",
                "conn-fields": {
                    "registry_uri": {
                        "label": "Registry URI",
                        "schema": {"type": ["string", "null"]},
                        "description": "Model registry, if it is not the tracking server's.",
                    },
                    "databricks_host": {
                        "label": "Databricks host",
                        "schema": {"type": ["string", "null"]},
                        "description": "With `databricks` as host and a token as password.",
                    },
                },
            }
        ],
        "extra-links": [
            f"evermodel_provider.links.{name}Link"
            for name in ("MlflowRun", "Decision", "ModelVersion", "Report")
        ],
        "notifications": ["evermodel_provider.notifications.failure.FailureNotifier"],
    }
