"""MLflow: the client, runs, versions, aliases, tags, lineage, approval, and serving heartbeats.

Imports `data`, `spec` and `core`.
"""

__all__ = [
    "approval",
    "audit",
    "client",
    "held_model",
    "lineage",
    "model_files",
    "registry",
    "registry_entry",
    "retrain_run",
    "serving_heartbeats",
    "serving_locations",
    "tags",
    "tracking",
    "tracking_login",
    "traffic_plan",
    "training_data",
]
