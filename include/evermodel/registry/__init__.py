"""MLflow: the client, runs, versions, aliases, tags, lineage, approval, and serving's reports.

Imports `data`, `spec` and `core`.
"""

__all__ = [
    "approval",
    "audit",
    "client",
    "held_model",
    "lineage",
    "model_files",
    "registered_names",
    "registry",
    "registry_entry",
    "rest_client",
    "retrain_run",
    "serving_folder",
    "serving_heartbeats",
    "serving_locations",
    "serving_reports",
    "tags",
    "tracking",
    "tracking_login",
    "traffic_plan",
    "training_data",
]
