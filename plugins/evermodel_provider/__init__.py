"""The Airflow layer of evermodel: operators, sensors, hooks, notifications, and the DAGs of all models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evermodel_provider.dags.build import build_dags

__version__ = "0.1.0"

__all__ = ["build_dags"]


def __getattr__(name: str) -> Any:
    """Import `build_dags` on its first use: every process of Airflow imports this package."""
    if name == "build_dags":
        from evermodel_provider.dags.build import build_dags

        return build_dags
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
