"""The Airflow layer of evermodel: operators, sensors, hooks, notifications, and the DAGs of all models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evermodel_provider.dags.build import build_dags
    from evermodel_provider.dags.retrain import retrain_task_group

__version__ = "0.1.0"

__all__ = ["build_dags", "retrain_task_group"]


_HOMES = {"build_dags": "dags.build", "retrain_task_group": "dags.retrain"}


def __getattr__(name: str) -> Any:
    """Import a function on its first use: every process of Airflow imports this package."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
