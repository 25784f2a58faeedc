"""Metadata for Airflow's provider manager."""

from __future__ import annotations

from typing import Any

_INTEGRATION = "evermodel"
_OPERATORS = (
    "alert",
    "approve",
    "ask",
    "backtest",
    "deploy",
    "digest",
    "drift",
    "evaluate",
    "extract",
    "finish",
    "guard",
    "register",
    "request",
    "rollback",
    "rollout",
)
_WAITING = ("data", "rollout")


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description; ``package-name`` is the distribution's name."""
    modules = [*_OPERATORS, "score", "train", "validate"]
    return {
        "package-name": "airflow-provider-evermodel",
        "name": "evermodel",
        "description": "Keep tabular models in production fresh, proven and reversible.",
        "integrations": [{"integration-name": _INTEGRATION, "external-doc-url": "", "tags": ["ml"]}],
        "operators": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": [f"evermodel_provider.operators.{name}" for name in sorted(modules)],
            }
        ],
        "sensors": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": [f"evermodel_provider.sensors.{name}" for name in _WAITING],
            }
        ],
        "triggers": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": [f"evermodel_provider.triggers.{name}" for name in _WAITING],
            }
        ],
        "hooks": [
            {"integration-name": _INTEGRATION, "python-modules": ["evermodel_provider.hooks.tracking"]}
        ],
        "connection-types": [
            {"connection-type": "mlflow", "hook-class-name": "evermodel_provider.hooks.tracking.TrackingHook"}
        ],
        "notifications": ["evermodel_provider.notifications.failure.FailureNotifier"],
    }
